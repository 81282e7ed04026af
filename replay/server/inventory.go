package server

import (
	"errors"
	"io/fs"
	"path"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Inventory lists what a server left.
type Inventory struct {
	Forks map[pg.RelFork]pg.BlockNumber // blocks; free space maps and temporary relations excluded
	SLRUs map[pg.SLRUPage]bool
	Maps  map[MapKey][]byte // relation map files
}

// MapKey names a relation map file; {pg.GlobalTablespaceOID, 0} is the global one.
type MapKey struct{ Spc, DB pg.OID }

// Inventory reads directories, not pages.
func (r *Result) Inventory() (*Inventory, error) {
	if r.Failed != nil {
		return nil, r.Failed
	}
	inv := &Inventory{Forks: make(map[pg.RelFork]pg.BlockNumber), SLRUs: make(map[pg.SLRUPage]bool), Maps: make(map[MapKey][]byte)}
	return inv, r.eachFile(func(name string, e fs.DirEntry) error {
		switch c := datadir.Classify(name); c.Class {
		case datadir.Relation:
			st, err := e.Info()
			if err == nil && wanted(c.Rel) {
				inv.relation(c.Rel, st.Size())
			}
			return err
		case datadir.SLRUSegment:
			st, err := e.Info()
			for i := int64(0); err == nil && i < st.Size()/pg.BlockSize; i++ {
				inv.SLRUs[pg.SLRUPage{SLRU: c.SLRU, Page: c.First + uint32(i)}] = true
			}
			return err
		case datadir.RelationMap:
			content, err := r.dir.root.ReadFile(path.Join(dataDir, name))
			inv.Maps[MapKey{c.Spc, c.DB}] = content
			return err
		}
		return nil
	})
}

// relation adds one file to its fork.
func (inv *Inventory) relation(f datadir.RelFile, size int64) {
	end := pg.BlockNumber(int64(f.Segment)*pg.BlocksPerFile + size/pg.BlockSize)
	if f.Segment > 0 && size == 0 {
		end = 0 // what a truncation leaves of a long relation's later files
	}
	inv.Forks[f.RelFork] = max(inv.Forks[f.RelFork], end)
}

// eachFile calls fn with the files of the data directory that hold relations,
// maps and SLRUs. The links in pg_tblspc are ours and lead to a directory
// beside it; os.Root lets none lead out.
func (r *Result) eachFile(fn func(name string, e fs.DirEntry) error) error {
	dirs := []string{"global", "base", "pg_tblspc"}
	for s := range pg.SLRU(pg.NumSLRUs) {
		dirs = append(dirs, s.String())
	}
	for _, d := range dirs {
		if err := r.eachBelow(d, fn); err != nil {
			return err
		}
	}
	return nil
}

func (r *Result) eachBelow(dir string, fn func(string, fs.DirEntry) error) error {
	d, err := r.dir.root.Open(path.Join(dataDir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() || dir == "pg_tblspc" {
			err = r.eachBelow(name, fn)
		} else {
			err = fn(name, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
