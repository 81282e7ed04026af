// Package catalog reads system catalogs out of their pages.
package catalog

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// DatabaseRelation is the OID of pg_database, which the relation map of the
// global tablespace maps (DatabaseRelationId, catalog/pg_database.h).
const DatabaseRelation pg.OID = 1262

// invalidLimit is DATCONNLIMIT_INVALID_DB: DROP DATABASE has begun and cannot
// be undone.
const invalidLimit = -2

// connLimitOffset is where datconnlimit is in a tuple of pg_database, bytes
// from its first column (catalog/pg_database.h): behind oid, name, owner and
// encoding come, in 14, two names; since 15 the provider; since 17 dathasloginevt.
func connLimitOffset(major int) int {
	if major <= 14 {
		return 208
	}
	return 80
}

// Database is one tuple of pg_database, live or not.
type Database struct {
	OID pg.OID
	// Invalid: its DROP DATABASE was interrupted. Nobody can connect to it; it
	// can only be dropped (database_is_invalid_form, commands/dbcommands.c).
	Invalid    bool
	XMin, XMax pg.XID
	Infomask   uint16
}

// Databases lists the tuples of one page of pg_database.
func Databases(p page.Page, major int) []Database {
	var out []Database
	limitAt := connLimitOffset(major)
	for n := 1; n <= p.NumItems(); n++ {
		t := p.Item(n)
		if p.ItemID(n).Flags() != page.LPNormal || len(t) < page.HeaderSize {
			continue
		}
		hoff := int(t[22])
		if len(t) < hoff+limitAt+4 {
			continue
		}
		out = append(out, Database{
			OID:      pg.OID(binary.LittleEndian.Uint32(t[hoff:])),
			Invalid:  int32(binary.LittleEndian.Uint32(t[hoff+limitAt:])) == invalidLimit,
			XMin:     pg.XID(binary.LittleEndian.Uint32(t)),
			XMax:     pg.XID(binary.LittleEndian.Uint32(t[4:])),
			Infomask: binary.LittleEndian.Uint16(t[20:]),
		})
	}
	return out
}
