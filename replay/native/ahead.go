package native

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// Reach reads the records that start in a range of WAL and returns the end of
// the last one that is there whole, which may lie behind the range; the range's start
// if there is none. From there it can be gone on. Where the WAL of a running
// server ends is no error, whatever stands behind it.
func Reach(ctx context.Context, src replay.WALSource, span pg.Range) (pg.LSN, error) {
	at := span.From
	err := EachTouch(ctx, src, span, func(end pg.LSN) { at = end }, nil)
	var missing *wal.MissingError
	var end *wal.EndError
	if errors.As(err, &missing) || errors.As(err, &end) {
		return at, nil
	}
	return at, err
}

// FirstRecord is where the first record begins that begins at an LSN or behind it.
func FirstRecord(ctx context.Context, src replay.WALSource, at pg.LSN) (_ pg.LSN, err error) {
	stream, err := src.Open(ctx, at)
	if err != nil {
		return 0, fmt.Errorf("look for the record at %s: %w", at, err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	var rec wal.Record
	if err := wal.NewReader(stream.ReadPages, wal.Config{Start: at, SegmentSize: src.SegmentSize(), FindFirst: true, MayBeginLate: true}).Next(&rec); err != nil {
		return 0, fmt.Errorf("look for the record at %s: %w", at, err)
	}
	return rec.LSN, nil
}

// Boundary is an LSN itself if a record begins or the last one there ends at it, else
// where the next one begins.
func Boundary(ctx context.Context, src replay.WALSource, at pg.LSN) (pg.LSN, error) {
	next, err := FirstRecord(ctx, src, at)
	if err == nil || at == 0 {
		return next, err
	}
	before, otherErr := FirstRecord(ctx, src, pg.SegmentOf(at-1, src.SegmentSize()).Start(src.SegmentSize()))
	if otherErr != nil || before >= at {
		return 0, err
	}
	if end, otherErr := Reach(ctx, src, pg.Range{From: before, To: at}); otherErr != nil || end != at {
		return 0, err
	}
	return at, nil
}

// EachTouch reads a range of WAL and tells of each block that a record
// references, in WAL order, and of the end of each record when its blocks were told.
func EachTouch(ctx context.Context, src replay.WALSource, span pg.Range, record func(end pg.LSN), touch func(pg.Block, Touch) error) error {
	st := &stream{src: src, span: span, dialect: replay.DialectOf(src)}
	return st.each(ctx, func(b *batch) error {
		for i := range b.recs {
			r := &b.recs[i]
			for j := range r.Blocks {
				if touch == nil {
					break
				}
				if err := touch(r.Blocks[j].Block, touchOf(r, &r.Blocks[j])); err != nil {
					return err
				}
			}
			if record != nil {
				record(r.End)
			}
		}
		return nil
	})
}
