package native

import (
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// A record that clears bits of a registered visibility map page stores its LSN
// only if it changed one. Where replay never had the bits, as in a database
// that was created page by page, the primary did store it, and that is noted.
func TestClearOfBitsThatReplayLacks(t *testing.T) {
	vm := pg.RelFork{RelFileLocator: tableA.RelFileLocator, Fork: pg.VMFork}
	base := table(tableA, 2)
	empty := make(page.Page, pg.BlockSize)
	empty.SetLower(page.HeaderSize)
	empty.SetUpper(pg.BlockSize)
	empty.SetSpecial(pg.BlockSize)
	empty.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	empty[page.HeaderSize] = 3 << 2 // of heap block 1
	base.sizes[vm] = 1
	base.pages[pg.Block{RelFork: vm}] = empty
	s := &script{t: t}
	clears := func(heap pg.BlockNumber, off int) *wal.Record {
		r := ref(tableA, heap)
		r.HasData, r.Data = true, append([]byte{1, 0, 2, 8, 24, 0}, "body"...)
		return s.add(pg.RmgrHeap, wal.OpHeapInsert, append(u16(off), 1), r, ref(vm, 0))
	}
	changed := clears(1, 2)
	first, second := clears(0, 2), clears(0, 3)
	p := pageOf(t, s.play(Config{Workers: 1}, base), vm, 0)
	if lsn := page.Page(p.Bytes).LSN(); lsn != changed.End || !slices.Equal(p.Hints, []pg.LSN{0, changed.End, first.End, second.End}) {
		t.Errorf("the map's LSN is %s, want %s; LSNs that it may have: %v, want 0 and those of all three records", lsn, changed.End, p.Hints)
	}
}

// Consistency images of a map are held against it only where it has all bits
// that the primary had: not behind an image whose hole they are, as those of
// CREATE DATABASE, until another image brings them.
func TestConsistencyOfCutMaps(t *testing.T) {
	vm := pg.RelFork{RelFileLocator: tableA.RelFileLocator, Fork: pg.VMFork}
	base := table(tableA, 2)
	empty := make(page.Page, pg.BlockSize)
	empty.SetLower(page.HeaderSize)
	empty.SetUpper(pg.BlockSize)
	empty.SetSpecial(pg.BlockSize)
	empty.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	base.sizes[vm], base.pages[pg.Block{RelFork: vm}] = 1, empty
	primary := slices.Clone(empty)
	primary[page.HeaderSize+7] = 3 // of another heap block
	for _, c := range []struct {
		name                string
		before              *wal.Image // of the map; nil: the base's
		checked, mismatches int64
	}{
		{"the map of an online base", nil, 0, 0},
		{"whole image", &wal.Image{Bytes: empty, Apply: true}, 1, 1},
		{"whole image with the bits", &wal.Image{Bytes: primary, Apply: true}, 1, 0},
		{"image without its bits", &wal.Image{Bytes: empty[:page.HeaderSize], HoleOffset: page.HeaderSize, HoleLength: pg.BlockSize - page.HeaderSize, Apply: true}, 0, 0},
	} {
		s := &script{t: t}
		if c.before != nil {
			r := ref(vm, 0)
			r.HasImage, r.Image = true, *c.before
			s.add(pg.RmgrXLOG, 0xB0, nil, r)
		}
		heap, cleared := ref(tableA, 0), ref(vm, 0)
		heap.HasData, heap.Data = true, append([]byte{1, 0, 2, 8, 24, 0}, "body"...)
		cleared.HasImage, cleared.Image = true, wal.Image{Bytes: primary}
		s.add(pg.RmgrHeap, wal.OpHeapInsert, append(u16(2), 1), heap, cleared)
		res := s.play(Config{Workers: 1}, base)
		if res.ImagesChecked != c.checked || res.MismatchCount != c.mismatches {
			t.Errorf("%s: %d images checked, %d mismatches", c.name, res.ImagesChecked, res.MismatchCount)
		}
	}
}
