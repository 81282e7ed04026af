package native

import (
	"fmt"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// readAll lists the records of a pass, each as its fields and its bytes.
func readAll(t *testing.T, st *stream) (out []string) {
	t.Helper()
	err := st.each(t.Context(), func(b *batch) error {
		for i := range b.recs {
			r := b.recs[i]
			out = append(out, fmt.Sprintf("%+v", r))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRecordCache: the second pass sees the very records that the first saw,
// wherever the cache was full, and reads the source only behind them.
func TestRecordCache(t *testing.T) {
	w := demoSpan(t)
	want := readAll(t, &stream{src: w.wal, span: w.span})
	for _, limit := range []int64{0, slabSize, slabSize + 100*frameSize, 2 * slabSize, 1 << 30} {
		c := recordCache{limit: limit}
		if got := readAll(t, &stream{src: w.wal, span: w.span, fill: c.fill()}); !slices.Equal(got, want) {
			t.Fatalf("limit %d: the pass that fills the cache sees other records", limit)
		}
		if over := c.size - c.limit; over > 0 && over > int64(len(want))*frameSize {
			t.Errorf("limit %d: %d bytes held", limit, c.size)
		}
		whole := limit == 1<<30
		if c.rest == whole {
			t.Errorf("limit %d: the cache says that there are records behind it: %t", limit, c.rest)
		}
		end := c.end
		src := &watchedWAL{memWAL: w.wal}
		if whole {
			src = nil // which nobody may open
		}
		st := &stream{src: src, span: w.span, cache: &c}
		if got := readAll(t, st); !slices.Equal(got, want) {
			t.Fatalf("limit %d: the pass that empties the cache sees other records", limit)
		}
		if len(c.slabs) != 0 {
			t.Errorf("limit %d: %d slabs are still held", limit, len(c.slabs))
		}
		if !whole && limit > 0 && src.first.Load() < int64(end&^(wal.PageSize-1)) {
			t.Errorf("limit %d: read from %s on, the cache ends at %s", limit, pg.LSN(src.first.Load()), end)
		}
	}
}

// TestRecordCacheCut resumes behind any of the first records, after which the
// cache is made to be full: those of the first page are all kept or none.
func TestRecordCacheCut(t *testing.T) {
	w := demoSpan(t)
	span := pg.Range{From: w.span.From, To: w.starts[600]}
	want := readAll(t, &stream{src: w.wal, span: span})
	for n := 1; n < len(want); n++ {
		c := recordCache{limit: 1 << 30}
		readAll(t, &stream{src: w.wal, span: pg.Range{From: span.From, To: w.starts[n]}, fill: c.fill()})
		c.rest = true
		if got := readAll(t, &stream{src: w.wal, span: span, cache: &c}); !slices.Equal(got, want) {
			t.Fatalf("%d records kept: other records", n)
		}
	}
}

// TestRecordCacheLarge keeps a record that is longer than what there is room for.
func TestRecordCacheLarge(t *testing.T) {
	c := (&recordCache{limit: 1 << 30}).fill()
	at := pg.LSN(0x1000000)
	for _, n := range []int{24, roomBytes + 1, 24, 2 * slabSize, 24} {
		room := c.room()
		own := make([]byte, n)
		if n <= len(room) {
			own = room[:n]
		}
		own[16] = byte(n)
		c.keep(&wal.Record{LSN: at, End: at + pg.LSN(n), Length: uint32(n), Major: 17}, own, n <= len(room))
		at += pg.LSN(n)
	}
	c.complete()
	var got []int
	for s := c.take(); s != nil; s = c.take() {
		for len(s.frames) > 0 {
			n, info := int(s.frames[0].length), s.buf[16]
			if info != byte(n) {
				t.Errorf("record of %d bytes has those of another", n)
			}
			got = append(got, n)
			s.buf, s.frames = s.buf[n:], s.frames[1:]
		}
	}
	if !slices.Equal(got, []int{24, roomBytes + 1, 24, 2 * slabSize, 24}) || c.rest {
		t.Errorf("records %v, rest %t", got, c.rest)
	}
}

// TestRecordCacheUnfinished: what a pass kept that did not come to its end
// does not stand for the whole span.
func TestRecordCacheUnfinished(t *testing.T) {
	w := demoSpan(t)
	want := readAll(t, &stream{src: w.wal, span: w.span})
	c := recordCache{limit: 1 << 30}
	st, batches := &stream{src: w.wal, span: w.span, fill: c.fill()}, 0
	if err := st.each(t.Context(), func(*batch) error {
		if batches++; batches == 3 {
			return errStop
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, &stream{src: w.wal, span: w.span, cache: &c}); !slices.Equal(got, want) {
		t.Error("other records")
	}
}
