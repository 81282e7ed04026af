package catalog

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Index is one tuple of pg_index (catalog/pg_index.h: indexrelid, indrelid).
type Index struct {
	Tuple
	OID   pg.OID // of the index, in pg_class
	Table pg.OID // that it indexes
}

// Indexes lists the tuples of one page of pg_index.
func Indexes(p page.Page) []Index {
	var out []Index
	for _, t := range tuples(p, 8) {
		out = append(out, Index{Tuple: t, OID: t.oid(0), Table: t.oid(4)})
	}
	return out
}
