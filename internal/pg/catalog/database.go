package catalog

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// invalidLimit is DATCONNLIMIT_INVALID_DB: DROP DATABASE has begun and cannot
// be undone.
const invalidLimit = -2

// connLimitOffset is where datconnlimit is in a row of pg_database, bytes
// (catalog/pg_database.h): behind oid, name, owner and encoding come, in 14,
// two names; since 15 the provider; since 17 dathasloginevt.
func connLimitOffset(major int) int {
	if major <= 14 {
		return 208
	}
	return 80
}

// Database is one tuple of pg_database.
type Database struct {
	Tuple
	OID  pg.OID
	Name string // as stored: any bytes
	// Invalid: its DROP DATABASE was interrupted. Nobody can connect to it; it
	// can only be dropped (database_is_invalid_form, commands/dbcommands.c).
	Invalid bool
}

// Databases lists the tuples of one page of pg_database.
func Databases(p page.Page, major int) []Database {
	at := connLimitOffset(major)
	var out []Database
	for _, t := range tuples(p, at+4) {
		out = append(out, Database{Tuple: t, OID: t.oid(0), Name: t.name(4), Invalid: int32(t.oid(at)) == invalidLimit})
	}
	return out
}
