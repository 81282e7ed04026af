package verify

import (
	"errors"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/native"
)

// speaks notes what the first pass over the WAL learned of its dialect; all
// later passes read it so.
func (r *run) speaks(s *native.Scanned) {
	p := &r.out.Postgres
	p.Dialect, p.DialectEvidence = s.Dialect.String(), s.DialectEvidence
	p.DialectProven = s.Dialect.Proven(p.Major)
	r.undecided = 0
	if s.DialectEvidence == 0 {
		r.undecided = s.DialectUndecided
	}
	if s.Dialect != wal.Postgres {
		r.WAL = replay.InDialect(r.WAL, s.Dialect)
	}
}

// misread notes that a record is not in the WAL's dialect.
func (r *run) misread(err error) {
	r.out.Postgres.Dialect = finding.UnknownDialect
	var d *wal.DialectError
	if errors.As(err, &d) && d.Fits != 0 {
		r.out.Postgres.Dialect = finding.MixedDialect
	}
	r.out.Postgres.DialectProven = false
}

// noServer says why no server can replay the WAL, if its dialect is why.
func (r *run) noServer() error {
	if replay.DialectOf(r.WAL) == wal.Postgres {
		return nil
	}
	return &inconclusive{"the WAL is of Neon's dialect, which no PostgreSQL recovers from: use engine native, without confirmation by a server"}
}

// dialectReasons say what of the dialect stands against a clean verdict.
func (r *run) dialectReasons() (out []string) {
	p := r.out.Postgres
	if r.undecided > 0 {
		out = append(out, fmt.Sprintf("dialect: nothing in the WAL tells whether PostgreSQL or Neon wrote it, and for %d records that makes a difference", r.undecided))
	}
	if p.Dialect == wal.Neon.String() && !p.DialectProven && !r.AcceptUnproven {
		out = append(out, fmt.Sprintf("unproven dialect: the redo of Neon's PostgreSQL %d is made from its published definitions and was never held against real WAL of it; "+
			"differences may be of its own making (--accept-unproven-dialect, in a job accept_unproven_dialect: true, takes its word)", p.Major))
	}
	return out
}
