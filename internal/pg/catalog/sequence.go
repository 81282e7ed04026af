package catalog

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// seqIncrementOffset is where seqincrement is in a row of pg_sequence, bytes
// (catalog/pg_sequence.h): behind seqrelid, seqtypid and seqstart.
const seqIncrementOffset = 4 + 4 + 8

// Sequence is one tuple of pg_sequence.
type Sequence struct {
	Tuple
	OID       pg.OID // in pg_class
	Increment int64
}

// Sequences lists the tuples of one page of pg_sequence.
func Sequences(p page.Page) []Sequence {
	var out []Sequence
	for _, t := range tuples(p, seqIncrementOffset+8) {
		out = append(out, Sequence{Tuple: t, OID: t.oid(0), Increment: int64(binary.LittleEndian.Uint64(t.row[seqIncrementOffset:]))})
	}
	return out
}
