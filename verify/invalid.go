package verify

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
)

// findInvalidDatabases looks in the replayed pg_database for databases whose
// DROP DATABASE began and did not end, because the server crashed in it.
// PostgreSQL has by then thrown the database's dirty buffers away, so its
// files are older than the WAL says, and nobody will ever read them: such a
// database can only be dropped again.
//
// Only pages that the span's WAL touched count: the mark itself is WAL-logged,
// and a database that was invalid at the base already has not changed since.
func (r *run) findInvalidDatabases() error {
	r.invalidDBs = make(map[pg.OID]bool)
	maps, err := datadir.ParseRelMap(r.ra.RelMap(pg.GlobalTablespaceOID, 0))
	if err != nil {
		return nil // reported by relMaps
	}
	var buf [pg.BlockSize]byte
	for _, m := range maps {
		if m.Catalog != catalog.DatabaseRelation {
			continue
		}
		f := pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: pg.GlobalTablespaceOID, Rel: m.Rel}}
		err := r.ra.EachTouched(f, func(b pg.BlockNumber) error {
			p, err := r.ra.Page(f, b, buf[:])
			if err == nil && p.Failed == nil && !p.Tainted {
				catalog.InvalidDatabases(page.Page(p.Bytes), r.out.Postgres.Major, r.invalidDBs)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
