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
