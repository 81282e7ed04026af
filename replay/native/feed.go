package native

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/redo"
)

const (
	batchRecords = 256
	batchBytes   = 256 << 10 // of record bytes, so that huge records don't pile up
	// roomBytes is what a record that has 32 images finds room in behind others.
	roomBytes   = batchBytes + 64<<10
	feedDepth   = 8  // batches decoded ahead
	batchesFree = 64 // batches kept to be filled again
)

// batch is some decoded records in order. Its records stay valid as long as
// anybody points at them.
type batch struct {
	recs []wal.Record
	refs []wal.BlockRef // where the records' Blocks start out, to save allocations
	buf  []byte         // the records' bytes, as far as they are not kept for another pass
	// What the records do beside their blocks, where it is worked on one by one.
	clears []redo.VMClear
	slru   []redo.SLRUOp
	mem    [][]byte // slabs of which nothing is wanted any more when the batch is not
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
	fill    *recordCache // keeps the records for another pass, may be nil
	cache   *recordCache // has records that another pass kept, may be nil
	spare   *spare       // where the memory of these goes, may be nil
}

// each decodes the span in a goroutine of its own and hands fn the batches in
// order. It returns nil when the span is read to its end, fn's error (errStop
// counts as nil), or why the WAL ended before: *wal.EndError, *wal.MissingError
// or a read error.
func (s *stream) each(ctx context.Context, fn func(*batch) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !s.cache.serves(s.span.From) {
		s.cache = nil
	}
	if s.cache == nil || s.cache.rest {
		ws, openErr := s.open(ctx)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, ws.Close()) }()
	}
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

// open opens the source at the span's start, or behind the records that are cached.
func (s *stream) open(ctx context.Context) (replay.WALStream, error) {
	cfg := wal.Config{Start: s.span.From, SegmentSize: s.src.SegmentSize(), SystemID: s.system, Dialect: s.dialect}
	if s.cache != nil {
		cfg.Start, cfg.Prev = s.cache.end, s.cache.last
	}
	ws, err := s.src.Open(ctx, cfg.Start)
	if err != nil {
		return nil, fmt.Errorf("open WAL at %s: %w", cfg.Start, err)
	}
	if r, ok := ws.(replay.Reuser); ok {
		r.Reuse() // next points into none of it
	}
	s.reader = wal.NewReader(ws.ReadPages, cfg)
	return ws, nil
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

// recycle takes a batch into whose records nobody points any more, nor into
// those of any before.
func (s *stream) recycle(b *batch) {
	s.spare.put(b.mem)
	b.mem = b.mem[:0]
	select {
	case s.free <- b:
	default:
	}
}

// batch is one to fill.
func (s *stream) batch() *batch {
	select {
	case b := <-s.free:
		b.recs, b.buf, b.clears, b.slru = b.recs[:0], b.buf[:0], b.clears[:0], b.slru[:0]
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
	if s.cache != nil {
		if err := s.decodeCached(ctx, ch); err != nil || !s.cache.rest {
			return err
		}
	}
	for done := false; !done; {
		b := s.batch()
		done, err = s.read(b)
		if sendErr := send(ctx, ch, b); sendErr != nil {
			return sendErr
		}
		if err != nil {
			return err
		}
	}
	s.fill.complete()
	return ctx.Err()
}

// read fills a batch from the source and reports whether the span has ended.
func (s *stream) read(b *batch) (done bool, err error) {
	seg := s.src.SegmentSize()
	for bytes := 0; len(b.recs) < batchRecords && bytes < batchBytes; {
		if wal.NextRecord(s.reader.End(), seg) >= s.span.To {
			return true, nil
		}
		b.recs = b.recs[:len(b.recs)+1]
		r := &b.recs[len(b.recs)-1]
		n, err := s.next(b, r)
		if err != nil || r.LSN >= s.span.To {
			b.recs = b.recs[:len(b.recs)-1]
			return true, err
		}
		bytes += n
	}
	return false, nil
}

// next reads a record and returns how many bytes it has, which are kept for
// another pass or are the batch's.
func (s *stream) next(b *batch, r *wal.Record) (int, error) {
	room, kept := s.fill.room(), true
	if room == nil {
		if kept = false; b.buf == nil {
			b.buf = make([]byte, 0, roomBytes)
		}
		room = b.buf[len(b.buf):cap(b.buf)]
	}
	raw, err := s.reader.NextInto(r, room)
	if err != nil || r.LSN >= s.span.To {
		return 0, err
	}
	fits := len(raw) <= len(room)
	if kept {
		s.fill.keep(r, raw, fits)
	} else if fits {
		b.buf = b.buf[:len(b.buf)+len(raw)]
	}
	return len(raw), nil
}

// decodeCached sends the records that the cache has and empties it.
func (s *stream) decodeCached(ctx context.Context, ch chan<- *batch) error {
	b, bytes := s.batch(), 0
	for sl := s.cache.take(); sl != nil; sl = s.cache.take() {
		for len(sl.frames) > 0 {
			b.recs = b.recs[:len(b.recs)+1]
			r := &b.recs[len(b.recs)-1]
			if err := sl.decode(r, s.cache.major, s.dialect); err != nil {
				return err
			}
			if len(sl.frames) == 0 && len(sl.mem) == slabSize {
				b.mem = append(b.mem, sl.mem)
			}
			if bytes += int(r.Length); len(b.recs) < batchRecords && bytes < batchBytes {
				continue
			}
			if err := send(ctx, ch, b); err != nil {
				return err
			}
			b, bytes = s.batch(), 0
		}
	}
	return send(ctx, ch, b)
}

// send hands a batch on unless it is empty.
func send(ctx context.Context, ch chan<- *batch, b *batch) error {
	if len(b.recs) == 0 {
		return nil
	}
	select {
	case ch <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
