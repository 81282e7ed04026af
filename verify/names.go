package verify

import (
	"context"
	"slices"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/page"
)

// name fills in the names of the relations of discrepancies and lost writes. They are what
// the catalogs of the replayed side say; of a relation that the replayed side
// does not have, those of the official side, or else the base's. A name is
// given only if a row that is known to be live says it, on a page that is not
// known to be damaged. A name missing is no error: only the context's is.
func (r *run) name(ctx context.Context, found []finding.Discrepancy) error {
	replayed, elsewhere := make(targets), make(targets)
	rels := make([]*finding.Relation, 0, len(found)+len(r.out.LostWrites))
	for i := range found {
		if found[i].Relation != nil {
			rels = append(rels, found[i].Relation)
		}
	}
	for i := range r.out.LostWrites {
		rels = append(rels, &r.out.LostWrites[i].Relation)
	}
	for _, rel := range rels {
		at := pg.RelFileLocator{Spc: rel.Tablespace, DB: rel.Database, Rel: rel.RelFileNode}
		if _, ok := r.ra.Fork(pg.RelFork{RelFileLocator: at, Fork: rel.Fork}); ok {
			replayed[at] = append(replayed[at], rel)
		} else {
			elsewhere[at] = append(elsewhere[at], rel)
		}
	}
	for _, side := range []struct {
		of   targets
		from func() *catalogSide
	}{{replayed, r.replayedCatalogs}, {elsewhere, r.officialCatalogs}, {elsewhere, r.baseCatalogs}} {
		if len(side.of) == 0 {
			continue
		}
		n := &namer{side: side.from(), major: r.out.Postgres.Major}
		if err := n.name(ctx, side.of); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return nil //nolint:nilerr // what cannot be read again gives no names
		}
		for at, rels := range side.of {
			if rels[0].Name != "" {
				delete(side.of, at)
			}
		}
	}
	return nil
}

// targets are relations that want a name, and where it goes.
type targets map[pg.RelFileLocator][]*finding.Relation

// namer reads names from one side's catalogs.
type namer struct {
	side  *catalogSide
	major int
}

// database is what is to be known of one database.
type database struct {
	home    dbKey
	files   map[pg.RelFileLocator]bool // targets
	oids    map[pg.OID]bool            // of mapped targets
	mapped  map[pg.OID]pg.RelFileLocator
	system  map[pg.OID]pg.RelFork // catalogs by OID
	rows    map[pg.RelFileLocator]*catalog.Class
	others  map[pg.OID]*catalog.Class // tables of indexes
	owners  map[pg.OID]*catalog.Class // tables of TOAST tables, by the TOAST table
	wanted  map[pg.OID]bool           // OIDs whose rows go to others and owners
	tableOf map[pg.OID]pg.OID         // of indexes
	schemas map[pg.OID]string
}

// name looks the targets up, database by database; files that are likely to
// be needed are read in one go for all of them.
func (n *namer) name(ctx context.Context, want targets) error {
	dbs := n.databases(want)
	files := []pg.RelFork{n.side.mapped(dbKey{pg.GlobalTablespaceOID, 0})[catalog.DatabaseRelation]}
	for _, d := range dbs {
		files = append(files, d.system[catalog.ClassRelation])
		for _, oid := range []pg.OID{catalog.IndexRelation, catalog.NamespaceRelation} {
			files = append(files, pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: d.home.spc, DB: d.home.db, Rel: oid}})
		}
	}
	if err := n.side.load(ctx, files...); err != nil {
		return err
	}
	names, err := n.databaseNames(files[0])
	if err != nil {
		return err
	}
	for _, d := range dbs {
		if err := n.read(ctx, d); err != nil {
			return err
		}
		for at := range d.files {
			for _, rel := range want[at] {
				d.fill(rel, at)
				rel.DatabaseName = names[at.DB]
			}
		}
	}
	return nil
}

// databases groups the targets by the database whose catalogs know them;
// shared relations are known to every one.
func (n *namer) databases(want targets) []*database {
	byHome := make(map[dbKey]*database)
	for at := range want {
		db := at.DB
		if at.Spc == pg.GlobalTablespaceOID {
			db = n.any(want)
		}
		home, ok := n.side.home(db)
		if !ok {
			continue
		}
		if byHome[home] == nil {
			byHome[home] = n.newDatabase(home)
		}
		byHome[home].files[at] = true
	}
	var out []*database
	for _, d := range byHome {
		for oid, at := range d.mapped {
			if d.files[at] {
				d.oids[oid] = true
			}
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *database) int { return int(a.home.db) - int(b.home.db) })
	return out
}

// any is a database to ask for shared relations: one that is asked anyway, if possible.
func (n *namer) any(want targets) pg.OID {
	best := pg.OID(0)
	for _, k := range n.side.maps {
		if k.DB != 0 && (best == 0 || k.DB < best) {
			best = k.DB
		}
	}
	asked := pg.OID(0)
	for at := range want {
		if _, ok := n.side.home(at.DB); ok && (asked == 0 || at.DB < asked) {
			asked = at.DB
		}
	}
	if asked != 0 {
		return asked
	}
	return best
}

func (n *namer) newDatabase(home dbKey) *database {
	d := &database{
		home: home, files: make(map[pg.RelFileLocator]bool), oids: make(map[pg.OID]bool),
		mapped: make(map[pg.OID]pg.RelFileLocator), system: n.side.mapped(home),
		rows: make(map[pg.RelFileLocator]*catalog.Class), others: make(map[pg.OID]*catalog.Class),
		owners: make(map[pg.OID]*catalog.Class), tableOf: make(map[pg.OID]pg.OID), wanted: make(map[pg.OID]bool), schemas: make(map[pg.OID]string),
	}
	for _, maps := range []map[pg.OID]pg.RelFork{d.system, n.side.mapped(dbKey{pg.GlobalTablespaceOID, 0})} {
		for oid, f := range maps {
			d.mapped[oid] = f.RelFileLocator
		}
	}
	return d
}

// read learns all that is to be known of a database.
func (n *namer) read(ctx context.Context, d *database) error {
	class := d.system[catalog.ClassRelation]
	if err := n.classes(class, func(c *catalog.Class) { d.first(c) }); err != nil {
		return err
	}
	if err := n.side.load(ctx, d.system[catalog.IndexRelation], d.system[catalog.NamespaceRelation]); err != nil {
		return err
	}
	if err := n.indexes(d); err != nil {
		return err
	}
	if err := n.classes(class, func(c *catalog.Class) { d.second(c) }); err != nil {
		return err
	}
	return n.namespaces(d)
}

// rowsOf hands fn the rows of a page list that are known to be live.
func rowsOf[T any](s *catalogSide, f pg.RelFork, list func(page.Page) []T, tuple func(*T) *catalog.Tuple, fn func(*T)) error {
	return s.each(f, func(p page.Page) error {
		rows := list(p)
		for i := range rows {
			live, err := s.live(tuple(&rows[i]))
			if err != nil {
				return err
			}
			if live {
				fn(&rows[i])
			}
		}
		return nil
	})
}

func (n *namer) classes(f pg.RelFork, fn func(*catalog.Class)) error {
	list := func(p page.Page) []catalog.Class { return catalog.Classes(p, n.major) }
	return rowsOf(n.side, f, list, func(c *catalog.Class) *catalog.Tuple { return &c.Tuple }, fn)
}

// first takes rows of targets, and where the catalogs are that are looked up.
func (d *database) first(c *catalog.Class) {
	at := d.storage(c)
	switch c.OID {
	case catalog.IndexRelation, catalog.NamespaceRelation, catalog.SequenceRelation:
		d.system[c.OID] = pg.RelFork{RelFileLocator: at}
	}
	if !d.files[at] && !d.oids[c.OID] || at.Rel == 0 {
		return
	}
	put(d.rows, at, c)
}

// storage is where a relation is.
func (d *database) storage(c *catalog.Class) pg.RelFileLocator {
	if c.RelFileNode == 0 {
		return d.mapped[c.OID]
	}
	at := pg.RelFileLocator{Spc: d.home.spc, DB: d.home.db, Rel: c.RelFileNode}
	if c.Tablespace != 0 {
		at.Spc = c.Tablespace
	}
	return at
}

// put remembers a row; where two say different things, neither is believed.
func put[K comparable](m map[K]*catalog.Class, k K, c *catalog.Class) {
	had, seen := m[k]
	switch {
	case !seen:
		kept := *c
		kept.Tuple = catalog.Tuple{} // its bytes are the page's
		m[k] = &kept
	case had != nil && (had.OID != c.OID || had.Name != c.Name || had.Namespace != c.Namespace):
		m[k] = nil
	}
}

// second takes the rows of tables that indexes and TOAST tables belong to.
func (d *database) second(c *catalog.Class) {
	if d.wanted[c.OID] {
		put(d.others, c.OID, c)
	}
	if c.Toast != 0 && d.wanted[c.Toast] {
		put(d.owners, c.Toast, c)
	}
}

// indexes learns which tables the targets that are indexes belong to.
func (n *namer) indexes(d *database) error {
	index := make(map[pg.OID]bool)
	for _, c := range d.rows {
		if c != nil {
			index[c.OID] = c.Kind == 'i'
			d.wanted[c.OID] = c.Kind == 't'
		}
	}
	tuple := func(x *catalog.Index) *catalog.Tuple { return &x.Tuple }
	return rowsOf(n.side, d.system[catalog.IndexRelation], catalog.Indexes, tuple, func(x *catalog.Index) {
		if index[x.OID] {
			d.tableOf[x.OID] = x.Table
			d.wanted[x.Table] = true
		}
	})
}

// namespaces learns the names of the schemas that the rows are in.
func (n *namer) namespaces(d *database) error {
	wanted := make(map[pg.OID]bool)
	want := func(c *catalog.Class) {
		if c != nil {
			wanted[c.Namespace] = true
		}
	}
	for _, c := range d.rows {
		want(c)
	}
	for _, m := range []map[pg.OID]*catalog.Class{d.others, d.owners} {
		for _, c := range m {
			want(c)
		}
	}
	tuple := func(x *catalog.Namespace) *catalog.Tuple { return &x.Tuple }
	return rowsOf(n.side, d.system[catalog.NamespaceRelation], catalog.Namespaces, tuple, func(x *catalog.Namespace) {
		if wanted[x.OID] {
			d.schemas[x.OID] = x.Name
		}
	})
}

// databaseNames reads pg_database.
func (n *namer) databaseNames(f pg.RelFork) (map[pg.OID]string, error) {
	out := make(map[pg.OID]string)
	list := func(p page.Page) []catalog.Database { return catalog.Databases(p, n.major) }
	tuple := func(x *catalog.Database) *catalog.Tuple { return &x.Tuple }
	err := rowsOf(n.side, f, list, tuple, func(x *catalog.Database) { out[x.OID] = x.Name })
	return out, err
}

// fill writes down what was learned of one target.
func (d *database) fill(rel *finding.Relation, at pg.RelFileLocator) {
	c := d.rows[at]
	if c == nil {
		return
	}
	rel.Name = d.full(c)
	table := c.OID
	if of, ok := d.tableOf[c.OID]; ok {
		rel.IndexOf = d.full(d.others[of])
		table = of
	}
	rel.ToastOf = d.full(d.owners[table])
}

// full is "schema.relation", empty if one of the two is not known.
func (d *database) full(c *catalog.Class) string {
	if c == nil || c.Name == "" || d.schemas[c.Namespace] == "" {
		return ""
	}
	return d.schemas[c.Namespace] + "." + c.Name
}
