package verify

import (
	"context"
	"fmt"
	"slices"

	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// catalogSide is one of the three versions of the cluster that a verification
// knows, as a source of catalogs: the base, the replayed and the official
// side. Pages that are read are kept in the spool, so that a snapshot which
// can only be read front to back is read once.
type catalogSide struct {
	spool  *spool
	snap   Snapshot
	maps   []native.RelMapKey
	relMap func(spc, db pg.OID) []byte
	fork   func(pg.RelFork) (native.Fork, bool)
	page   func(pg.RelFork, pg.BlockNumber, []byte) (native.Page, error) // what redo made
	// trust says whether a page that redo made is to be believed, raw whether
	// one is that the snapshot has.
	trust func(pg.Block, native.Page) bool
	raw   func(pg.Block, page.Page) bool
	// state says how a transaction ended.
	state func(pg.XID) (compare.XactState, error)

	loaded map[pg.RelFork][]int64 // places in the spool
}

func (r *run) replayedCatalogs() *catalogSide {
	checksums := r.baseSums()
	return &catalogSide{
		spool: r.spool, snap: r.Base, maps: r.ra.RelMaps(), relMap: r.ra.RelMap, fork: r.ra.Fork, page: r.ra.Page,
		trust: func(b pg.Block, p native.Page) bool { return sane(p) && (p.Whole || !r.mismatched(b)) },
		raw: func(b pg.Block, p page.Page) bool {
			return readable(p, b.Number, checksums) && (checksums || !r.mismatched(b))
		},
		state: r.xactStates(), loaded: make(map[pg.RelFork][]int64),
	}
}

// officialCatalogs believes pg_xact as replayed, which the official one must equal.
func (r *run) officialCatalogs() *catalogSide {
	checksums := r.officialCtl.Checksums() && !r.official.Unsummed
	return &catalogSide{
		spool: r.spool, snap: r.Official, maps: r.rb.RelMaps(), relMap: r.rb.RelMap, fork: r.rb.Fork, page: r.rb.Page,
		trust: func(_ pg.Block, p native.Page) bool { return sane(p) },
		raw:   func(b pg.Block, p page.Page) bool { return readable(p, b.Number, checksums) },
		state: r.xactStates(), loaded: make(map[pg.RelFork][]int64),
	}
}

func (r *run) baseCatalogs() *catalogSide {
	checksums := r.baseSums()
	var maps []native.RelMapKey
	for k := range r.index.maps {
		maps = append(maps, native.RelMapKey{Spc: k.spc, DB: k.db})
	}
	return &catalogSide{
		spool: r.spool, snap: r.Base, maps: maps,
		relMap: func(spc, db pg.OID) []byte { return r.index.maps[dbKey{spc, db}] },
		fork: func(f pg.RelFork) (native.Fork, bool) {
			fi := r.index.forks[f]
			if fi == nil {
				return native.Fork{}, false
			}
			return native.Fork{RelFork: f, Size: fi.size, BaseBlocks: fi.size}, true
		},
		page: func(pg.RelFork, pg.BlockNumber, []byte) (native.Page, error) { return native.Page{}, nil },
		// An online base may hold torn pages that nothing but a checksum tells.
		raw: func(b pg.Block, p page.Page) bool {
			return readable(p, b.Number, checksums) && (checksums || !r.base.Online)
		},
		state: r.xacts.base, loaded: make(map[pg.RelFork][]int64),
	}
}

// mismatched says whether a block is among those that differ; they are sorted.
func (r *run) mismatched(b pg.Block) bool {
	_, ok := slices.BinarySearchFunc(r.tally.mismatches, b, func(m mismatch, b pg.Block) int { return m.Compare(b) })
	return ok
}

// sane says that redo met nothing odd on a page.
func sane(p native.Page) bool {
	return p.Failed == nil && !p.Tainted && p.Invalid == 0 && p.Future == 0 && page.Page(p.Bytes).Check() == nil
}

// readable says that a stored page is not visibly damaged.
func readable(p page.Page, n pg.BlockNumber, checksums bool) bool {
	return p.Check() == nil && (!checksums || p.ChecksumOK(n))
}

// load reads forks into the spool that are not there yet, the snapshot in one go.
func (s *catalogSide) load(ctx context.Context, forks ...pg.RelFork) error {
	var fetch []pg.Block
	var buf [pg.BlockSize]byte
	for _, f := range forks {
		if _, ok := s.loaded[f]; ok {
			continue
		}
		s.loaded[f] = nil
		fork, _ := s.fork(f)
		for n := range fork.Size {
			b := pg.Block{RelFork: f, Number: n}
			p, err := s.page(f, n, buf[:])
			switch {
			case err != nil:
				return err
			case p.Bytes == nil && n < fork.BaseBlocks:
				fetch = append(fetch, b)
			case p.Bytes != nil && (p.Touched && s.trust(b, p) || !p.Touched && s.raw(b, p.Bytes)):
				if err := s.keep(f, p.Bytes); err != nil {
					return err
				}
			}
		}
	}
	if len(fetch) == 0 {
		return nil
	}
	return s.snap.Fetch(ctx, fetch, func(b pg.Block, p []byte) error {
		if !s.raw(b, p) {
			return nil
		}
		return s.keep(b.RelFork, p)
	})
}

func (s *catalogSide) keep(f pg.RelFork, p []byte) error {
	at, err := s.spool.put(p)
	s.loaded[f] = append(s.loaded[f], at)
	return err
}

// each hands fn the pages of a loaded fork that are to be believed.
func (s *catalogSide) each(f pg.RelFork, fn func(page.Page) error) error {
	for _, at := range s.loaded[f] {
		p, err := s.spool.get(at)
		if err != nil {
			return err
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// home is a database with its default tablespace, where its relation map is.
func (s *catalogSide) home(db pg.OID) (dbKey, bool) {
	i := slices.IndexFunc(s.maps, func(k native.RelMapKey) bool { return k.DB == db && db != 0 })
	if i < 0 {
		return dbKey{}, false
	}
	return dbKey{s.maps[i].Spc, db}, true
}

// mapped is the relation map of a database, {pg.GlobalTablespaceOID, 0} for
// shared relations, from catalog to file; empty if it can't be read.
func (s *catalogSide) mapped(k dbKey) map[pg.OID]pg.RelFork {
	out := make(map[pg.OID]pg.RelFork)
	maps, err := datadir.ParseRelMap(s.relMap(k.spc, k.db))
	if err != nil {
		return out // reported by relMaps
	}
	for _, m := range maps {
		out[m.Catalog] = pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: k.spc, DB: k.db, Rel: m.Rel}}
	}
	return out
}

// live says that a tuple is known to be live: its inserter committed and its
// deleter, if there is one, did not.
func (s *catalogSide) live(t *catalog.Tuple) (bool, error) {
	const firstNormal = 3 // FirstNormalTransactionId: those below always committed
	switch t.Infomask & (xminCommitted | xminInvalid) {
	case xminInvalid:
		return false, nil
	case 0:
		if t.XMin >= firstNormal {
			if end, err := s.state(t.XMin); err != nil || end != compare.XactCommitted {
				return false, err
			}
		}
	}
	switch {
	case t.XMax == 0 || t.Infomask&(xmaxInvalid|xmaxLockOnly) != 0:
		return true, nil
	case t.Infomask&(xmaxIsMulti|xmaxCommitted) != 0:
		return false, nil
	}
	end, err := s.state(t.XMax)
	if err != nil {
		return false, fmt.Errorf("look up transaction %d: %w", t.XMax, err)
	}
	return end == compare.XactAborted || end == compare.XactUnknown, nil
}
