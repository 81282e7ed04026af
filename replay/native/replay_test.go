package native

import (
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// TestWorkers: any number of workers, and any memory, leave the same pages
// and say the same about them.
func TestWorkers(t *testing.T) {
	w := demoSpan(t)
	one := play(t, Config{Workers: 1}, w.wal, Span{Range: w.span}, w.base)
	want := states(t, one)
	if one.Evicted != 0 || one.BlocksReplayed < 200 {
		t.Fatalf("%d blocks replayed, %d evicted", one.BlocksReplayed, one.Evicted)
	}
	for _, workers := range []int{2, 3, 8} {
		res := play(t, Config{Workers: workers}, w.wal, Span{Range: w.span}, w.base)
		sameStates(t, fmt.Sprintf("%d workers", workers), states(t, res), want)
		if res.BlocksReplayed != one.BlocksReplayed {
			t.Errorf("%d workers: %d blocks replayed, want %d", workers, res.BlocksReplayed, one.BlocksReplayed)
		}
	}
	for _, workers := range []int{1, 3} {
		res := play(t, Config{Workers: workers, Memory: 1}, w.wal, Span{Range: w.span}, w.base)
		sameStates(t, fmt.Sprintf("%d workers with 16 pages each", workers), states(t, res), want)
		if res.Evicted == 0 {
			t.Error("no page was evicted")
		}
		for _, s := range res.e.stores {
			if s.held > 16 || len(s.resident)+len(s.pool) != s.held {
				t.Errorf("%d pages held, %d of them resident, %d free", s.held, len(s.resident), len(s.pool))
			}
		}
	}
	for b, s := range want {
		if s.failed != "<nil>" || s.invalid != 0 || s.tainted {
			t.Errorf("%s: failed %s, invalid %s, tainted %t", b, s.failed, s.invalid, s.tainted)
		}
	}
}

// TestSpansAddUp: a span cut in two, the second part over what the first one
// left, gives what the whole gives; and up to the cut every page that the
// second part leaves alone is the whole's.
func TestSpansAddUp(t *testing.T) {
	w := demoSpan(t)
	whole := play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base)
	final := states(t, whole)
	want := after(t, whole, w.base)
	for _, i := range []int{1, 3, 5, 6} {
		cut := w.starts[len(w.starts)*i/7]
		if cut < w.stop {
			cut = w.starts[len(w.starts)/3]
		}
		first := play(t, Config{Workers: 2}, w.wal, Span{Range: pg.Range{From: w.span.From, To: cut}}, w.base)
		for b, s := range states(t, first) {
			if f, ok := final[b]; ok && f.last.LSN < cut && f.page != s.page {
				t.Errorf("up to %s: %s differs, whose last record is at %s", cut, b, f.last.LSN)
			}
		}
		middle := after(t, first, w.base)
		second := play(t, Config{Workers: 2}, w.wal, Span{Range: pg.Range{From: cut, To: w.span.To}, Clean: true}, middle)
		for b, s := range states(t, second) {
			if s.future != 0 || s.failed != "<nil>" || s.invalid != 0 {
				t.Errorf("from %s: %s: future %s, failed %s, invalid %s", cut, b, s.future, s.failed, s.invalid)
			}
		}
		sameMemory(t, "cut at "+cut.String(), after(t, second, middle), want)
	}
}

// TestReplayTwice: the span over its own result changes nothing.
func TestReplayTwice(t *testing.T) {
	w := demoSpan(t)
	once := after(t, play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base), w.base)
	twice := after(t, play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, once), once)
	sameMemory(t, "twice", twice, once)
}

// TestChunks: the WAL may come in pieces of any size.
func TestChunks(t *testing.T) {
	w := demoSpan(t)
	want := states(t, play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base))
	small := *w.wal
	small.chunk = pg.BlockSize
	sameStates(t, "a page at a time", states(t, play(t, Config{Workers: 2}, &small, Span{Range: w.span}, w.base)), want)
}

// TestCleanBaseFromTheFuture: over a base that claims to be of the span's
// start, a page newer than a record is noted, with the first such record.
func TestCleanBaseFromTheFuture(t *testing.T) {
	w := demoSpan(t)
	end := after(t, play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base), w.base)
	// The first record of a block after a checkpoint is its image; a span that
	// starts between two has others.
	span := pg.Range{From: w.starts[len(w.starts)/2], To: w.span.To}
	res := play(t, Config{Workers: 2}, w.wal, Span{Range: span, Clean: true}, end)
	future := 0
	for b, s := range states(t, res) {
		if s.future != 0 {
			future++
			if s.future < span.From || s.future >= span.To {
				t.Errorf("%s: record %s is not of the span", b, s.future)
			}
		}
	}
	if future == 0 {
		t.Error("no page is from the future")
	}
}

// TestRecycledBatches spoils every batch as soon as it is given back: nobody
// may look at its records any more.
func TestRecycledBatches(t *testing.T) {
	w := demoSpan(t)
	want := states(t, play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base))
	for _, c := range []struct {
		workers int
		cached  bool
	}{{1, false}, {3, false}, {1, true}, {3, true}} {
		e := New(Config{Workers: c.workers}, w.wal, Span{Range: w.span})
		t.Cleanup(func() { _ = e.Close() })
		if _, err := e.Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.base.walk(e); err != nil {
			t.Fatal(err)
		}
		e.SetBase(Base{Checksums: true})
		spoilt := 0
		st := &stream{src: w.wal, span: w.span, kept: true, spare: e.spare}
		if c.cached {
			st.cache = &e.records
		}
		res, err := e.replay(t.Context(), st.each, func(b *batch) {
			for i := range b.recs {
				b.recs[i] = wal.Record{Rmgr: 255, LSN: 1, End: 1, Blocks: b.recs[i].Blocks[:0]}
			}
			clear(b.refs)
			for _, mem := range append(b.mem, b.buf[:cap(b.buf)]) {
				for i := range mem {
					mem[i] = 0xA5
				}
			}
			spoilt++
			st.recycle(b)
		})
		if err != nil {
			t.Fatal(err)
		}
		sameStates(t, fmt.Sprintf("%+v", c), states(t, res), want)
		if spoilt == 0 {
			t.Error("no batch was given back")
		}
	}
}
