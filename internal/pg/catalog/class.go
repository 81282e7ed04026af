package catalog

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// relFileNodeOffset is where relfilenode is in a row of pg_class, bytes
// (catalog/pg_class.h): behind oid, relname, relnamespace, reltype, reloftype,
// relowner and relam.
const relFileNodeOffset = 4 + 64 + 5*4

// Class is one tuple of pg_class.
type Class struct {
	Tuple
	OID         pg.OID
	RelFileNode pg.OID // 0: mapped, or without storage
}

// Classes lists the tuples of one page of pg_class.
func Classes(p page.Page) []Class {
	var out []Class
	for _, t := range tuples(p, relFileNodeOffset+4) {
		out = append(out, Class{Tuple: t, OID: t.oid(0), RelFileNode: t.oid(relFileNodeOffset)})
	}
	return out
}
