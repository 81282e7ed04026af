package native

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// TestDropAndCreateAgain: a relation with the number of a dropped one inherits nothing.
func TestDropAndCreateAgain(t *testing.T) {
	for _, info := range []uint8{0x80, 0xA0} { // COMMIT and ABORT drop alike
		s := &script{t: t}
		s.insert(tableA, 0, 2, "into the old one")
		s.add(pg.RmgrTransaction, info, dropped(tableA))
		s.create(tableA)
		s.image(tableA, 2, 77)
		res := s.play(Config{Workers: 3}, table(tableA, 5))
		wantFork(t, res, tableA, 3, 0, true)
		for b := range pg.BlockNumber(2) {
			if p := pageOf(t, res, tableA, b); p.Bytes != nil || p.Touched {
				t.Errorf("block %d is not new: %+v", b, p)
			}
		}
		wantFill(t, pageOf(t, res, tableA, 2), 77)
	}
	s := &script{t: t}
	s.insert(tableA, 0, 2, "x")
	vm := tableA
	vm.Fork = pg.VMFork
	s.add(pg.RmgrTransaction, 0x80, dropped(tableA))
	base := table(tableA, 5)
	base.addTable(vm, 1)
	if res := s.play(Config{Workers: 2}, base); len(res.Forks()) != 0 || res.BlocksReplayed != 2 {
		t.Errorf("forks %v, %d blocks, want the pages of pg_xact and pg_commit_ts", res.Forks(), res.BlocksReplayed)
	}
}

// TestTruncateAndExtend: what comes again after a truncation is zeros where
// no record says otherwise, never the base's.
func TestTruncateAndExtend(t *testing.T) {
	s := &script{t: t}
	s.insert(tableA, 4, 2, "goes away")
	s.truncate(tableA, 2)
	gone := s.insert(tableA, 3, 2, "finds no page")
	s.image(tableA, 4, 99)
	res := s.play(Config{Workers: 3}, table(tableA, 6))
	wantFork(t, res, tableA, 5, 2, false)
	if p := pageOf(t, res, tableA, 2); p.Bytes != nil {
		t.Error("block 2 is not zeros")
	}
	if p := pageOf(t, res, tableA, 3); p.Invalid != gone.LSN || !bytes.Equal(p.Bytes, make([]byte, pg.BlockSize)) {
		t.Errorf("block 3: invalid at %s", p.Invalid)
	}
	wantFill(t, pageOf(t, res, tableA, 4), 99)
	if p := pageOf(t, res, tableA, 4); p.InBase || p.Invalid != 0 || !p.Whole {
		t.Errorf("block 4: %+v", p)
	}
	if p := pageOf(t, res, tableA, 1); p.Bytes != nil {
		t.Error("block 1 was touched")
	}
}

// TestTruncationForgetsWhatWasMissing: as PostgreSQL's table of invalid pages does.
func TestTruncationForgetsWhatWasMissing(t *testing.T) {
	s := &script{t: t}
	s.insert(tableA, 9, 2, "beyond the base's end")
	s.truncate(tableA, 2)
	res := s.play(Config{Workers: 2}, table(tableA, 3))
	wantFork(t, res, tableA, 2, 2, false)
	if p := pageOf(t, res, tableA, 9); p.Invalid != 0 || p.Touched {
		t.Errorf("block 9: %+v", p)
	}
}

// TestTruncateVM cuts the map with its heap and clears the bits beyond.
func TestTruncateVM(t *testing.T) {
	vm := tableA
	vm.Fork = pg.VMFork
	base := table(tableA, 3)
	base.sizes[vm] = 2
	for b := range pg.BlockNumber(2) {
		p := filled(0)
		for i := page.HeaderSize; i < pg.BlockSize; i++ {
			p[i] = 0xFF
		}
		base.pages[pg.Block{RelFork: vm, Number: b}] = p
	}
	s := &script{t: t}
	s.truncate(tableA, 2)
	res := s.play(Config{Workers: 2}, base)
	wantFork(t, res, vm, 1, 1, false)
	p := pageOf(t, res, vm, 0)
	if !p.Touched || p.Bytes[page.HeaderSize] != 0x0F || p.Bytes[page.HeaderSize+1] != 0 || p.Bytes[pg.BlockSize-1] != 0 {
		t.Errorf("map page % x", p.Bytes[page.HeaderSize:page.HeaderSize+4])
	}
	if p := pageOf(t, res, vm, 1); p.Touched {
		t.Error("block 1 of the map is there")
	}
}

// copyDatabase is the main data of CREATE_FILE_COPY.
func copyDatabase(db, from pg.OID) []byte { return u32(int(db), 1663, int(from), 1663) }

// TestCopyDatabase copies a database as it was at that record, while the
// workers' queues are full, and wherever its pages are.
func TestCopyDatabase(t *testing.T) {
	from := tableA
	to := from
	to.DB = 6
	for _, cfg := range []Config{{Workers: 1}, {Workers: 3}, {Workers: 3, Memory: 1}} {
		s := &script{t: t}
		const blocks = 60
		for i := range 6000 {
			s.image(from, pg.BlockNumber(i%(blocks-10)), byte(i%blocks+1))
		}
		s.add(200, 0x10, nil, ref(from, 3))
		s.insert(to, 0, 1, "goes with the target's old files")
		s.add(pg.RmgrDatabase, 0x01, copyDatabase(6, 5))
		want := s.play(cfg, table(from, blocks))
		s.image(from, 1, 200)
		s.insert(to, 2, 2, "only the copy's")
		res := s.play(cfg, table(from, blocks))
		wantFork(t, res, to, blocks, 0, true)
		for b := range pg.BlockNumber(blocks) {
			source, copied := pageOf(t, want, from, b), pageOf(t, res, to, b)
			if b == 2 {
				if page.Page(copied.Bytes).NumItems() != 2 || page.Page(source.Bytes).NumItems() != 1 {
					t.Errorf("block 2: %d items in the source, %d in the copy", page.Page(source.Bytes).NumItems(), page.Page(copied.Bytes).NumItems())
				}
				continue
			}
			if copied.Bytes == nil || !bytes.Equal(copied.Bytes, source.Bytes) || copied.Tainted != source.Tainted || !copied.Touched {
				t.Fatalf("%+v: block %d of the copy differs from its source", cfg, b)
			}
		}
		wantFill(t, pageOf(t, res, from, 1), 200)
		if lsn, ok := res.CopiedDatabase(1663, 6); !ok || lsn != s.recs[6002].LSN {
			t.Errorf("copied at %s, %t", lsn, ok)
		}
	}
}

// TestCopyDatabaseFiltered: a filter that wants the copy and not its source
// does not spoil the copy.
func TestCopyDatabaseFiltered(t *testing.T) {
	to := tableA
	to.DB = 6
	s := &script{t: t}
	s.insert(tableA, 1, 2, "before the copy is known of")
	s.image(tableA, 0, 88)
	s.add(pg.RmgrDatabase, 0x01, copyDatabase(6, 5))
	res := s.play(Config{Workers: 2, Filter: func(f pg.RelFork, _ pg.BlockNumber) bool { return f.DB == 6 }}, table(tableA, 3))
	wantFill(t, pageOf(t, res, to, 0), 88)
	if p := pageOf(t, res, to, 1); page.Page(p.Bytes).NumItems() != 2 {
		t.Error("block 1 of the copy lacks the tuple")
	}
	wantFill(t, pageOf(t, res, to, 2), 3)
}

// TestManyBarriers: each copy waits for all workers, whose queues are full.
func TestManyBarriers(t *testing.T) {
	s := &script{t: t}
	for i := range 200 {
		for j := range 40 {
			s.image(tableA, pg.BlockNumber(j), byte(i+j))
		}
		s.add(pg.RmgrDatabase, 0x01, copyDatabase(6, 5))
	}
	res := s.play(Config{Workers: 8, Memory: 1}, table(tableA, 1))
	to := tableA
	to.DB = 6
	for j := range 40 {
		wantFill(t, pageOf(t, res, to, pg.BlockNumber(j)), byte(199+j))
	}
	if len(res.Forks()) != 2 {
		t.Errorf("forks %v", res.Forks())
	}
}

// TestDropDatabase forgets all that a database has, and nothing else.
func TestDropDatabase(t *testing.T) {
	other := tableA
	other.DB = 7
	base := table(tableA, 2)
	base.addTable(other, 2)
	base.files["base/5/pg_filenode.map"] = []byte("five")
	base.files["base/7/pg_filenode.map"] = []byte("seven")
	s := &script{t: t}
	s.insert(tableA, 0, 2, "x")
	s.add(pg.RmgrDatabase, 0x11, u32(5, 1663)) // CREATE_WAL_LOG
	s.add(pg.RmgrDatabase, 0x21, u32(5, 1, 1663))
	res := s.play(Config{Workers: 2}, base)
	if _, ok := res.Fork(tableA); ok || res.RelMap(1663, 5) != nil || res.WALLoggedDatabase(1663, 5) {
		t.Error("the database is still there")
	}
	if _, ok := res.Fork(other); !ok || string(res.RelMap(1663, 7)) != "seven" || len(res.RelMaps()) != 1 {
		t.Error("the other database is gone")
	}
}

// unknownRmgr is an extension's resource manager.
const unknownRmgr = pg.RmgrID(200)

// TestUnknownRedo: blocks of an unknown resource manager are tainted until
// they are logged whole; what it did on pages that it made is no finding.
func TestUnknownRedo(t *testing.T) {
	init := ref(tableA, 7)
	init.WillInit = true
	s := &script{t: t}
	s.add(unknownRmgr, 0x00, nil, init)
	s.add(unknownRmgr, 0x20, nil, ref(tableA, 7))
	s.add(unknownRmgr, 0x20, nil, ref(tableA, 9)) // beyond the end
	s.add(unknownRmgr, 0x20, nil, ref(tableA, 1))
	s.add(201, 0x01, nil)
	s.add(201, 0x00, nil)
	tainted := *s
	res := tainted.play(Config{Workers: 2}, table(tableA, 3))
	for _, b := range []pg.BlockNumber{7, 9, 1} {
		if p := pageOf(t, res, tableA, b); !p.Tainted || p.TaintedBy != unknownRmgr || p.Invalid != 0 || p.Failed != nil {
			t.Errorf("block %d: %+v", b, p)
		}
	}
	wantFork(t, res, tableA, 8, 3, false)
	if n := res.UnknownRelUpdates; len(n) != 1 || n[201] != 1 {
		t.Errorf("records that may change anything: %v", n)
	}
	for _, b := range []pg.BlockNumber{7, 9, 1} {
		s.image(tableA, b, byte(100+b))
	}
	s.insert(tableA, 7, 2, "on the image")
	res = s.play(Config{Workers: 2}, table(tableA, 3))
	for _, b := range []pg.BlockNumber{7, 9, 1} {
		if p := pageOf(t, res, tableA, b); p.Tainted || p.Invalid != 0 || p.Failed != nil || !p.Whole {
			t.Errorf("block %d after its image: %+v", b, p)
		}
	}
	if n := page.Page(pageOf(t, res, tableA, 7).Bytes).NumItems(); n != 2 {
		t.Errorf("block 7 has %d items", n)
	}
}

// TestImageNotTheEnd: redo goes on with a GiST page whose split is completed
// after it restored the page's image.
func TestImageNotTheEnd(t *testing.T) {
	whole := func(b pg.BlockNumber) wal.BlockRef {
		image := filled(5)
		image.SetSpecial(pg.BlockSize - 16)
		image.SetUpper(pg.BlockSize - 16)
		copy(image[pg.BlockSize-16:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0x81, 0xFF}) // a leaf with F_FOLLOW_RIGHT
		r := ref(tableA, b)
		r.HasImage, r.Image = true, wal.Image{Bytes: image, Apply: true}
		return r
	}
	s := &script{t: t}
	s.add(pg.RmgrGist, wal.GistPageUpdate, nil, whole(0), whole(1))
	res := s.play(Config{Workers: 2}, table(tableA, 2))
	for b := range pg.BlockNumber(2) {
		p := pageOf(t, res, tableA, b)
		opaque := p.Bytes[pg.BlockSize-16:]
		if p.Tainted || p.Failed != nil || !p.Whole {
			t.Fatalf("block %d: %+v", b, p)
		}
		// Block reference 1 is the left child: its NSN is the record's LSN.
		if child := b == 1; bytes.Equal(opaque[:8], p.Bytes[:8]) != child || opaque[12] != map[bool]byte{true: 1, false: 9}[child] {
			t.Errorf("block %d: special area %x, LSN %x", b, opaque, p.Bytes[:8])
		}
	}
}

// TestExtension: an extension's resource manager whose redo is known does not taint.
func TestExtension(t *testing.T) {
	s := &script{t: t}
	s.add(unknownRmgr, 0x00, nil, ref(tableA, 1))
	first := ref(tableA, 2)
	first.HasImage, first.Image = true, wal.Image{Bytes: filled(9)} // what a consistency check holds against the page
	s.add(unknownRmgr, 0x10, nil, first)
	x := redo.Extension{
		Redo: func(rec *wal.Record, _ *wal.BlockRef, p page.Page) (bool, error) {
			p[pg.BlockSize-1] = 0x77
			return rec.Op() == 0, nil
		},
		Mask: func(p page.Page, _ pg.BlockNumber) { clear(p) },
	}
	res := s.play(Config{Workers: 2, Extensions: redo.Extensions{unknownRmgr: x}}, table(tableA, 3))
	for b := pg.BlockNumber(1); b < 3; b++ {
		p := pageOf(t, res, tableA, b)
		if p.Tainted || p.Failed != nil || p.Bytes[pg.BlockSize-1] != 0x77 {
			t.Errorf("block %d: tainted %t, failed %v", b, p.Tainted, p.Failed)
		}
		if changed := page.Page(p.Bytes).LSN() == s.recs[b-1].End; changed != (b == 1) {
			t.Errorf("block %d: its LSN is %s", b, page.Page(p.Bytes).LSN())
		}
	}
	if res.ImagesChecked != 1 || len(res.Mismatches) != 0 {
		t.Errorf("%d images checked, mismatches %v", res.ImagesChecked, res.Mismatches)
	}
}

// TestFailedRedo is kept for good, but an image makes the page good to go on from.
func TestFailedRedo(t *testing.T) {
	s := &script{t: t}
	first := s.insert(tableA, 0, 9, "there is no offset number 9")
	s.insert(tableA, 0, 2, "not done")
	failed := pageOf(t, s.play(Config{Workers: 2}, table(tableA, 1)), tableA, 0)
	if failed.Failed == nil || !strings.Contains(failed.Failed.Error(), first.LSN.String()) || failed.Last.LSN != first.LSN+0x100 {
		t.Errorf("failed: %v, last %s", failed.Failed, failed.Last.LSN)
	}
	s.image(tableA, 0, 50)
	s.insert(tableA, 0, 2, "done")
	p := pageOf(t, s.play(Config{Workers: 2}, table(tableA, 1)), tableA, 0)
	if p.Failed == nil || p.Failed.Error() != failed.Failed.Error() || page.Page(p.Bytes).NumItems() != 2 || page.Page(p.Bytes).LSN() != s.recs[3].End {
		t.Errorf("failed: %v, %d items", p.Failed, page.Page(p.Bytes).NumItems())
	}
}

// TestMissingPages: a hint that comes without its image may miss its page,
// every other record that builds on it may not.
func TestMissingPages(t *testing.T) {
	s := &script{t: t}
	s.add(pg.RmgrXLOG, 0xA0, nil, ref(tableA, 5)) // FPI_FOR_HINT
	s.add(pg.RmgrXLOG, 0xB0, nil, ref(tableA, 6)) // FPI
	s.insert(tableA, 7, 1, "x")
	s.insert(tableA, 7, 2, "x")
	base := table(tableA, 9)
	for b := pg.BlockNumber(5); b < 9; b++ {
		base.pages[pg.Block{RelFork: tableA, Number: b}] = make([]byte, pg.BlockSize)
	}
	res := s.play(Config{Workers: 2}, base)
	for b, want := range map[pg.BlockNumber]pg.LSN{5: 0, 6: s.recs[1].LSN, 7: s.recs[2].LSN} {
		if p := pageOf(t, res, tableA, b); p.Invalid != want || !p.Touched {
			t.Errorf("block %d: invalid at %s, want %s", b, p.Invalid, want)
		}
	}
}

// TestConsistencyImages compares the page after redo with the image in the
// record, keeps some mismatches and counts all.
func TestConsistencyImages(t *testing.T) {
	s := &script{t: t}
	one := &script{t: t}
	one.insert(tableA, 0, 2, "tuple")
	redone := pageOf(t, one.play(Config{Workers: 1}, table(tableA, 1)), tableA, 0).Bytes
	for i := range 10 {
		b := &s.insert(tableA, pg.BlockNumber(i), 2, "tuple").Blocks[0]
		want := bytes.Clone(redone) // as of block 0 of the base
		for j := pg.BlockSize - 64; j < pg.BlockSize; j++ {
			want[j] = byte(i + 1)
		}
		ctid := page.Page(want).ItemID(2).Offset() + 12
		copy(want[ctid+2:], u16(i))
		if i%2 == 1 {
			want[pg.BlockSize-10]++
		}
		b.HasImage, b.Image = true, wal.Image{Bytes: want}
	}
	res := s.play(Config{Workers: 3, MaxFindings: 3}, table(tableA, 10))
	if res.ImagesChecked != 10 || res.MismatchCount != 5 || len(res.Mismatches) != 3 {
		t.Fatalf("%d images checked, %d mismatches, %d kept", res.ImagesChecked, res.MismatchCount, len(res.Mismatches))
	}
	for i, m := range res.Mismatches {
		if want := s.recs[2*i+1]; m.Record.LSN != want.LSN || m.Block != want.Blocks[0].Block || fmt.Sprint(m.Ranges) != "[[8182 8183]]" {
			t.Errorf("mismatch %d: %+v", i, m)
		}
	}
}

// TestEmptySecondFile: a truncation leaves empty files of a long relation.
func TestEmptySecondFile(t *testing.T) {
	e := New(Config{Workers: 1}, nil, Span{})
	for seg, size := range []int64{3 * pg.BlockSize, 0, 0} {
		if err := e.EndRelation(datadir.RelFile{RelFork: tableA, Segment: uint32(seg)}, size); err != nil {
			t.Fatal(err)
		}
	}
	wantFork(t, &Result{e: e}, tableA, 3, 3, false)
	if err := e.EndRelation(datadir.RelFile{RelFork: tableA, Segment: 1}, 2*pg.BlockSize); err != nil {
		t.Fatal(err)
	}
	wantFork(t, &Result{e: e}, tableA, pg.BlocksPerFile+2, pg.BlocksPerFile+2, false)
}
