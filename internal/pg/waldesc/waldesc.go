// Package waldesc says what a WAL record does, in the words of pg_waldump: what
// it prints between a record's operation and its block references.
//
// The words and layouts are those of PostgreSQL 15 (the *_desc functions of
// access/rmgrdesc), whose pg_waldump says the same of every record; other
// majors have other ones, and their records are not described. A table has a
// row for each operation: pieces of text, each with a field of the main data,
// named by its offset in bytes. What has no fixed layout is described by
// functions. Fields that a record is too short for are printed as "?".
package waldesc

import (
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// major is the one whose records are described.
const major = 15

// Append appends a blank and the description, which may be empty, as pg_waldump
// does; nothing for records of other majors, or in another format than
// PostgreSQL's. Times are printed in loc.
func Append(dst []byte, r *wal.Record, loc *time.Location) []byte {
	if r.Major != major || !r.Dialects().Has(wal.Postgres) {
		return dst
	}
	d := desc{dst: append(dst, ' '), fields: r.Main, r: r, loc: loc}
	for _, p := range piecesOf(r) {
		p(&d)
	}
	return d.dst
}

// piecesOf finds the row of a record's operation; nil if it has nothing to say.
func piecesOf(r *wal.Record) []piece {
	op := r.Op()
	switch {
	case r.Rmgr.Custom():
		return customPieces
	case !r.Rmgr.BuiltIn():
		return nil
	case r.Rmgr == pg.RmgrHeap, r.Rmgr == pg.RmgrHeap2, r.Rmgr == pg.RmgrBRIN, r.Rmgr == pg.RmgrTransaction:
		op &= 0x70 // XLOG_HEAP_OPMASK, XLOG_BRIN_OPMASK, XLOG_XACT_OPMASK
	}
	return table[r.Rmgr][op>>4]
}

// desc is a description that is being written.
type desc struct {
	dst []byte
	fields
	r   *wal.Record
	loc *time.Location
}

// text appends s.
func (d *desc) text(s string) { d.dst = append(d.dst, s...) }

// piece appends a part of a description.
type piece func(*desc)
