package redo_test

import (
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/replay/redo"
)

// BenchmarkHeapApply redoes the commonest records; none may allocate.
func BenchmarkHeapApply(b *testing.B) {
	records := heapRecords(b)
	for _, name := range []string{"INSERT", "DELETE", "HOT_UPDATE", "UPDATE", "LOCK", "MULTI_INSERT", "PRUNE", "FREEZE"} {
		rec := records[name]
		b.Run(name, func(b *testing.B) {
			start, p := heapPage(b), make(page.Page, pg.BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				copy(p, start)
				if _, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[0], p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestHeapApplyAllocates nothing, so that workers make no garbage.
func TestHeapApplyAllocates(t *testing.T) {
	start, p := heapPage(t), make(page.Page, pg.BlockSize)
	for name, rec := range heapRecords(t) {
		if n := testing.AllocsPerRun(100, func() {
			copy(p, start)
			if _, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[0], p); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}
