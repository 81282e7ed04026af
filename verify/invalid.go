package verify

import (
	"context"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
)

// A crash in CREATE DATABASE or DROP DATABASE leaves files that nobody will
// ever read and that no WAL describes:
//
//   - DROP DATABASE throws the database's dirty buffers away before it logs the
//     drop. The files that stay are older than the WAL says. By then
//     pg_database marks the database: it can only be dropped again.
//   - CREATE DATABASE by file copy logs the copy when it is done. Until then
//     there are files of a database that pg_database does not have.
//
// Both are told from the replayed pg_database, whose changes are WAL-logged.

// databases says of each database what its live tuples in the replayed
// pg_database say: true if it is invalid. A tuple that may be live counts as
// live. whole is false if pages that redo did not touch were not read.
func (r *run) databases(ctx context.Context, whole bool) (map[pg.OID]bool, error) {
	found := make(map[pg.OID]bool)
	f, ok := r.databaseCatalog()
	if !ok {
		return found, nil
	}
	fork, _ := r.ra.Fork(f)
	var buf [pg.BlockSize]byte
	var untouched []pg.Block
	for b := range fork.Size {
		p, err := r.ra.Page(f, b, buf[:])
		switch {
		case err != nil:
			return nil, err
		case p.Touched && p.Failed == nil && !p.Tainted:
			if err := r.addDatabases(found, p.Bytes); err != nil {
				return nil, err
			}
		case !p.Touched && b < fork.BaseBlocks:
			untouched = append(untouched, pg.Block{RelFork: f, Number: b})
		}
	}
	if !whole || len(untouched) == 0 {
		return found, nil
	}
	err := r.Base.Fetch(ctx, untouched, func(_ pg.Block, p []byte) error { return r.addDatabases(found, p) })
	if err != nil {
		return nil, fmt.Errorf("read pg_database of the base: %w", err)
	}
	return found, nil
}

// databaseCatalog finds pg_database's files.
func (r *run) databaseCatalog() (pg.RelFork, bool) {
	maps, err := datadir.ParseRelMap(r.ra.RelMap(pg.GlobalTablespaceOID, 0))
	if err != nil {
		return pg.RelFork{}, false // reported by relMaps
	}
	for _, m := range maps {
		if m.Catalog == catalog.DatabaseRelation {
			return pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: pg.GlobalTablespaceOID, Rel: m.Rel}}, true
		}
	}
	return pg.RelFork{}, false
}

// Bits of t_infomask (access/htup_details.h).
const (
	xmaxLockOnly  = 0x0080
	xminCommitted = 0x0100
	xminInvalid   = 0x0200
	xmaxInvalid   = 0x0800
	xmaxIsMulti   = 0x1000
)

func (r *run) addDatabases(found map[pg.OID]bool, p page.Page) error {
	for _, d := range catalog.Databases(p, r.out.Postgres.Major) {
		dead, err := r.dead(&d)
		if err != nil {
			return err
		}
		if !dead {
			before, seen := found[d.OID]
			found[d.OID] = d.Invalid && (before || !seen)
		}
	}
	return nil
}

// dead says that a tuple is known to be dead: its inserter did not commit, or
// its deleter did. Where redo did not write the page of pg_xact that says so,
// nothing is known.
func (r *run) dead(d *catalog.Database) (bool, error) {
	switch d.Infomask & (xminCommitted | xminInvalid) {
	case xminInvalid:
		return true, nil
	case 0:
		if committed, known, err := r.committed(d.XMin); err != nil || known && !committed {
			return known, err
		}
	}
	if d.XMax == 0 || d.Infomask&(xmaxInvalid|xmaxLockOnly|xmaxIsMulti) != 0 {
		return false, nil
	}
	committed, known, err := r.committed(d.XMax)
	return known && committed, err
}

// committed looks a transaction up in the replayed pg_xact. One that a crash
// ended has not committed.
func (r *run) committed(xid pg.XID) (committed, known bool, err error) {
	const perPage = pg.BlockSize * 4 // two bits each
	const statusCommitted = 1
	var buf [pg.BlockSize]byte
	p, _, known, err := r.ra.SLRUPage(pg.SLRUPage{SLRU: pg.XactSLRU, Page: uint32(xid / perPage)}, buf[:])
	if err != nil || !known {
		return false, false, err
	}
	return p[xid%perPage/4]>>(xid%4*2)&3 == statusCommitted, true, nil
}

// findLeftovers settles which databases are leftovers of a crash.
func (r *run) findLeftovers(ctx context.Context) error {
	var err error
	if r.leftovers, err = r.droppedHalf(ctx); err != nil {
		return err
	}
	unknown := make(map[pg.OID]bool)
	for _, f := range r.rb.Forks() {
		unknown[f.DB] = f.DB != 0
	}
	for _, f := range r.ra.Forks() {
		delete(unknown, f.DB)
	}
	delete(unknown, 0)
	if len(unknown) == 0 {
		return nil
	}
	known, err := r.databases(ctx, true)
	if err != nil || len(known) == 0 {
		return err
	}
	for db := range unknown {
		if _, ok := known[db]; !ok {
			r.leftovers[db] = "orphan_database"
		}
	}
	return nil
}

// droppedHalf are the databases whose drop was interrupted in this span; one
// that was invalid at the base already has not changed since.
func (r *run) droppedHalf(ctx context.Context) (map[pg.OID]string, error) {
	out := make(map[pg.OID]string)
	found, err := r.databases(ctx, false)
	for db, invalid := range found {
		if invalid {
			out[db] = "invalid_database"
		}
	}
	return out, err
}
