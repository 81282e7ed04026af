package wal

import (
	"errors"
	"fmt"
)

// ErrDialect says that a record is not in the format of stock PostgreSQL of
// its major version, although its CRC is right: another server wrote it.
// Neon's 14 and 15, for example, add t_cid to the heap records. Such a record
// must never be applied: read as a stock record it changes the wrong bytes.
var ErrDialect = errors.New("WAL is not in stock PostgreSQL's format")

// DialectError is an ErrDialect with what gave it away.
type DialectError struct {
	Record string // "Heap INSERT"
	Major  int
	Detail string // what differs, with the lengths in bytes
}

func (e *DialectError) Error() string {
	return fmt.Sprintf("%s record of PostgreSQL %d: %s: %v", e.Record, e.Major, e.Detail, ErrDialect)
}

// Is makes errors.Is(err, ErrDialect) true.
func (e *DialectError) Is(target error) bool { return target == ErrDialect }

// dialect makes a *DialectError for the record.
func (r *Record) dialect(format string, args ...any) error {
	return &DialectError{
		Record: r.Rmgr.String() + " " + OpName(r.Rmgr, r.Info, r.Major),
		Major:  r.Major,
		Detail: fmt.Sprintf(format, args...),
	}
}

// wantMain says whether the main data is exactly n bytes long.
func (r *Record) wantMain(n int) error {
	if len(r.Main) != n {
		return r.dialect("main data is %d bytes long, want %d", len(r.Main), n)
	}
	return nil
}
