package redo_test

import (
	"maps"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// FuzzBtreeRedo redoes records that may hold anything on pages that may hold
// anything: an error, or a page that a second time leaves alone.
func FuzzBtreeRedo(f *testing.F) {
	cases := btreeCases(f)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		ref := &c.rec.Blocks[c.ref]
		f.Add(c.rec.Info, uint8(3), c.rec.Main, ref.Data, []byte(c.page[:48]), []byte(c.page[c.page.Upper():]), ref.ID, ref.WillInit)
	}
	f.Fuzz(func(t *testing.T, info, major uint8, main, data, head, tail []byte, id uint8, init bool) {
		rec := record(pg.RmgrBtree, info, pg.MinMajor+int(major)%5, main, nil)
		rec.Blocks = []wal.BlockRef{heapRef(0, heapBlock), heapRef(1, 41000), heapRef(2, 5), heapRef(3, 9), heapRef(4, 0)}
		ref := &rec.Blocks[id%5]
		ref.Data, ref.HasData, ref.WillInit = data, len(data) > 0, init
		fuzzApply(t, rec, ref, head, tail)
	})
}

// FuzzSequenceRedo does the same for SEQ_LOG.
func FuzzSequenceRedo(f *testing.F) {
	f.Add(uint8(0), sequenceRecord(41).Main, true, []byte{})
	f.Fuzz(func(t *testing.T, info uint8, main []byte, init bool, head []byte) {
		rec := record(pg.RmgrSequence, info, 17, main, nil)
		rec.Blocks[0].WillInit = init
		fuzzApply(t, rec, &rec.Blocks[0], head, nil)
	})
}

// FuzzSLRUOps gives any bytes to the records that change SLRUs: an error, or
// changes within a page, no more than the record can ask for.
func FuzzSLRUOps(f *testing.F) {
	f.Add(uint8(pg.RmgrTransaction), uint8(0x80), uint32(7), words(f, int64(5), uint32(2), uint32(1), uint32(9)), false)
	f.Add(uint8(pg.RmgrMultiXact), uint8(0x20), uint32(0), u32s(5, 6, 1, 100, 4), true)
	f.Add(uint8(pg.RmgrMultiXact), uint8(0x30), uint32(0), u32s(1, 1, 5, 6, 7), true)
	f.Add(uint8(pg.RmgrCLOG), uint8(0x10), uint32(0), u32s(5, 0, 1, 1), true)
	f.Fuzz(func(t *testing.T, rmgr, info uint8, xid uint32, main []byte, newer bool) {
		major := 15
		if newer {
			major = 17
		}
		rec := slruRecord(pg.RmgrID(rmgr), info, major, pg.XID(xid), main)
		if cuts, err := redo.SLRUTruncations(rec); err == nil && len(cuts) > 2 {
			t.Fatalf("cuts %v", cuts)
		}
		ops, err := redo.SLRUOps(rec, true, nil)
		if err != nil {
			return
		}
		if len(ops) > 4+len(main) {
			t.Fatalf("%d changes by %d bytes", len(ops), len(main))
		}
		p := make([]byte, pg.BlockSize)
		for i := range ops {
			if len(ops[i].Data) > 0 && int(ops[i].Offset)+len(ops[i].Data) > pg.BlockSize {
				t.Fatalf("change %+v does not fit a page", ops[i])
			}
			ops[i].Apply(p)
		}
	})
}

// BenchmarkBtreeApply redoes the commonest records.
func BenchmarkBtreeApply(b *testing.B) {
	cases := btreeCases(b)
	for _, name := range []string{"insert in the middle", "insert into a posting list", "split, new item left", "right page of a split",
		"dedup", "delete one", "delete three", "shrink a posting list", "metapage of a root"} {
		c := cases[name]
		b.Run(name, func(b *testing.B) {
			p := make(page.Page, pg.BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				copy(p, c.page)
				if _, err := redo.Apply(&hintsLogged, c.rec, &c.rec.Blocks[c.ref], p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFullLeaf redoes records on a leaf with 400 tuples.
func BenchmarkFullLeaf(b *testing.B) {
	items := [][]byte{plain(tid{0, 0}, "zzz")}
	for i := range 400 {
		items = append(items, plain(tid{i, 1}, "key"))
	}
	start := btreePage(b, 3, 5, 0, page.BtreeLeaf, items...)
	var runs []int
	for i := range 100 {
		runs = append(runs, 2+4*i, 4)
	}
	var gone []int
	for i := range 100 {
		gone = append(gone, 2+4*i)
	}
	for _, c := range []struct {
		name string
		rec  *wal.Record
	}{
		{"insert", btreeRecord(wal.BtreeInsertLeaf, u16s(200), plain(tid{9, 9}, "key"))},
		{"split", btreeRecord(wal.BtreeSplitR, join(u32s(0), u16s(200, 300, 0)), plain(tid{0, 0}, "mmm"), initRef(1, 9, nil))},
		{"dedup", btreeRecord(wal.BtreeDedup, u16s(100), u16s(runs...))},
		{"delete", btreeRecord(wal.BtreeVacuum, u16s(100, 0), u16s(gone...))},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := make(page.Page, pg.BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				copy(p, start)
				if _, err := redo.Apply(&hintsLogged, c.rec, &c.rec.Blocks[0], p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
