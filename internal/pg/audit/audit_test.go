package audit_test

import (
	"encoding/binary"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/audit"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

var table = pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}

// script is WAL by hand: each record is 0x100 long.
type script struct {
	t *testing.T
	*audit.Auditor
	at    pg.LSN
	major int
}

func newScript(t *testing.T, limit int) *script {
	t.Helper()
	return &script{t: t, Auditor: audit.New(limit), at: 0x1000, major: 17}
}

func at(f pg.RelFork, n pg.BlockNumber) wal.BlockRef {
	return wal.BlockRef{Block: pg.Block{RelFork: f, Number: n}}
}

// imaged adds an image of a page that has the LSN.
func imaged(b wal.BlockRef, lsn pg.LSN) wal.BlockRef {
	p := make(page.Page, pg.BlockSize)
	p.SetLSN(lsn)
	binary.LittleEndian.PutUint16(p[14:], pg.BlockSize) // pd_upper
	b.HasImage, b.Image = true, wal.Image{Bytes: p, HoleOffset: 0}
	return b
}

// add plays a record and returns its end and what was found.
func (s *script) add(rmgr pg.RmgrID, info uint8, main []byte, refs ...wal.BlockRef) (pg.LSN, []audit.Finding) {
	s.t.Helper()
	r := &wal.Record{LSN: s.at, End: s.at + 0x100, Rmgr: rmgr, Info: info, Major: s.major, XID: 7, Main: main, Blocks: refs}
	for i := range r.Blocks {
		r.Blocks[i].ID = uint8(i)
	}
	s.at = r.End
	found, err := s.Record(r, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.End, found
}

// want plays a record with an image of the LSN and checks the number of findings.
func (s *script) want(n int, b wal.BlockRef, lsn pg.LSN) audit.Finding {
	s.t.Helper()
	_, found := s.add(pg.RmgrHeap, 0, nil, imaged(b, lsn))
	if len(found) != n {
		s.t.Fatalf("image of %s: %d findings, want %d: %+v", lsn, len(found), n, found)
	}
	if n == 0 {
		return audit.Finding{}
	}
	return found[0]
}

func TestChain(t *testing.T) {
	s := newScript(t, 0)
	s.want(0, at(table, 1), 0x10) // first sight
	first := s.at
	s.want(0, at(table, 1), first)
	second := s.at
	f := s.want(1, at(table, 1), first)
	if f.Newer() || f.Expected != second || f.ImageLSN != first || f.Last.LSN != second-0x100 || f.Last.Rmgr != pg.RmgrHeap || f.At != second {
		t.Errorf("%+v", f)
	}
	s.want(0, at(table, 1), s.at) // reported once
	if f := s.want(1, at(table, 1), s.at+0x1000); !f.Newer() {
		t.Errorf("%+v", f)
	}
	s.want(0, at(table, 2), 0x10)
	s.Reset()
	s.want(0, at(table, 1), 0x10)
}

func TestHints(t *testing.T) {
	s := newScript(t, 0)
	set, _ := s.add(pg.RmgrHeap, 0, nil, at(table, 1))
	one, _ := s.add(pg.RmgrXLOG, 0xA0, nil, at(table, 1))
	two, _ := s.add(pg.RmgrXLOG, 0xA0, nil, at(table, 1))
	for _, l := range []pg.LSN{set, one, two} {
		c := newScript(t, 0)
		c.add(pg.RmgrHeap, 0, nil, at(table, 1))
		c.add(pg.RmgrXLOG, 0xA0, nil, at(table, 1))
		c.add(pg.RmgrXLOG, 0xA0, nil, at(table, 1))
		c.want(0, at(table, 1), l)
	}
	s.want(1, at(table, 1), set-8)
	s.add(pg.RmgrXLOG, 0xA0, nil, at(table, 9)) // never seen, no image: its LSN is not known
	s.want(0, at(table, 9), 0x20)
	for range 100 {
		s.add(pg.RmgrXLOG, 0xA0, nil, at(table, 1))
	}
	if s.Forgotten == 0 {
		t.Error("a block with a hundred hints in a row is remembered")
	}
}

func TestRecordsThatLeaveTheLSN(t *testing.T) {
	squeeze := func(ntups uint16, prevIsWrite byte) []byte {
		return append(binary.LittleEndian.AppendUint16(make([]byte, 8), ntups), 0, prevIsWrite)
	}
	for _, c := range []struct {
		name   string
		op     uint8
		main   []byte
		major  int
		id     int
		leaves bool
	}{
		{"delete, bucket", 0x90, nil, 15, 0, true},
		{"delete, page", 0x90, nil, 15, 1, false},
		{"move, bucket", 0x70, nil, 15, 0, true},
		{"squeeze, bucket", 0x80, squeeze(3, 0), 15, 0, true},
		{"squeeze 16, nothing moved", 0x80, squeeze(0, 0), 16, 1, false},
		{"squeeze 17, nothing moved", 0x80, squeeze(0, 0), 17, 1, true},
		{"squeeze 17, previous page is written", 0x80, squeeze(0, 1), 17, 1, false},
		{"squeeze 17, moved", 0x80, squeeze(1, 0), 17, 1, false},
		{"split complete", 0x60, nil, 17, 0, false},
	} {
		s := newScript(t, 0)
		s.major = c.major
		refs := []wal.BlockRef{at(table, 0), at(table, 1), at(table, 2)}
		set, _ := s.add(pg.RmgrHash, 0x20, nil, refs...)
		s.add(pg.RmgrHash, c.op, c.main, refs...)
		_, found := s.add(pg.RmgrHash, 0x20, nil, imaged(at(table, pg.BlockNumber(c.id)), set))
		if (len(found) == 0) != c.leaves {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

func TestVisibilityMaps(t *testing.T) {
	vm := table
	vm.Fork = pg.VMFork
	s := newScript(t, 0)
	heap, _ := s.add(pg.RmgrHeap, 0, nil, at(table, 1))
	s.add(pg.RmgrHeap2, 0x40, nil, at(vm, 0), at(table, 1)) // VISIBLE: the map for sure, the heap page perhaps
	map1 := s.at
	s.want(0, at(table, 1), heap)
	s.want(0, at(vm, 0), map1)
	map2 := s.at
	s.add(pg.RmgrHeap, 0x10, nil, at(table, 1), at(vm, 0)) // clears a bit, if one was set
	s.want(0, at(vm, 0), map2)
}

func TestForgottenRelations(t *testing.T) {
	u32 := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		return b
	}
	fsm := table
	fsm.Fork = pg.FSMFork
	for name, c := range map[string]struct {
		rmgr pg.RmgrID
		info uint8
		main []byte
		gone []pg.Block
		kept []pg.Block
	}{
		"truncate": {pg.RmgrStorage, 0x20, u32(2, 1663, 5, 16384, 7),
			[]pg.Block{{RelFork: table, Number: 2}, {RelFork: fsm}}, []pg.Block{{RelFork: table, Number: 1}}},
		"create":        {pg.RmgrStorage, 0x10, u32(1663, 5, 16384, 0), []pg.Block{{RelFork: table, Number: 1}}, []pg.Block{{RelFork: fsm}}},
		"drop database": {pg.RmgrDatabase, 0x20, u32(5, 1, 1663), []pg.Block{{RelFork: table, Number: 1}, {RelFork: fsm}}, nil},
		"copy database": {pg.RmgrDatabase, 0x00, u32(5, 1663, 1, 1663), []pg.Block{{RelFork: table, Number: 1}}, nil},
		"make database": {pg.RmgrDatabase, 0x10, u32(5, 1663), []pg.Block{{RelFork: table, Number: 1}}, nil},
	} {
		s := newScript(t, 0)
		for _, b := range append(c.gone, c.kept...) {
			s.add(pg.RmgrHeap, 0, nil, wal.BlockRef{Block: b})
		}
		s.add(c.rmgr, c.info, c.main)
		for _, b := range c.gone {
			if _, found := s.add(pg.RmgrHeap, 0, nil, imaged(wal.BlockRef{Block: b}, 8)); len(found) > 0 {
				t.Errorf("%s: %s is remembered", name, b)
			}
		}
		for _, b := range c.kept {
			if _, found := s.add(pg.RmgrHeap, 0, nil, imaged(wal.BlockRef{Block: b}, 8)); len(found) != 1 {
				t.Errorf("%s: %s is forgotten", name, b)
			}
		}
	}
}

// TestFreshImages: pages made in memory carry no LSN of their own.
func TestFreshImages(t *testing.T) {
	s := newScript(t, 0)
	s.add(pg.RmgrHeap, 0, nil, at(table, 1))
	if _, found := s.add(pg.RmgrGin, 0x30, nil, imaged(at(table, 1), 0)); len(found) > 0 {
		t.Error("GIN split")
	}
	if _, found := s.add(pg.RmgrGin, 0x20, nil, imaged(at(table, 1), 0)); len(found) != 1 {
		t.Error("GIN insert with LSN 0 is no finding")
	}
	s.major = 16
	s.add(pg.RmgrXLOG, 0xB0, nil, at(table, 2))
	if _, found := s.add(pg.RmgrGist, 0, nil, imaged(at(table, 2), 1)); len(found) > 0 {
		t.Error("sorted GiST build")
	}
	zero := at(table, 3)
	zero.HasImage, zero.Image = true, wal.Image{Bytes: make([]byte, pg.BlockSize)}
	s.add(pg.RmgrHeap, 0, nil, at(table, 3))
	s.add(pg.RmgrXLOG, 0xB0, nil, zero)
	s.want(0, at(table, 3), 0)
	s.add(pg.RmgrHeap, 0, nil, at(table, 4))
	init := imaged(at(table, 4), 0)
	init.WillInit = true
	if _, found := s.add(pg.RmgrHeap, 0x80, nil, init); len(found) > 0 {
		t.Error("a block that is made anew")
	}
}

// TestBoundedMemory: of more blocks than it may remember, the last ones count.
func TestBoundedMemory(t *testing.T) {
	const limit = 100
	s := newScript(t, limit)
	const n = 1000
	for b := range pg.BlockNumber(n) {
		s.add(pg.RmgrHeap, 0, nil, at(table, 0), at(table, b+1)) // block 0 is used again and again
	}
	last := s.at
	if s.Forgotten < n-limit || s.Forgotten > n {
		t.Errorf("%d of %d forgotten with room for %d", s.Forgotten, n, limit)
	}
	s.want(0, at(table, 1), 8)    // long forgotten
	s.want(1, at(table, n-10), 8) // not yet
	s.want(0, at(table, 0), last)
}

// FuzzRecord: whatever a record claims, the auditor neither panics nor grows.
func FuzzRecord(f *testing.F) {
	f.Add(uint8(10), uint8(0), []byte{1}, uint32(1), uint16(0), uint16(0), uint8(0), []byte("image"))
	f.Add(uint8(2), uint8(0x20), make([]byte, 20), uint32(1), uint16(24), uint16(8000), uint8(1), make([]byte, 100))
	f.Fuzz(func(t *testing.T, rmgr, info uint8, main []byte, block uint32, hole, length uint16, method uint8, img []byte) {
		a := audit.New(10)
		for i := range 3 {
			ref := at(table, pg.BlockNumber(block))
			ref.HasImage = true
			ref.Image = wal.Image{Bytes: img, HoleOffset: hole, HoleLength: length, Compression: wal.Compression(method % 5), Apply: i%2 == 0}
			rec := &wal.Record{LSN: pg.LSN(i * 64), End: pg.LSN(i*64 + 64), Rmgr: pg.RmgrID(rmgr), Info: info, Major: 14 + i, Main: main, Blocks: []wal.BlockRef{ref}}
			if _, err := a.Record(rec, nil); err != nil && err.Error() == "" {
				t.Fatal("an error without words")
			}
		}
	})
}
