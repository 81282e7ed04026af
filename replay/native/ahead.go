package native

import (
	"context"
	"errors"

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
