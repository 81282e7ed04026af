package catalog

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Namespace is one tuple of pg_namespace: a schema (catalog/pg_namespace.h:
// oid, nspname).
type Namespace struct {
	Tuple
	OID  pg.OID
	Name string // as stored: any bytes
}

// Namespaces lists the tuples of one page of pg_namespace.
func Namespaces(p page.Page) []Namespace {
	var out []Namespace
	for _, t := range tuples(p, 4+nameSize) {
		out = append(out, Namespace{Tuple: t, OID: t.oid(0), Name: t.name(4)})
	}
	return out
}
