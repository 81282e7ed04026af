package verify

import (
	"context"
	"fmt"

	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
)

// A crash leaves files that nobody will ever read and that the WAL does not
// describe, or describes better than they are:
//
//   - DROP DATABASE throws the database's dirty buffers away before it logs the
//     drop. The files that stay are older than the WAL says. By then
//     pg_database marks the database: it can only be dropped again.
//   - CREATE DATABASE by file copy logs the copy when it is done. Until then
//     there are files of a database that pg_database does not have.
//   - A relation made by a transaction that the crash ended stays as a file.
//     Bulk loads and index builds write such files past the WAL, so they may
//     hold more than the WAL that reached the disk. pg_class does not have it.
//
// All three are told from the replayed catalogs, whose changes are WAL-logged.

// eachCatalogPage hands fn the replayed pages of a mapped catalog. It reports
// false if some could not be had: tainted, failed, or not found. Pages that
// redo did not touch are read only if whole is set.
func (r *run) eachCatalogPage(ctx context.Context, mapSpc, mapDB, catalogOID pg.OID, whole bool, fn func(page.Page) error) (bool, error) {
	f, ok := r.mapped(mapSpc, mapDB, catalogOID)
	if !ok {
		return false, nil
	}
	fork, ok := r.replayedFork(f)
	var buf [pg.BlockSize]byte
	var untouched []pg.Block
	for b := range fork.Size {
		p, err := r.replayedPage(f, b, buf[:])
		switch {
		case err != nil:
			return false, err
		case p.Failed != nil || p.Tainted || p.Invalid != 0:
			ok = false
		case p.Bytes != nil && (p.Touched || whole):
			if err := fn(p.Bytes); err != nil {
				return false, err
			}
		case p.Bytes == nil && b < fork.BaseBlocks:
			untouched = append(untouched, pg.Block{RelFork: f, Number: b})
		}
	}
	if !whole || len(untouched) == 0 {
		return ok, nil
	}
	got := 0
	err := r.Base.Fetch(ctx, untouched, func(_ pg.Block, p []byte) error {
		got++
		return fn(p)
	})
	if err != nil {
		return false, fmt.Errorf("read catalog pages of the base: %w", err)
	}
	return ok && got == len(untouched), nil
}

// mapped finds a catalog's file by the relation map of its database, {pg.GlobalTablespaceOID, 0} for shared ones.
func (r *run) mapped(spc, db, catalogOID pg.OID) (pg.RelFork, bool) {
	maps, err := datadir.ParseRelMap(r.ra.RelMap(spc, db))
	if err != nil {
		return pg.RelFork{}, false // reported by relMaps
	}
	for _, m := range maps {
		if m.Catalog == catalogOID {
			return pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: spc, DB: db, Rel: m.Rel}}, true
		}
	}
	return pg.RelFork{}, false
}

// databases says of each database what its tuples in the replayed pg_database
// that may be live say: true if it is invalid. ok is false if not all of them
// could be read.
func (r *run) databases(ctx context.Context, whole bool) (found map[pg.OID]bool, ok bool, err error) {
	found = make(map[pg.OID]bool)
	ok, err = r.eachCatalogPage(ctx, pg.GlobalTablespaceOID, 0, catalog.DatabaseRelation, whole, func(p page.Page) error {
		for _, d := range catalog.Databases(p, r.out.Postgres.Major) {
			dead, err := r.dead(&d.Tuple)
			if err != nil {
				return err
			}
			if !dead {
				before, seen := found[d.OID]
				found[d.OID] = d.Invalid && (before || !seen)
			}
		}
		return nil
	})
	return found, ok, err
}

// Bits of t_infomask (access/htup_details.h).
const (
	xmaxLockOnly  = 0x0080
	xminCommitted = 0x0100
	xminInvalid   = 0x0200
	xmaxCommitted = 0x0400
	xmaxInvalid   = 0x0800
	xmaxIsMulti   = 0x1000
)

// dead says that a tuple is known to be dead: its inserter did not commit, or
// its deleter did. Where redo did not write the page of pg_xact that says so,
// nothing is known.
func (r *run) dead(d *catalog.Tuple) (bool, error) {
	switch d.Infomask & (xminCommitted | xminInvalid) {
	case xminInvalid:
		return true, nil
	case 0:
		if end, err := r.endOf(d.XMin); err != nil || end == aborted {
			return end == aborted, err
		}
	}
	if d.XMax == 0 || d.Infomask&(xmaxInvalid|xmaxLockOnly|xmaxIsMulti) != 0 {
		return false, nil
	}
	end, err := r.endOf(d.XMax)
	return end == committed, err
}

// How a transaction ended, as far as the replayed side knows.
type ending uint8

const (
	unknownEnd ending = iota
	committed
	aborted
)

// endOf looks a transaction up in the replayed pg_xact. One that a crash or a
// stop ended has aborted, unless it was prepared.
func (r *run) endOf(xid pg.XID) (ending, error) {
	state, err := r.xactState(xid)
	switch {
	case err != nil:
		return unknownEnd, err
	case state == compare.XactCommitted:
		return committed, nil
	case state == compare.XactAborted:
		return aborted, nil
	case state != compare.XactUnknown || r.mayBePrepared(xid):
		return unknownEnd, nil
	case r.ra.EndedByRestart(xid) || !r.official.Online && !r.official.Running:
		return aborted, nil
	}
	return unknownEnd, nil
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
	if r.moving != nil {
		for _, f := range r.moving.ahead.Forks() {
			delete(unknown, f.DB)
		}
	}
	delete(unknown, 0)
	if len(unknown) == 0 {
		return nil
	}
	known, ok, err := r.databases(ctx, true)
	if err != nil || !ok {
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
	found, _, err := r.databases(ctx, false)
	for db, invalid := range found {
		if invalid {
			out[db] = "invalid_database"
		}
	}
	return out, err
}

// findOrphans settles which of the relations that differ are files of
// relations that no transaction ever committed: the replayed pg_class of their
// database has no tuple for them that may be live.
func (r *run) findOrphans(ctx context.Context, suspects map[pg.RelFileLocator]bool) error {
	r.orphans = make(map[pg.RelFileLocator]bool)
	byDB := make(map[dbKey]map[pg.OID]bool)
	for rel := range suspects {
		k, ok := r.homeOf(rel.DB)
		if !ok {
			continue
		}
		if byDB[k] == nil {
			byDB[k] = make(map[pg.OID]bool)
		}
		byDB[k][rel.Rel] = true
	}
	for k, rels := range byDB {
		if err := r.dropLive(ctx, k, rels); err != nil {
			return err
		}
	}
	for rel := range suspects {
		k, ok := r.homeOf(rel.DB)
		r.orphans[rel] = ok && byDB[k][rel.Rel]
	}
	return nil
}

type dbKey struct{ spc, db pg.OID }

// homeOf is a database with its default tablespace, where its relation map is.
func (r *run) homeOf(db pg.OID) (dbKey, bool) {
	for _, k := range r.ra.RelMaps() {
		if k.DB == db && db != 0 {
			return dbKey{k.Spc, k.DB}, true
		}
	}
	return dbKey{}, false
}

// dropLive removes from rels those that are or may be live, all of them if
// that cannot be told.
func (r *run) dropLive(ctx context.Context, k dbKey, rels map[pg.OID]bool) error {
	maps, err := datadir.ParseRelMap(r.ra.RelMap(k.spc, k.db))
	if err != nil {
		clear(rels)
		return nil
	}
	for _, m := range maps {
		delete(rels, m.Rel)
	}
	if len(rels) == 0 {
		return nil
	}
	ok, err := r.eachCatalogPage(ctx, k.spc, k.db, catalog.ClassRelation, true, func(p page.Page) error {
		for _, c := range catalog.Classes(p, r.out.Postgres.Major) {
			if !rels[c.RelFileNode] {
				continue
			}
			dead, err := r.dead(&c.Tuple)
			if err != nil {
				return err
			}
			if !dead {
				delete(rels, c.RelFileNode)
			}
		}
		return nil
	})
	if !ok {
		clear(rels)
	}
	return err
}
