package wal

import (
	"errors"
	"fmt"
)

// Dialect is the family of servers that wrote the WAL. Neon's PostgreSQL logs
// command ids with its heap changes: in 14 and 15 in the records of Heap and
// Heap2, since 16 in those of a resource manager of its own (pg.RmgrNeon).
type Dialect uint8

// The dialects.
const (
	Postgres Dialect = iota // stock PostgreSQL
	Neon
)

var dialectNames = [...]string{Postgres: "postgres", Neon: "neon"}

func (d Dialect) String() string {
	if int(d) < len(dialectNames) {
		return dialectNames[d]
	}
	return fmt.Sprintf("dialect %d", uint8(d))
}

// ParseDialect finds a dialect by the name String gives.
func ParseDialect(s string) (Dialect, error) {
	for d, name := range dialectNames {
		if s == name {
			return Dialect(d), nil
		}
	}
	return 0, fmt.Errorf("parse WAL dialect %q: want postgres or neon", s)
}

// Server names the servers that write the dialect: "Neon's PostgreSQL 15".
func (d Dialect) Server(major int) string {
	if d == Neon {
		return fmt.Sprintf("Neon's PostgreSQL %d", major)
	}
	return fmt.Sprintf("PostgreSQL %d", major)
}

// Proven reports whether the decoding and the redo of the dialect were held
// against WAL that such a server of that major had written. What is not
// proven is made from the published definitions of its records.
func (d Dialect) Proven(major int) bool { return d == Postgres || d == Neon && major == 15 }

// Dialects is a set of dialects.
type Dialects uint8

// Sets of dialects.
const (
	OnlyPostgres Dialects = 1 << Postgres
	OnlyNeon     Dialects = 1 << Neon
	AnyDialect            = OnlyPostgres | OnlyNeon
)

// Has reports whether d is in the set.
func (s Dialects) Has(d Dialect) bool { return s>>d&1 != 0 }

// One reports whether the set has exactly one dialect, and which.
func (s Dialects) One() (Dialect, bool) {
	switch s {
	case OnlyPostgres:
		return Postgres, true
	case OnlyNeon:
		return Neon, true
	}
	return 0, false
}

// ErrDialect says that a record is not in the format of the dialect that its
// WAL is read in, although its CRC is right: another server wrote it. Such a
// record must never be applied: it would change the wrong bytes.
var ErrDialect = errors.New("the WAL is not in the format of its dialect")

// DialectError is an ErrDialect with what gave it away.
type DialectError struct {
	Record  string // "Heap INSERT"
	Dialect Dialect
	Major   int
	Detail  string // what differs, with the lengths in bytes
	// Fits are the dialects that the record can be of instead, as far as that
	// was looked at.
	Fits Dialects
}

func (e *DialectError) Error() string {
	return fmt.Sprintf("%s record: %s: the WAL is not in the format of %s", e.Record, e.Detail, e.Dialect.Server(e.Major))
}

// Is makes errors.Is(err, ErrDialect) true.
func (e *DialectError) Is(target error) bool { return target == ErrDialect }

// dialect makes a *DialectError for the record.
func (r *Record) dialect(format string, args ...any) error {
	return &DialectError{
		Record:  r.Rmgr.String() + " " + OpName(r.Rmgr, r.Info, r.Major),
		Dialect: r.Dialect,
		Major:   r.Major,
		Detail:  fmt.Sprintf(format, args...),
	}
}

// wantMain says whether the main data is exactly n bytes long.
func (r *Record) wantMain(n int) error {
	if len(r.Main) != n {
		return r.dialect("main data is %d bytes long, want %d", len(r.Main), n)
	}
	return nil
}
