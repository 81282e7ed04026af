package native

import (
	"bytes"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/audit"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// relations does what a record does to whole relations, databases and files.
func (r *router) relations(rec *wal.Record) error {
	switch rec.Rmgr {
	case pg.RmgrTransaction:
		if p, ok, err := wal.DecodePrepare(rec); err != nil {
			return err
		} else if ok {
			r.prepare(rec, &p)
			return nil
		}
		x, ok, err := wal.DecodeXact(rec)
		if err != nil || !ok {
			return err
		}
		if x.HasOrigin {
			r.advance(rec.Origin, x.OriginLSN, false)
		}
		if x.Prepared {
			r.ended[x.XID] = true
			delete(r.prepared, x.XID)
			delete(r.states, x.XID)
			for _, sub := range x.SubXIDs {
				delete(r.prepared, sub)
			}
		}
		for _, rel := range x.DroppedRels {
			if err := r.drop(rec, rel); err != nil {
				return err
			}
		}
	case pg.RmgrStorage:
		return r.storage(rec)
	case pg.RmgrDatabase:
		return r.database(rec)
	case pg.RmgrRelMap:
		m, err := wal.DecodeRelMapUpdate(rec)
		if err != nil {
			return err
		}
		key := dbKey{m.Spc, m.DB}
		r.maps[key] = append([]byte(nil), m.Data...)
	case pg.RmgrXLOG:
		if c, ok, err := wal.DecodeCheckPoint(rec); err != nil {
			return err
		} else if ok && c.Shutdown {
			r.restart = &c.NextXID
		}
		if _, ok, err := wal.DecodeEndOfRecovery(rec); err != nil {
			return err
		} else if ok {
			r.promoted = true
		}
		p, ok, err := wal.DecodeParameterChange(rec)
		if err != nil || !ok {
			return err
		}
		return r.parameters(p)
	case pg.RmgrCLOG, pg.RmgrCommitTs, pg.RmgrMultiXact:
		return r.truncateSLRU(rec)
	case pg.RmgrReplicationOrigin:
		return r.origin(rec)
	}
	return nil
}

// prepare remembers a transaction that outlives restarts.
func (r *router) prepare(rec *wal.Record, p *wal.Prepare) {
	r.prepared[p.XID] = true
	delete(r.ended, p.XID)
	if r.cfg.KeepStates {
		r.states[p.XID] = bytes.Clone(rec.Main)
	}
	if rec.Origin != 0 {
		r.advance(rec.Origin, p.OriginLSN, false)
	}
	for _, sub := range p.SubXIDs {
		r.prepared[sub] = true
	}
}

// origin does what a record does to how far a replication origin got
// (replorigin_redo, replication/logical/origin.c).
func (r *router) origin(rec *wal.Record) error {
	if s, ok, err := wal.DecodeOriginSet(rec); err != nil {
		return err
	} else if ok {
		r.advance(s.Origin, s.Remote, s.Force)
		return nil
	}
	id, ok, err := wal.DecodeOriginDrop(rec)
	if err != nil || !ok {
		return err
	}
	delete(r.origins, id)
	return nil
}

// advance notes how far an origin got (replorigin_advance): never backwards
// unless it is forced to. Nobody keeps track of the last id, DoNotReplicateId.
func (r *router) advance(origin uint16, remote pg.LSN, force bool) {
	const doNotReplicate = 0xFFFF
	if origin == 0 || origin == doNotReplicate {
		return
	}
	if at, known := r.origins[origin]; !known || force || at < remote {
		r.origins[origin] = remote
	}
}

// drop forgets all forks of a relation. Records on their way to workers keep
// working on the old generation, which nobody reads any more.
func (r *router) drop(rec *wal.Record, rel pg.RelFileLocator) error {
	r.dropped[rel] = rec.LSN
	for f := pg.MainFork; f <= pg.MaxFork; f++ {
		if err := r.forget(pg.RelFork{RelFileLocator: rel, Fork: f}); err != nil {
			return err
		}
	}
	return nil
}

// forget ends a generation. Its pages are dropped in WAL order by the workers.
func (r *router) forget(f pg.RelFork) error {
	rel := r.rels[f]
	if rel == nil {
		return nil
	}
	delete(r.rels, f)
	r.recentRels.slot(f).v = nil
	return r.sendAll(item{kind: itemTruncate, rel: rel})
}

func (r *router) storage(rec *wal.Record) error {
	if f, ok, err := wal.DecodeSmgrCreate(rec); err != nil {
		return err
	} else if ok {
		if f.Fork != pg.FSMFork {
			r.relation(f)
		}
		return nil
	}
	t, ok, err := wal.DecodeSmgrTruncate(rec)
	if err != nil || !ok {
		return err
	}
	main := pg.RelFork{RelFileLocator: t.Rel}
	r.relation(main)
	if t.Heap {
		if err := r.truncate(main, t.Block); err != nil {
			return err
		}
	}
	vm := pg.RelFork{RelFileLocator: t.Rel, Fork: pg.VMFork}
	if !t.VM || r.rels[vm] == nil {
		return nil
	}
	return r.truncateVM(rec, vm, t.Block)
}

func (r *router) truncate(f pg.RelFork, blocks pg.BlockNumber) error {
	rel := r.relation(f)
	rel.size = min(rel.size, blocks)
	rel.baseBlocks = min(rel.baseBlocks, blocks)
	return r.sendAll(item{kind: itemTruncate, rel: rel, blk: blocks})
}

// truncateVM cuts the map to what a heap of that many blocks needs and clears
// the bits beyond in its last page (visibilitymap_prepare_truncate).
func (r *router) truncateVM(rec *wal.Record, vm pg.RelFork, heapBlocks pg.BlockNumber) error {
	last, tail := redo.VMTruncation(heapBlocks)
	keep := last
	if tail {
		keep++
	}
	if r.rels[vm].size > keep {
		if err := r.truncate(vm, keep); err != nil {
			return err
		}
	}
	if !tail || r.rels[vm].size <= last || !r.wanted(vm, last) {
		return nil
	}
	return r.send(r.owner(vm, last), item{
		kind: itemTruncateVM, inBase: r.inBase(r.rels[vm], last), blk: last, rel: r.rels[vm], rec: rec, vm: &redo.VMClear{Heap: heapBlocks},
	})
}

// parameters follows the settings that change what redo does. The workers
// share env, so they are idle while it changes.
func (r *router) parameters(p wal.ParameterChange) error {
	if r.commitTs && !p.TrackCommitTimestamp {
		// PostgreSQL removes pg_commit_ts when it is switched off.
		if err := r.forget(slruFork(pg.CommitTsSLRU)); err != nil {
			return err
		}
		r.slruGone[pg.CommitTsSLRU] = true
	}
	r.commitTs = p.TrackCommitTimestamp
	hints := r.checksums || p.WALLogHints
	if hints == r.env.HintBitsLogged {
		return nil
	}
	if err := r.drain(); err != nil {
		return err
	}
	r.env.HintBitsLogged = hints
	return nil
}

func (r *router) database(rec *wal.Record) error {
	if c, ok, err := wal.DecodeDatabaseCopy(rec); err != nil {
		return err
	} else if ok {
		return r.copyDatabase(rec, c)
	}
	if l, ok, err := wal.DecodeDatabaseCreate(rec); err != nil {
		return err
	} else if ok {
		r.walLogged[dbKey{l.Spc, l.DB}] = true
		return nil
	}
	d, ok, err := wal.DecodeDatabaseDrop(rec)
	if err != nil || !ok {
		return err
	}
	for _, spc := range d.Tablespaces {
		if err := r.dropDatabase(rec, dbKey{spc, d.DB}); err != nil {
			return err
		}
	}
	return nil
}

func (r *router) dropDatabase(rec *wal.Record, db dbKey) error {
	for f := range r.rels {
		if f.Spc == db.spc && f.DB == db.db {
			r.dropped[f.RelFileLocator] = rec.LSN
			if err := r.forget(f); err != nil {
				return err
			}
		}
	}
	delete(r.maps, db)
	delete(r.walLogged, db)
	delete(r.copied, db)
	return nil
}

// copyDatabase copies all files of a database as replayed so far: the one
// record that reads blocks other than those it writes.
func (r *router) copyDatabase(rec *wal.Record, c wal.DatabaseCopy) error {
	src, dst := dbKey{c.SrcSpc, c.SrcDB}, dbKey{c.Spc, c.DB}
	if err := r.dropDatabase(rec, dst); err != nil {
		return err
	}
	if err := r.drain(); err != nil {
		return err
	}
	for f, from := range r.rels {
		if f.Spc != src.spc || f.DB != src.db {
			continue
		}
		to := f
		to.Spc, to.DB = dst.spc, dst.db
		if err := r.copyRelation(from, to); err != nil {
			return err
		}
	}
	if m, ok := r.maps[src]; ok {
		r.maps[dst] = m
	}
	r.copied[dst] = rec.LSN
	return nil
}

// copyRelation runs while the workers are idle.
func (r *router) copyRelation(from *relation, f pg.RelFork) error {
	if err := r.fill(from); err != nil {
		return err
	}
	to := r.newRelation(f)
	to.created, to.size = true, from.size
	r.rels[f] = to
	delete(r.dropped, f.RelFileLocator)
	r.recentRels.slot(f).v = nil
	buf := make([]byte, pg.BlockSize)
	var err error
	from.each(func(n pg.BlockNumber, b *block) {
		if err == nil {
			err = r.copyBlock(from, to, n, b, buf)
		}
	})
	return err
}

// copyBlock copies a block from one relation to another.
func (r *router) copyBlock(from, to *relation, n pg.BlockNumber, b *block, buf []byte) error {
	p, err := r.stores[r.owner(from.fork, n)].peek(b, buf)
	if err != nil {
		return err
	}
	w := r.owner(to.fork, n)
	db := to.make(w, n)
	state := *b
	state.page, state.onDisk, state.recent = nil, false, false
	state.hints, state.audit = slices.Clone(b.hints), audit.Block{}
	*db = state
	db.touched = true
	copy(buf, p)
	dst, err := r.stores[w].load(db)
	if err != nil {
		return err
	}
	copy(dst, buf)
	return nil
}

// truncateSLRU notes which leading pages of an SLRU are gone.
func (r *router) truncateSLRU(rec *wal.Record) error {
	cuts, err := redo.SLRUTruncations(rec)
	if err != nil {
		return err
	}
	for _, c := range cuts {
		c = c.After(r.slruCut[c.SLRU])
		r.slruCut[c.SLRU] = &c
	}
	return nil
}
