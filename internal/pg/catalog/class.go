package catalog

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Where columns are in a row of pg_class, bytes (catalog/pg_class.h): behind
// oid and relname come relnamespace, reltype, reloftype, relowner, relam,
// relfilenode and reltablespace; then relpages, reltuples, relallvisible and,
// since 18, relallfrozen; then reltoastrelid, relhasindex, relisshared,
// relpersistence and relkind.
const (
	relNamespaceOffset  = 4 + nameSize
	relFileNodeOffset   = relNamespaceOffset + 5*4
	relTablespaceOffset = relFileNodeOffset + 4
	relStatsOffset      = relTablespaceOffset + 4
)

// toastOffset is where reltoastrelid is.
func toastOffset(major int) int {
	if major <= 17 {
		return relStatsOffset + 3*4
	}
	return relStatsOffset + 4*4
}

// Class is one tuple of pg_class.
type Class struct {
	Tuple
	OID         pg.OID
	Name        string // as stored: any bytes
	Namespace   pg.OID
	RelFileNode pg.OID // 0: mapped, or without storage
	Tablespace  pg.OID // 0: the database's default
	Toast       pg.OID // of the table's TOAST table, 0 if it has none
	Persistence byte   // relpersistence: p permanent, u unlogged, t temporary
	Kind        byte   // relkind: r table, i index, t TOAST table, S sequence, …
}

// Classes lists the tuples of one page of pg_class.
func Classes(p page.Page, major int) []Class {
	toast := toastOffset(major)
	kind := toast + 4 + 3
	var out []Class
	for _, t := range tuples(p, kind+1) {
		out = append(out, Class{
			Tuple: t, OID: t.oid(0), Name: t.name(4), Namespace: t.oid(relNamespaceOffset),
			RelFileNode: t.oid(relFileNodeOffset), Tablespace: t.oid(relTablespaceOffset),
			Toast: t.oid(toast), Persistence: t.row[kind-1], Kind: t.row[kind],
		})
	}
	return out
}
