package audit

import "redoubt/internal/pg"

// blocks remembers the states of the blocks seen last, in two generations:
// what is used moves to the young one, and when that is half of all, the old
// one is forgotten.
type blocks struct {
	half       int
	young, old generation
}

type generation struct {
	forks map[pg.RelFork]map[pg.BlockNumber]*Block
	n     int
}

func (g *generation) get(b pg.Block) *Block { return g.forks[b.RelFork][b.Number] }

func (g *generation) put(b pg.Block, s *Block) {
	m := g.forks[b.RelFork]
	if m == nil {
		if g.forks == nil {
			g.forks = make(map[pg.RelFork]map[pg.BlockNumber]*Block)
		}
		m = make(map[pg.BlockNumber]*Block)
		g.forks[b.RelFork] = m
	}
	m[b.Number] = s
	g.n++
}

func (g *generation) remove(b pg.Block) {
	m := g.forks[b.RelFork]
	if _, ok := m[b.Number]; !ok {
		return
	}
	delete(m, b.Number)
	g.n--
	if len(m) == 0 {
		delete(g.forks, b.RelFork)
	}
}

func (g *generation) cut(f pg.RelFork, from pg.BlockNumber) {
	m := g.forks[f]
	if from == 0 {
		g.n -= len(m)
		delete(g.forks, f)
		return
	}
	for n := range m {
		if n >= from {
			g.remove(pg.Block{RelFork: f, Number: n})
		}
	}
}

// get returns what is known of a block, nil if nothing is.
func (t *blocks) get(b pg.Block) *Block {
	if s := t.young.get(b); s != nil {
		return s
	}
	s := t.old.get(b)
	if s != nil {
		t.old.remove(b)
		t.young.put(b, s)
	}
	return s
}

// age keeps the bound and returns how many blocks were forgotten.
func (t *blocks) age() int64 {
	if t.young.n < t.half {
		return 0
	}
	n := t.old.n
	t.old, t.young = t.young, generation{}
	return int64(n)
}

func (t *blocks) forget(b pg.Block) {
	t.young.remove(b)
	t.old.remove(b)
}

// cut forgets the blocks of a fork from a number on.
func (t *blocks) cut(f pg.RelFork, from pg.BlockNumber) {
	t.young.cut(f, from)
	t.old.cut(f, from)
}

// dropRelation forgets all forks.
func (t *blocks) dropRelation(rel pg.RelFileLocator) {
	for f := pg.MainFork; f <= pg.MaxFork; f++ {
		t.cut(pg.RelFork{RelFileLocator: rel, Fork: f}, 0)
	}
}

// dropDatabase forgets a database, in all tablespaces if spc is 0.
func (t *blocks) dropDatabase(spc, db pg.OID) {
	for _, g := range []*generation{&t.young, &t.old} {
		for f := range g.forks {
			if f.DB == db && (spc == 0 || f.Spc == spc) {
				g.cut(f, 0)
			}
		}
	}
}

func (t *blocks) clear() { t.young, t.old = generation{}, generation{} }
