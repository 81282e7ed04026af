package native

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

const (
	batchRecords = 256
	batchBytes   = 1 << 20 // of record bytes, so that huge records don't pile up
	feedDepth    = 8       // batches decoded ahead
	batchesFree  = 64      // batches kept to be filled again
)

// batch is some decoded records in order. Its records stay valid as long as
// anybody points at them.
type batch struct {
	recs []wal.Record
	refs []wal.BlockRef // where the records' Blocks start out, to save allocations
}

func newBatch() *batch {
	const refsPerRecord = 2
	b := &batch{recs: make([]wal.Record, 0, batchRecords), refs: make([]wal.BlockRef, batchRecords*refsPerRecord)}
	for i := range batchRecords {
		at := i * refsPerRecord
		b.recs = append(b.recs, wal.Record{Blocks: b.refs[at : at : at+refsPerRecord]})
	}
	b.recs = b.recs[:0]
	return b
}

// feed hands all batches of a span to fn, in order.
type feed func(ctx context.Context, fn func(*batch) error) error

// stream is a pass over the records of a span.
type stream struct {
	src    replay.WALSource
	span   pg.Range
	system uint64
	// dialect is what the records are read as; not every pass looks into those that it changes.
	dialect wal.Dialect
	reader  *wal.Reader
	seen    func(pg.LSN) // progress, may be nil
	kept    bool         // batches live on when fn has returned, until they are recycled
	free    chan *batch
}

// each decodes the span in a goroutine of its own and hands fn the batches in
// order. It returns nil when the span is read to its end, fn's error (errStop
// counts as nil), or why the WAL ended before: *wal.EndError, *wal.MissingError
// or a read error.
func (s *stream) each(ctx context.Context, fn func(*batch) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ws, err := s.src.Open(ctx, s.span.From)
	if err != nil {
		return fmt.Errorf("open WAL at %s: %w", s.span.From, err)
	}
	defer func() { err = errors.Join(err, ws.Close()) }()
	s.reader = wal.NewReader(ws.ReadPages, wal.Config{Start: s.span.From, SegmentSize: s.src.SegmentSize(), SystemID: s.system,
		Dialect: s.dialect})

	ch := make(chan *batch, feedDepth)
	s.free = make(chan *batch, batchesFree)
	var decodeErr error
	go func() {
		defer close(ch)
		decodeErr = s.decode(ctx, ch)
	}()
	// The channel is drained before decodeErr is read, whatever fn says.
	var fnErr error
	for b := range ch {
		if fnErr != nil {
			continue
		}
		if fnErr = s.safely(fn, b); fnErr != nil {
			cancel()
		}
		if !s.kept {
			s.recycle(b)
		}
	}
	switch {
	case errors.Is(fnErr, errStop):
		return nil
	case fnErr != nil:
		return fnErr
	}
	return decodeErr
}

// safely hands fn a batch and tells how far it is. It makes an error of a
// panic, so that the decoder's goroutine and the workers end as after any
// other error.
func (s *stream) safely(fn func(*batch) error, b *batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	if err = fn(b); err == nil && s.seen != nil {
		s.seen(b.recs[len(b.recs)-1].End)
	}
	return err
}

// recycle takes a batch into whose records nobody points any more.
func (s *stream) recycle(b *batch) {
	select {
	case s.free <- b:
	default:
	}
}

// batch is one to fill.
func (s *stream) batch() *batch {
	select {
	case b := <-s.free:
		b.recs = b.recs[:0]
		return b
	default:
		return newBatch()
	}
}

// decode sends batches until the span's end.
func (s *stream) decode(ctx context.Context, ch chan<- *batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	seg := s.src.SegmentSize()
	at, done := s.span.From, false
	for !done && at < s.span.To {
		b, bytes := s.batch(), 0
		for len(b.recs) < batchRecords && bytes < batchBytes {
			if done = nextRecord(at, seg) >= s.span.To; done {
				break
			}
			b.recs = b.recs[:len(b.recs)+1]
			r := &b.recs[len(b.recs)-1]
			if err = s.reader.Next(r); err != nil {
				b.recs = b.recs[:len(b.recs)-1]
				break
			}
			if done = r.LSN >= s.span.To; done {
				b.recs = b.recs[:len(b.recs)-1]
				break
			}
			at, bytes = r.End, bytes+int(r.Length)
		}
		if len(b.recs) > 0 {
			select {
			case ch <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
