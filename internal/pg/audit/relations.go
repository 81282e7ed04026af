package audit

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// relations forgets the blocks of relations that end with the record, or begin with it.
func (a *Auditor) relations(r *wal.Record) error {
	switch r.Rmgr {
	case pg.RmgrTransaction:
		x, ok, err := wal.DecodeXact(r)
		if err != nil || !ok {
			return err
		}
		for _, rel := range x.DroppedRels {
			a.blocks.dropRelation(rel)
		}
	case pg.RmgrStorage:
		return a.storage(r)
	case pg.RmgrDatabase:
		return a.database(r)
	}
	return nil
}

func (a *Auditor) storage(r *wal.Record) error {
	if f, ok, err := wal.DecodeSmgrCreate(r); err != nil {
		return err
	} else if ok {
		a.blocks.cut(f, 0)
		return nil
	}
	t, ok, err := wal.DecodeSmgrTruncate(r)
	if err != nil || !ok {
		return err
	}
	fork := func(n pg.ForkNumber) pg.RelFork { return pg.RelFork{RelFileLocator: t.Rel, Fork: n} }
	if t.Heap {
		a.blocks.cut(fork(pg.MainFork), t.Block)
	}
	if t.VM {
		a.blocks.cut(fork(pg.VMFork), (t.Block+page.VMBlocksPerPage-1)/page.VMBlocksPerPage)
	}
	if t.FSM {
		a.blocks.cut(fork(pg.FSMFork), 0)
	}
	return nil
}

func (a *Auditor) database(r *wal.Record) error {
	if c, ok, err := wal.DecodeDatabaseCopy(r); err != nil {
		return err
	} else if ok {
		a.blocks.dropDatabase(c.Spc, c.DB)
	}
	if c, ok, err := wal.DecodeDatabaseCreate(r); err != nil {
		return err
	} else if ok {
		a.blocks.dropDatabase(c.Spc, c.DB)
	}
	d, ok, err := wal.DecodeDatabaseDrop(r)
	if err != nil || !ok {
		return err
	}
	a.blocks.dropDatabase(0, d.DB)
	return nil
}
