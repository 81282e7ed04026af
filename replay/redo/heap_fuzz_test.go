package redo_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// FuzzHeapRedo redoes records that may hold anything on pages that may hold
// anything. Nothing may panic, nothing may write outside of the page, and what
// succeeded must, done again, leave the same page.
func FuzzHeapRedo(f *testing.F) {
	records := heapRecords(f)
	for _, name := range slices.Sorted(maps.Keys(records)) {
		rec := records[name]
		p := heapPage(f)
		f.Add(rec.Rmgr == pg.RmgrHeap2, rec.Info, uint8(rec.Major), rec.Main, rec.Blocks[0].Data, []byte(p[:40]), []byte(p[p.Upper():]), uint8(0))
	}
	f.Fuzz(func(t *testing.T, heap2 bool, info, major uint8, main, data, head, tail []byte, refs uint8) {
		rmgr := pg.RmgrHeap
		if heap2 {
			rmgr = pg.RmgrHeap2
		}
		rec := record(rmgr, info, pg.MinMajor+int(major)%5, main, data)
		if refs&1 != 0 {
			rec.Blocks = append(rec.Blocks, heapRef(1, 7))
		}
		if refs&2 != 0 {
			rec.Blocks = append(rec.Blocks, vmRef(1+refs>>2&3, 1))
		}
		if _, err := redo.VMClears(rec, nil); err != nil {
			_ = err.Error()
		}
		for i := range rec.Blocks {
			fuzzApply(t, rec, &rec.Blocks[i], head, tail)
		}
	})
}

func fuzzApply(t *testing.T, rec *wal.Record, ref *wal.BlockRef, head, tail []byte) {
	t.Helper()
	p := make(page.Page, pg.BlockSize)
	copy(p, head)
	copy(p[pg.BlockSize-min(len(tail), pg.BlockSize):], tail)
	applyInside(t, rec, ref, p)
}

// guard is what lies around a page that only its own redo may change.
var guard = bytes.Repeat([]byte{0xA5}, 4096)

// applyInside redoes a record on a copy of the page start: an error, or a page
// that a second time leaves alone; no byte outside of the page is written. It
// reports whether there was no error.
func applyInside(t *testing.T, rec *wal.Record, ref *wal.BlockRef, start page.Page) bool {
	t.Helper()
	room := slices.Concat(guard, start, guard)
	p := room[len(guard) : len(guard)+pg.BlockSize]
	_, err := redo.Apply(&hintsLogged, rec, ref, p)
	if !bytes.Equal(room[:len(guard)], guard) || !bytes.Equal(room[len(guard)+pg.BlockSize:], guard) {
		t.Fatal("bytes outside of the page were written")
	}
	if err != nil {
		_ = err.Error()
		return false
	}
	once := bytes.Clone(p)
	if _, err := redo.Apply(&hintsLogged, rec, ref, p); err != nil || !bytes.Equal(once, p) {
		t.Fatalf("redo once more: error %v, same page %t", err, bytes.Equal(once, p))
	}
	return true
}

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
