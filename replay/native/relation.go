package native

import (
	"redoubt/internal/pg"
)

// relation is one generation of a relation fork: dropping a relation and
// creating another with the same number makes a new generation, so that
// records under way to workers for the old one need no barrier.
//
// SLRUs are relations too: tablespace 0, database 0, relfilenode 1 + SLRU.
type relation struct {
	fork pg.RelFork
	// blocks of the overlay, by worker; only worker i touches blocks[i].
	blocks []blockTable
	// size in blocks, as the router sees it: all records up to the current one.
	size pg.BlockNumber
	// baseBlocks is how many leading blocks are still the base's where the
	// overlay has none; blocks beyond it, below size, are zero pages.
	baseBlocks pg.BlockNumber
	created    bool // by the span's WAL
}

func slruFork(s pg.SLRU) pg.RelFork {
	return pg.RelFork{RelFileLocator: pg.RelFileLocator{Rel: pg.OID(s) + 1}}
}

// slruOf is the inverse of slruFork.
func slruOf(f pg.RelFork) (pg.SLRU, bool) {
	if f.Spc != 0 || f.DB != 0 || f.Rel < 1 || f.Rel > pg.NumSLRUs {
		return 0, false
	}
	return pg.SLRU(f.Rel - 1), true
}

// owner is the worker of a block.
func (e *Engine) owner(f pg.RelFork, b pg.BlockNumber) int {
	if e.workers == 1 {
		return 0
	}
	h := uint64(f.Rel)*0x9E3779B97F4A7C15 ^ uint64(f.Fork)<<56 ^ uint64(f.DB)<<32
	h = (h ^ uint64(b)) * 0xD6E8FEB86659FD93
	h ^= h >> 32
	return int(h % uint64(e.workers))
}

func (e *Engine) newRelation(f pg.RelFork) *relation {
	return &relation{fork: f, blocks: make([]blockTable, e.workers)}
}

// relation finds the current generation of a fork, making one if there is none.
func (e *Engine) relation(f pg.RelFork) *relation {
	c := e.recentRels.slot(f)
	if c.v != nil && c.fork == f {
		return c.v
	}
	r := e.rels[f]
	if r == nil {
		r = e.newRelation(f)
		r.created = true
		e.rels[f] = r
		delete(e.dropped, f.RelFileLocator)
	}
	c.fork, c.v = f, r
	return r
}

// recent is a small cache of a map by relation: what a record touches, a
// record not long before it most often touched, too.
type recent[T any] [16]struct {
	fork pg.RelFork
	v    *T // nil: empty
}

func (c *recent[T]) slot(f pg.RelFork) *struct {
	fork pg.RelFork
	v    *T
} {
	return &c[(uint32(f.Rel)+uint32(f.Fork)*5)%16]
}

// get finds worker w's block, nil if the overlay has none.
func (r *relation) get(w int, b pg.BlockNumber) *block { return r.blocks[w].get(b) }

// make finds worker w's block or adds an empty one.
func (r *relation) make(w int, b pg.BlockNumber) *block { return r.blocks[w].make(b) }

// each calls fn for every block of the overlay, in no order.
func (r *relation) each(fn func(pg.BlockNumber, *block)) {
	for w := range r.blocks {
		r.blocks[w].each(fn)
	}
}
