package native

import (
	"context"
	"errors"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// errOtherDialect ends a pass that read WAL in the wrong dialect, at the first
// record that tells.
var errOtherDialect = errors.New("the WAL is of another dialect")

// FindDialect reads the span's WAL up to the first record that only one
// dialect has and returns that dialect; stock PostgreSQL's if there is none
// before the WAL or the span ends.
func FindDialect(ctx context.Context, src replay.WALSource, span pg.Range) (wal.Dialect, error) {
	found := wal.Postgres
	st := &stream{src: src, span: span}
	err := st.each(ctx, func(b *batch) error {
		for i := range b.recs {
			if d, one := b.recs[i].Dialects().One(); one {
				found = d
				return errStop
			}
		}
		return nil
	})
	var end *wal.EndError
	var missing *wal.MissingError
	if errors.As(err, &end) || errors.As(err, &missing) {
		err = nil // for the pass that follows to judge
	}
	return found, err
}

// tell counts what the records tell of their dialect and finds those that
// are of another one than the WAL is read in. All of them are looked at: each
// fits the format of the server that wrote it, so that a single one that does
// not fit proves the reading wrong.
func (s *Scanned) tell(r *wal.Record, switchable bool) error {
	tells, err := r.CheckDialect()
	switch {
	case err == nil:
		switch tells {
		case wal.TellsDialect:
			s.DialectEvidence++
		case wal.FitsSeveral:
			s.DialectUndecided++
		}
		return nil
	case switchable && s.DialectEvidence == 0 && r.Dialects() != 0:
		return errOtherDialect
	}
	return err
}
