package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"redoubt/walbackup/names"
)

// Kinds of sources.
const (
	Auto     = "auto"     // segments or postgres, whichever the directory is
	Segments = "segments" // segments lie in it
	Tree     = "tree"     // TENANT/TIMELINE/ below it, segments in each
	Postgres = "postgres" // a data directory of PostgreSQL, or the pg_wal in it
)

// Source is a directory as configured.
type Source struct {
	Path string
	Kind string
	ID   names.ID // not of a Tree
	// ConfigFile is PostgreSQL's configuration file if it is neither in the
	// data directory nor named by postmaster.opts.
	ConfigFile string
}

// Dir is where the WAL of one timeline lies.
type Dir struct {
	ID   names.ID
	Path string // of the segments
	// DataDir is PostgreSQL's data directory if the WAL is PostgreSQL's own.
	DataDir    string
	configFile string
}

// Owned reports whether the WAL is PostgreSQL's own: then nothing in it may
// be removed, only .ready be turned into .done.
func (d *Dir) Owned() bool { return d.DataDir != "" }

func (d *Dir) status() string { return filepath.Join(d.Path, "archive_status") }

// ErrOwned says that a directory belongs to PostgreSQL.
var ErrOwned = errors.New("it is a directory of PostgreSQL's own")

// CheckFree refuses a directory that PostgreSQL owns: one with archive_status
// in it, with ../global/pg_control beside it, or a data directory itself.
func CheckFree(path string) error {
	for _, sign := range []string{"archive_status", "../global/pg_control", "global/pg_control"} {
		_, err := os.Lstat(filepath.Join(path, sign))
		switch {
		case err == nil:
			return fmt.Errorf("%w: %s holds %s", ErrOwned, path, sign)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotDir):
			return fmt.Errorf("look whether %s belongs to PostgreSQL: %w", path, err)
		}
	}
	// The path may be a link to a pg_wal elsewhere, or beside a data directory.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("look whether %s belongs to PostgreSQL: %w", path, err)
	}
	if real != filepath.Clean(path) {
		return CheckFree(real)
	}
	return nil
}

// resolve finds out what a source is, and for Postgres its data directory,
// which may be named by the pg_wal in it.
func (s *Source) resolve() (kind, dataDir string, err error) {
	if s.Kind == Tree {
		return Tree, "", nil
	}
	if s.Kind != Segments {
		for _, dir := range []string{s.Path, filepath.Dir(s.Path)} {
			_, err := os.Stat(filepath.Join(dir, "global", "pg_control"))
			if err == nil && (dir == s.Path || filepath.Base(s.Path) == "pg_wal") {
				return Postgres, dir, nil
			}
		}
	}
	if s.Kind == Postgres {
		return "", "", fmt.Errorf("%s is no data directory of PostgreSQL, nor the pg_wal in one: there is no global/pg_control", s.Path)
	}
	err = CheckFree(s.Path)
	if errors.Is(err, ErrOwned) {
		err = fmt.Errorf("%w; name the data directory, with kind postgres, so that nothing in it is removed", err)
	}
	return Segments, "", err
}

// Find lists the timelines of a source. A source that is not there, or is not
// what it should be, is an error; in a tree, a timeline that PostgreSQL owns
// is handed to odd and left out.
func (s *Source) Find(odd func(error)) ([]Dir, error) {
	if fi, err := os.Stat(s.Path); err != nil {
		return nil, fmt.Errorf("read WAL directory: %w", err)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("read WAL directory: %s is a file", s.Path)
	}
	kind, data, err := s.resolve()
	if err != nil {
		return nil, err
	}
	switch kind {
	case Tree:
		return s.tree(odd)
	case Postgres:
		return []Dir{{ID: s.ID, Path: filepath.Join(data, "pg_wal"), DataDir: data, configFile: s.ConfigFile}}, nil
	}
	return []Dir{{ID: s.ID, Path: s.Path}}, nil
}

func (s *Source) tree(odd func(error)) ([]Dir, error) {
	var out []Dir
	tenants, err := subdirs(s.Path)
	if err != nil {
		return nil, fmt.Errorf("read WAL directory: %w", err)
	}
	for _, tenant := range tenants {
		timelines, err := subdirs(filepath.Join(s.Path, tenant))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it vanished just now
		}
		if err != nil {
			odd(fmt.Errorf("read WAL directory: %w", err))
			continue
		}
		for _, timeline := range timelines {
			d := Dir{ID: names.ID{Tenant: tenant, Timeline: timeline}, Path: filepath.Join(s.Path, tenant, timeline)}
			if d.ID.Valid() != nil {
				continue // a directory of another purpose
			}
			if err := CheckFree(d.Path); err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					odd(err)
				}
				continue
			}
			out = append(out, d)
		}
	}
	return out, nil
}

// subdirs are the names of the directories in one, links left out.
func subdirs(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
