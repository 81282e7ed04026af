package native

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/replay"
)

// watchedWAL counts what was read of it.
type watchedWAL struct {
	*memWAL
	first, last atomic.Int64
}

func (w *watchedWAL) Open(ctx context.Context, from pg.LSN) (replay.WALStream, error) {
	s, err := w.memWAL.Open(ctx, from)
	return watchedStream{s, w}, err
}

type watchedStream struct {
	replay.WALStream
	w *watchedWAL
}

func (s watchedStream) ReadPages(at pg.LSN) ([]byte, error) {
	s.w.first.CompareAndSwap(0, int64(at))
	s.w.last.Store(int64(at))
	return s.WALStream.ReadPages(at)
}

// TestDecoderWaits: the decoder is a few batches ahead of a consumer that is
// stuck, and no more.
func TestDecoderWaits(t *testing.T) {
	w := demoSpan(t)
	src := &watchedWAL{memWAL: &memWAL{segment: w.wal.segment, start: w.wal.start, data: w.wal.data, chunk: pg.BlockSize}}
	const ahead = (feedDepth + 3) * batchRecords
	if len(w.starts) < 2*ahead {
		t.Fatalf("the span has %d records only", len(w.starts))
	}
	st := &stream{src: src, span: w.span}
	first := true
	err := st.each(t.Context(), func(*batch) error {
		if !first {
			return errStop
		}
		first = false
		for at := int64(-1); at != src.last.Load(); {
			at = src.last.Load()
			time.Sleep(300 * time.Millisecond)
		}
		if at := pg.LSN(src.last.Load()); at > w.starts[ahead] {
			t.Errorf("read up to %s, and record %d is at %s", at, ahead, w.starts[ahead])
		}
		return nil
	})
	if err != nil || first {
		t.Errorf("error %v, called %t", err, !first)
	}
}

// TestSpanBounds: the records that start in [from, to), for any two records,
// and for bounds where no record starts.
func TestSpanBounds(t *testing.T) {
	w := demoSpan(t)
	records := func(from, to pg.LSN) (n int, err error) {
		st := &stream{src: w.wal, span: pg.Range{From: from, To: to}}
		err = st.each(context.Background(), func(b *batch) error {
			n += len(b.recs)
			return nil
		})
		return n, err
	}
	last := len(w.starts) - 1
	for _, c := range []struct{ from, to int }{{0, 0}, {0, 1}, {0, 2}, {5, 6}, {255, 256}, {256, 512}, {0, last}, {last - 1, last}, {700, 1500}} {
		for _, less := range []pg.LSN{0, 1, 8} {
			want := c.to - c.from
			if n, err := records(w.starts[c.from], w.starts[c.to]-less); c.to > c.from && (err != nil || n != want) {
				t.Errorf("records %d to %d, %d bytes less: %d, error %v", c.from, c.to, less, n, err)
			}
		}
		if n, err := records(w.starts[c.from], w.starts[c.to]+1); err != nil || n != c.to-c.from+1 {
			t.Errorf("records %d to just into %d: %d, error %v", c.from, c.to, n, err)
		}
	}
	// The end may be a segment's, where no record starts.
	boundary := pg.SegmentOf(w.starts[last/2], w.wal.segment).Start(w.wal.segment)
	if _, err := records(w.span.From, boundary); err != nil {
		t.Errorf("up to %s: %v", boundary, err)
	}
}

// TestFindBackupEnd finds the record of the backup asked for and stops there.
func TestFindBackupEnd(t *testing.T) {
	w := demoSpan(t)
	e := New(Config{}, w.wal, Span{})
	if end, err := e.FindBackupEnd(t.Context(), w.span.From); err != nil || end != w.stop {
		t.Errorf("end %s, error %v; want %s", end, err, w.stop)
	}
	_, err := e.FindBackupEnd(t.Context(), w.starts[10])
	if err == nil {
		t.Error("an end of a backup that never was")
	}
}

// TestScanned says what a scan learns.
func TestScanned(t *testing.T) {
	w := demoSpan(t)
	e := New(Config{}, w.wal, Span{Range: w.span})
	s, err := e.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Major != 17 || s.SystemID == 0 || s.WAL.Records != int64(len(w.starts)) || s.WAL.Bytes != int64(s.End-w.span.From) || s.WAL.FullPageImages == 0 {
		t.Errorf("scanned %+v", s)
	}
	if want := int64(pg.SegmentOf(w.span.To, w.wal.segment)-pg.SegmentOf(w.span.From, w.wal.segment)) + 1; s.WAL.Segments != want {
		t.Errorf("%d segments, want %d", s.WAL.Segments, want)
	}
	if len(s.BackupEnds) != 3 || s.BackupEnds[0].End != w.stop || s.BackupEnds[0].Start != w.span.From {
		t.Errorf("ends of backups %+v", s.BackupEnds)
	}
}

// TestHistory lists for a block the records that touched it: the last one is
// the one the replay names.
func TestHistory(t *testing.T) {
	w := demoSpan(t)
	res := play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base)
	wanted, last := map[pg.Block]bool{}, map[pg.Block]RecordRef{}
	for b, s := range states(t, res) {
		if _, slru := slruOf(b.RelFork); !slru && len(wanted) < 300 {
			wanted[b], last[b] = true, s.last
		}
	}
	found, err := History(t.Context(), w.wal, w.span, wanted)
	if err != nil {
		t.Fatal(err)
	}
	for b, want := range last {
		h := found[b]
		if len(h) == 0 || h[len(h)-1].RecordRef != want {
			t.Errorf("%s: history of %d ends otherwise than with %+v", b, len(h), want)
		}
		for i := 1; i < len(h); i++ {
			if h[i].LSN < h[i-1].LSN {
				t.Errorf("%s: record %d is out of order", b, i)
			}
		}
	}
	if _, err := History(t.Context(), &faultyWAL{memWAL: w.wal, left: 2}, w.span, wanted); !errors.Is(err, errInjected) {
		t.Errorf("error %v", err)
	}
}
