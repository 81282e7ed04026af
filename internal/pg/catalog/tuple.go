// Package catalog reads system catalogs out of their pages.
package catalog

import (
	"bytes"
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// OIDs of catalogs (catalog/pg_class.h, pg_database.h, …). The first two are
// in relation maps, the others in pg_class.
const (
	DatabaseRelation  pg.OID = 1262 // pg_database, in the global map
	ClassRelation     pg.OID = 1259 // pg_class, in each database's map
	NamespaceRelation pg.OID = 2615 // pg_namespace
	IndexRelation     pg.OID = 2610 // pg_index
	SequenceRelation  pg.OID = 2224 // pg_sequence
)

// nameSize is NAMEDATALEN.
const nameSize = 64

// Tuple is one tuple of a catalog, live or not.
type Tuple struct {
	XMin, XMax pg.XID
	Infomask   uint16
	row        []byte // from the first column on
}

// tuples lists the tuples of a page whose rows have at least size bytes.
func tuples(p page.Page, size int) []Tuple {
	var out []Tuple
	for n := 1; n <= p.NumItems(); n++ {
		t := p.Item(n)
		if p.ItemID(n).Flags() != page.LPNormal || len(t) < page.HeaderSize {
			continue
		}
		if hoff := int(t[22]); len(t) >= hoff+size {
			out = append(out, Tuple{
				XMin: pg.XID(binary.LittleEndian.Uint32(t)), XMax: pg.XID(binary.LittleEndian.Uint32(t[4:])),
				Infomask: binary.LittleEndian.Uint16(t[20:]), row: t[hoff:],
			})
		}
	}
	return out
}

func (t *Tuple) oid(at int) pg.OID { return pg.OID(binary.LittleEndian.Uint32(t.row[at:])) }

// name reads a column of type name: up to its first zero byte.
func (t *Tuple) name(at int) string {
	b := t.row[at : at+nameSize]
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return string(b)
}
