// Package catalog reads system catalogs out of their pages.
package catalog

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// DatabaseRelation is the OID of pg_database, which every relation map of the
// global tablespace maps (DatabaseRelationId, catalog/pg_database.h).
const DatabaseRelation pg.OID = 1262

// invalidLimit is DATCONNLIMIT_INVALID_DB: DROP DATABASE has begun and cannot
// be undone.
const invalidLimit = -2

// Bits of t_infomask that say that a tuple is not deleted (access/htup_details.h).
const xmaxInvalid = 0x0800

// connLimitOffset is where datconnlimit is in a tuple of pg_database, bytes
// from its first column (catalog/pg_database.h): behind oid, name, owner and
// encoding come, in 14, two names; since 15 the provider; since 17 dathasloginevt.
func connLimitOffset(major int) int {
	if major <= 14 {
		return 208
	}
	return 80
}

// InvalidDatabases adds, for one page of pg_database, what its live tuples say
// of each database: true if DROP DATABASE was interrupted in it, so that
// nobody can connect to it and it can only be dropped.
//
// Source: commands/dbcommands.c, dropdb and database_is_invalid_form.
func InvalidDatabases(p page.Page, major int, found map[pg.OID]bool) {
	limitAt := connLimitOffset(major)
	for n := 1; n <= p.NumItems(); n++ {
		t := p.Item(n)
		if p.ItemID(n).Flags() != page.LPNormal || len(t) < page.HeaderSize {
			continue
		}
		xmax, infomask, hoff := binary.LittleEndian.Uint32(t[4:]), binary.LittleEndian.Uint16(t[20:]), int(t[22])
		if xmax != 0 && infomask&xmaxInvalid == 0 || len(t) < hoff+limitAt+4 {
			continue
		}
		row := t[hoff:]
		oid := pg.OID(binary.LittleEndian.Uint32(row))
		invalid := int32(binary.LittleEndian.Uint32(row[limitAt:])) == invalidLimit
		if before, seen := found[oid]; seen {
			invalid = invalid && before
		}
		found[oid] = invalid
	}
}
