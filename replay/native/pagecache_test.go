package native

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// countingWAL has n pages; each says its number. It counts what is read.
type countingWAL struct {
	n     int
	reads map[pg.LSN]int
}

func (w *countingWAL) SegmentSize() int64 { return 1 << 20 }

func (w *countingWAL) Open(context.Context, pg.LSN) (replay.WALStream, error) { return w, nil }

func (w *countingWAL) ReadPages(at pg.LSN) ([]byte, error) {
	i := int(at / wal.PageSize)
	if i >= w.n {
		return nil, errors.New("no more")
	}
	w.reads[at]++
	return bytes.Repeat([]byte{byte(i)}, wal.PageSize), nil
}

func (w *countingWAL) Close() error { return nil }

// TestPageCache: the second pass sees what the first saw and reads only what
// did not fit; errors are not kept.
func TestPageCache(t *testing.T) {
	src := &countingWAL{n: 10, reads: map[pg.LSN]int{}}
	c := pageCache{limit: 6*wal.PageSize + 1}
	pass := func(s replay.WALSource) {
		t.Helper()
		st, err := s.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range src.n {
			p, err := st.ReadPages(pg.LSN(i * wal.PageSize))
			if err != nil || len(p) != wal.PageSize || p[7] != byte(i) {
				t.Fatalf("page %d: %d bytes, %v", i, len(p), err)
			}
		}
		if _, err := st.ReadPages(pg.LSN(src.n * wal.PageSize)); err == nil {
			t.Error("no error behind the end")
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	pass(c.fill(src))
	if c.size > c.limit {
		t.Errorf("%d bytes held of %d", c.size, c.limit)
	}
	pass(c.empty(src))
	for i := range src.n {
		if got, want := src.reads[pg.LSN(i*wal.PageSize)], 1+min(i/6, 1); got != want {
			t.Errorf("page %d was read %d times, want %d", i, got, want)
		}
	}
	if len(c.held) != 0 {
		t.Errorf("%d pages are still held", len(c.held))
	}
}

// TestPageCacheCancelled: what is held is no answer to somebody who has gone.
func TestPageCacheCancelled(t *testing.T) {
	src := &countingWAL{n: 1, reads: map[pg.LSN]int{}}
	c := pageCache{limit: 1 << 20}
	st, err := c.fill(src).Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.ReadPages(0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	st, err = c.empty(src).Open(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := st.ReadPages(0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
