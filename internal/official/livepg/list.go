package livepg

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// entry is a file as a listing has it.
type entry struct {
	name string
	size int64
	dir  bool
}

// list lists a directory; one that is not there is empty, and files that vanish meanwhile are left out.
func (s *Server) list(ctx context.Context, dir string) (out []entry, err error) {
	const sql = `SELECT f, t.size, t.isdir FROM pg_ls_dir($1, true, false) f, pg_stat_file($1 || '/' || f, true) t WHERE t.size IS NOT NULL`
	err = s.again(ctx, func() error {
		out = nil
		_, err := s.rows(ctx, "list "+dir, sql, []any{dir}, func(r pgx.Rows) error {
			var e entry
			if err := r.Scan(&e.name, &e.size, &e.dir); err != nil {
				return err
			}
			out = append(out, e)
			return nil
		})
		return err
	})
	return out, err
}

// directories are those that hold relations.
func (s *Server) directories(ctx context.Context) ([]string, error) {
	out := []string{"global"}
	places := []string{"base"}
	spaces, err := s.list(ctx, "pg_tblspc")
	if err != nil {
		return nil, err
	}
	version := datadir.VersionDir(s.info.Major, s.info.CatalogVersion)
	for _, spc := range spaces {
		places = append(places, "pg_tblspc/"+spc.name+"/"+version)
	}
	for _, p := range places {
		dbs, err := s.list(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, db := range dbs {
			if db.dir {
				out = append(out, p+"/"+db.name)
			}
		}
	}
	return out, nil
}

// folder is what a directory holds.
type folder struct {
	rels  []datadir.RelFile // sorted
	sizes map[string]int64  // by path, as listed
	files []string          // small ones that are read whole
}

// unread reports whether the contents of a fork need not be read: free space
// maps, temporary relations, and what an unlogged relation has besides its init fork.
func (f *folder) unread(r datadir.RelFile, unlogged map[pg.RelFileLocator]bool) bool {
	return r.Temp || r.Fork == pg.FSMFork || r.Fork != pg.InitFork && unlogged[r.RelFileLocator]
}

func (s *Server) folder(ctx context.Context, dir string) (*folder, map[pg.RelFileLocator]bool, error) {
	entries, err := s.list(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	f, unlogged := &folder{sizes: make(map[string]int64)}, make(map[pg.RelFileLocator]bool)
	for _, e := range entries {
		path := dir + "/" + e.name
		c := datadir.Classify(path)
		switch {
		case e.dir:
		case c.Class == datadir.Relation:
			f.rels = append(f.rels, c.Rel)
			f.sizes[path] = e.size
			if c.Rel.Fork == pg.InitFork {
				unlogged[c.Rel.RelFileLocator] = true
			}
		case c.Class == datadir.RelationMap, c.Class == datadir.SLRUSegment, c.Class == datadir.TwoPhaseFile:
			f.files = append(f.files, path)
		}
	}
	slices.SortFunc(f.rels, func(a, b datadir.RelFile) int {
		return cmp.Or(a.RelFork.Compare(b.RelFork), cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Path, b.Path))
	})
	slices.Sort(f.files)
	return f, unlogged, nil
}
