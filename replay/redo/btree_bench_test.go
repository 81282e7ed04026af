package redo_test

import (
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

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
