package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// relationList is what the catalogs of a base that is read block by block name.
type relationList struct {
	forks map[pg.RelFork]bool // of all relations that the WAL may leave alone
	main  map[pg.RelFork]bool // those of them that must be there
	size  map[pg.RelFork]pg.BlockNumber
}

// catalogued are the forks that the base's catalogs name, of every database: of
// these blocks are read that no WAL touches, and their sizes compared. What is
// no relation has been read by then. A row counts if it is known to be live.
func (r *run) catalogued(ctx context.Context) ([]pg.RelFork, error) {
	l := &relationList{forks: make(map[pg.RelFork]bool), main: make(map[pg.RelFork]bool)}
	n := &namer{side: l.side(r), major: r.out.Postgres.Major}
	shared := n.side.mapped(dbKey{pg.GlobalTablespaceOID, 0})[catalog.DatabaseRelation]
	if err := l.load(ctx, r, n.side, shared); err != nil {
		return nil, err
	}
	names, err := n.databaseNames(shared)
	if err != nil {
		return nil, err
	}
	for _, k := range n.side.maps {
		if _, ok := names[k.DB]; !ok {
			continue // {.., 0}, or one that is being made
		}
		d := n.newDatabase(dbKey{k.Spc, k.DB})
		class := d.system[catalog.ClassRelation]
		if err := l.load(ctx, r, n.side, class); err != nil {
			return nil, err
		}
		if err := n.classes(class, func(c *catalog.Class) { l.add(d.storage(c), c) }); err != nil {
			return nil, err
		}
		delete(n.side.loaded, class)
	}
	return l.all(), r.lacking(ctx, l)
}

// side is the base's catalogs; of no fork but those that were loaded a size is known.
func (l *relationList) side(r *run) *catalogSide {
	side := &catalogSide{
		spool: r.spool, snap: r.Base, loaded: make(map[pg.RelFork][]int64), state: r.xacts.base,
		relMap: func(spc, db pg.OID) []byte { return r.index.maps[dbKey{spc, db}] },
		fork: func(f pg.RelFork) (native.Fork, bool) {
			n, ok := l.size[f]
			return native.Fork{RelFork: f, Size: n, BaseBlocks: n}, ok
		},
		page: func(pg.RelFork, pg.BlockNumber, []byte) (native.Page, error) { return native.Page{}, nil },
		raw:  func(_ pg.Block, p page.Page) bool { return p.Check() == nil },
	}
	for k := range r.index.maps {
		side.maps = append(side.maps, native.RelMapKey{Spc: k.spc, DB: k.db})
	}
	return side
}

func (l *relationList) load(ctx context.Context, r *run, side *catalogSide, f pg.RelFork) (err error) {
	if l.size, err = r.Base.(Sparse).Sizes(ctx, []pg.RelFork{f}); err == nil {
		err = side.load(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("list relations of the base: %w", err)
	}
	return nil
}

// add takes a row of pg_class, by relkind and relpersistence (catalog/pg_class.h):
// of an unlogged relation only the init fork is kept.
func (l *relationList) add(at pg.RelFileLocator, c *catalog.Class) {
	if at.Rel == 0 || at.Spc != pg.DefaultTablespaceOID && at.Spc != pg.GlobalTablespaceOID {
		return
	}
	var forks []pg.ForkNumber
	switch c.Kind {
	case 'r', 't', 'm':
		forks = []pg.ForkNumber{pg.MainFork, pg.VMFork}
	case 'i', 'S':
		forks = []pg.ForkNumber{pg.MainFork}
	default:
		return
	}
	switch c.Persistence {
	case 'p':
		l.main[pg.RelFork{RelFileLocator: at}] = true
	case 'u':
		forks = []pg.ForkNumber{pg.InitFork}
	default:
		return
	}
	for _, f := range forks {
		l.forks[pg.RelFork{RelFileLocator: at, Fork: f}] = true
	}
}

func (l *relationList) all() []pg.RelFork {
	return slices.SortedFunc(maps.Keys(l.forks), pg.RelFork.Compare)
}

// lacking notes the relations that the base's catalogs name and the base has not.
func (r *run) lacking(ctx context.Context, l *relationList) error {
	main := slices.SortedFunc(maps.Keys(l.main), pg.RelFork.Compare)
	there, err := r.Base.(Sparse).Sizes(ctx, main)
	if err != nil {
		return fmt.Errorf("list relations of the base: %w", err)
	}
	for _, f := range main {
		if _, ok := there[f]; !ok {
			r.lacks = append(r.lacks, f)
		}
	}
	return nil
}

// addLacking says which relations the base lacks: its own catalogs contradict
// it, so that nothing is known of what they should be.
func (r *run) addLacking(add func(string, ...any)) {
	if n := len(r.lacks); n > 0 {
		add("%s lacks %d relations that its own pg_class names, %s among them", r.Base.Name(), n, r.lacks[0])
	}
}
