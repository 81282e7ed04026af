package redo_test

import (
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// vmPage is a map page in which all blocks are visible and frozen.
func vmPage() page.Page {
	p := emptyPage()
	for i := page.HeaderSize; i < pg.BlockSize; i++ {
		p[i] = 0xFF
	}
	return p
}

// vmBits are the bits of a heap block on its map page.
func vmBits(p page.Page, heap pg.BlockNumber) uint8 {
	n := heap % 32672
	return p[page.HeaderSize+int(n/4)] >> (n % 4 * 2) & 3
}

func vmRef(id uint8, block pg.BlockNumber) wal.BlockRef {
	rel := heapRel
	rel.Fork = pg.VMFork
	return wal.BlockRef{ID: id, Block: pg.Block{RelFork: rel, Number: block}}
}

func heapRef(id uint8, block pg.BlockNumber) wal.BlockRef {
	return wal.BlockRef{ID: id, Block: pg.Block{RelFork: heapRel, Number: block}}
}

// updateRecord is an UPDATE with these flags and block references.
func updateRecord(t *testing.T, flags uint8, refs ...wal.BlockRef) *wal.Record {
	t.Helper()
	rec := record(pg.RmgrHeap, wal.OpHeapUpdate, 17, words(t, uint32(900), uint16(1), uint8(0), flags, uint32(0), uint16(4)), nil)
	rec.Blocks = refs
	return rec
}

func TestVMClears(t *testing.T) {
	lock := func(rmgr pg.RmgrID, op, flags uint8) *wal.Record {
		return record(rmgr, op, 15, words(t, uint32(1), uint16(1), uint8(0), flags), nil)
	}
	const both = wal.UpdateOldAllVisibleCleared | wal.UpdateNewAllVisibleCleared
	cases := map[string]struct {
		rec  *wal.Record
		want string
	}{
		"INSERT":       {record(pg.RmgrHeap, wal.OpHeapInsert, 15, []byte{1, 0, 1}, nil), "1663/5/16384_vm block 1 of 40000 bits 3;"},
		"INSERT clean": {record(pg.RmgrHeap, wal.OpHeapInsert, 15, []byte{1, 0, 0}, nil), ""},
		"DELETE":       {lock(pg.RmgrHeap, wal.OpHeapDelete, 1), "1663/5/16384_vm block 1 of 40000 bits 3;"},
		"LOCK":         {lock(pg.RmgrHeap, wal.OpHeapLock, 1), "1663/5/16384_vm block 1 of 40000 bits 2;"},
		"LOCK_UPDATED": {lock(pg.RmgrHeap2, wal.OpHeap2LockUpdated, 1), "1663/5/16384_vm block 1 of 40000 bits 2;"},
		"MULTI_INSERT": {record(pg.RmgrHeap2, wal.OpHeap2MultiInsert, 15, []byte{1, 0, 1, 0, 1, 0}, nil), "1663/5/16384_vm block 1 of 40000 bits 3;"},
		"VISIBLE":      {record(pg.RmgrHeap2, wal.OpHeap2Visible, 15, []byte{0, 0, 0, 0, 3}, nil), ""},
		"UPDATE old":   {updateRecord(t, wal.UpdateOldAllVisibleCleared, heapRef(0, 9), heapRef(1, 70000)), "1663/5/16384_vm block 2 of 70000 bits 3;"},
		"UPDATE new":   {updateRecord(t, wal.UpdateNewAllVisibleCleared, heapRef(0, 9), heapRef(1, 70000)), "1663/5/16384_vm block 0 of 9 bits 3;"},
		"UPDATE both":  {updateRecord(t, both, heapRef(0, 9), heapRef(1, 10)), "1663/5/16384_vm block 0 of 10 bits 3;1663/5/16384_vm block 0 of 9 bits 3;"},
		"UPDATE within": {updateRecord(t, wal.UpdateOldAllVisibleCleared, heapRef(0, 9)),
			"1663/5/16384_vm block 0 of 9 bits 3;"},
		"UPDATE registered":        {updateRecord(t, both, heapRef(0, 9), heapRef(1, 70000), vmRef(3, 2)), ""},
		"another resource manager": {&wal.Record{Rmgr: pg.RmgrBtree}, ""},
	}
	for name, tc := range cases {
		clears, err := redo.VMClears(tc.rec, nil)
		got := ""
		for _, c := range clears {
			got += fmt.Sprintf("%s of %d bits %d;", c.Page, c.Heap, c.Bits)
		}
		if err != nil || got != tc.want {
			t.Errorf("%s: got %q, error %v, want %q", name, got, err, tc.want)
		}
	}
	if _, err := redo.VMClears(updateRecord(t, both), nil); err == nil {
		t.Error("an UPDATE without block references gave no error")
	}
}

func TestVMClearApply(t *testing.T) {
	p := vmPage()
	clear := redo.VMClear{Heap: heapBlock, Bits: wal.VMAllFrozen}
	if !clear.Apply(p) || clear.Apply(p) || vmBits(p, heapBlock) != wal.VMAllVisible || p.LSN() != before {
		t.Errorf("bits %d, LSN %s", vmBits(p, heapBlock), p.LSN())
	}
	if vmBits(p, heapBlock-1) != 3 || vmBits(p, heapBlock+1) != 3 {
		t.Error("a neighbour's bits changed")
	}
	zero := make(page.Page, pg.BlockSize)
	if clear.Apply(zero) || !zero.IsZero() {
		t.Error("a page of zeros changed")
	}
}

// TestRegisteredVM has the block references that 17.11 and 18.6 began to write.
func TestRegisteredVM(t *testing.T) {
	const both = wal.UpdateOldAllVisibleCleared | wal.UpdateNewAllVisibleCleared
	insert := record(pg.RmgrHeap, wal.OpHeapInsert, 17, []byte{1, 0, 1}, nil)
	insert.Blocks = append(insert.Blocks, vmRef(1, 1))
	lock := record(pg.RmgrHeap, wal.OpHeapLock, 17, words(t, uint32(1), uint16(1), uint8(0), uint8(1)), nil)
	lock.Blocks = append(lock.Blocks, vmRef(1, 1))
	cases := map[string]struct {
		rec     *wal.Record
		ref     int
		cleared map[pg.BlockNumber]uint8 // bits left
	}{
		"INSERT":              {insert, 1, map[pg.BlockNumber]uint8{heapBlock: 0}},
		"LOCK":                {lock, 1, map[pg.BlockNumber]uint8{heapBlock: wal.VMAllVisible}},
		"both on one page":    {updateRecord(t, both, heapRef(0, 9), heapRef(1, 10), vmRef(2, 0)), 2, map[pg.BlockNumber]uint8{9: 0, 10: 0}},
		"new, old elsewhere":  {updateRecord(t, both, heapRef(0, 9), heapRef(1, 32672+10), vmRef(2, 0)), 2, map[pg.BlockNumber]uint8{9: 0, 10: 3}},
		"only old registered": {updateRecord(t, both, heapRef(0, 9), heapRef(1, 10), vmRef(3, 0)), 2, map[pg.BlockNumber]uint8{9: 3, 10: 0}},
		"within one page":     {updateRecord(t, wal.UpdateOldAllVisibleCleared, heapRef(0, 9), vmRef(3, 0)), 1, map[pg.BlockNumber]uint8{9: 0}},
	}
	for name, tc := range cases {
		p := vmPage()
		outcome, err := redo.Apply(&hintsLogged, tc.rec, &tc.rec.Blocks[tc.ref], p)
		if err != nil || outcome != redo.Changed || p.LSN() != after {
			t.Errorf("%s: outcome %d, LSN %s, error %v", name, outcome, p.LSN(), err)
		}
		for heap, want := range tc.cleared {
			if got := vmBits(p, heap); got != want {
				t.Errorf("%s: heap block %d has bits %d, want %d", name, heap, got, want)
			}
		}
		clean := emptyPage()
		outcome, err = redo.Apply(&hintsLogged, tc.rec, &tc.rec.Blocks[tc.ref], clean)
		if err != nil || outcome != redo.NoChange || clean.LSN() != before {
			t.Errorf("%s on clear bits: outcome %d, LSN %s, error %v", name, outcome, clean.LSN(), err)
		}
		if redo.ZeroOnMissing(tc.rec, &tc.rec.Blocks[tc.ref]) {
			t.Errorf("%s: a missing map page counts as empty", name)
		}
	}
	for name, rec := range map[string]*wal.Record{
		"another page of the map": updateRecord(t, both, heapRef(0, 9), vmRef(2, 1)),
		"no heap block":           updateRecord(t, both, vmRef(2, 0)),
	} {
		if _, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[len(rec.Blocks)-1], vmPage()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := redo.Apply(&hintsLogged, insert, &insert.Blocks[1], make(page.Page, pg.BlockSize)); err == nil {
		t.Error("clearing a page of zeros gave no error")
	}
}

func TestVisible(t *testing.T) {
	rec := record(pg.RmgrHeap2, wal.OpHeap2Visible, 17, []byte{0, 0, 0, 0, 7}, nil) // 4: of a catalog
	rec.Blocks = []wal.BlockRef{vmRef(0, 1), heapRef(1, heapBlock)}
	p := make(page.Page, pg.BlockSize)
	if !redo.ZeroOnMissing(rec, &rec.Blocks[0]) || redo.ZeroOnMissing(rec, &rec.Blocks[1]) {
		t.Error("ZeroOnMissing is wrong")
	}
	if o := mustApply(t, rec, p); o != redo.Changed || vmBits(p, heapBlock) != 3 || p.LSN() != after || p.Lower() != page.HeaderSize {
		t.Errorf("map: outcome %d, bits %d, LSN %s", o, vmBits(p, heapBlock), p.LSN())
	}
	same := vmPage()
	if o := mustApply(t, rec, same); o != redo.NoChange || same.LSN() != before {
		t.Errorf("map with the bits set: outcome %d, LSN %s", o, same.LSN())
	}
	for logged, want := range map[bool]pg.LSN{true: after, false: before} {
		heap := heapPage(t)
		_, err := redo.Apply(&redo.Env{HintBitsLogged: logged}, rec, &rec.Blocks[1], heap)
		if err != nil || heap.LSN() != want || heap.Flags()&page.AllVisible == 0 {
			t.Errorf("heap, hint bits logged %t: LSN %s, error %v", logged, heap.LSN(), err)
		}
	}
}

func TestVMTruncate(t *testing.T) {
	for _, keep := range []pg.BlockNumber{1, 4, 7, 32671, 32673, 40000} {
		p := vmPage()
		if !redo.VMTruncate(p, keep) || redo.VMTruncate(p, keep) || p.LSN() != before {
			t.Errorf("cut to %d blocks: second cut changes, or LSN %s", keep, p.LSN())
		}
		first := keep / 32672 * 32672
		for heap := first; heap < first+32672; heap++ {
			want := uint8(0)
			if heap < keep {
				want = 3
			}
			if got := vmBits(p, heap); got != want {
				t.Fatalf("cut to %d blocks: block %d has bits %d, want %d", keep, heap, got, want)
			}
		}
	}
	if p := vmPage(); redo.VMTruncate(p, 32672) || vmBits(p, 0) != 3 {
		t.Error("a cut at the page's end changes it")
	}
	if p := make(page.Page, pg.BlockSize); redo.VMTruncate(p, 5) || !p.IsZero() {
		t.Error("a page of zeros changed")
	}
}
