package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"redoubt/internal/pg/datadir"
)

// Limits of what is held in memory whole.
const (
	maxSmall    = 1 << 20 // of a small file of a data directory
	maxManifest = 1 << 30 // of backup_manifest: some 6 million files
	maxTwoPhase = 1 << 28 // of the state of a prepared transaction
)

// Snapshot is one data directory or base backup. Its methods must not be
// called concurrently.
type Snapshot struct {
	name     string // for errors: the location without credentials
	form     Form
	src      source
	manifest *datadir.Manifest // read beside the files; nil: none, or it is broken
	broken   []Problem         // what is wrong with the manifest itself
	marked   bool              // Redoubt made it: it has a manifest, which is its own
	info     Info
	raw      []byte // pg_control of a directory, as first read
	problems []Problem
}

// Open opens a data directory, a base backup in plain or tar format, or one
// tar, at a location. Of a directory it reads what Info says; of a tar it
// reads nothing yet.
func Open(ctx context.Context, loc string, o Options) (*Snapshot, error) {
	t, name, err := openLocation(ctx, loc)
	if err != nil {
		return nil, err
	}
	s, err := openTree(ctx, t, name, redacted(loc), &o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open backup %s: %w", redacted(loc), err), t.close())
	}
	return s, nil
}

// openTree opens what is in t: the tar called name or, where that is empty,
// the directory t itself. The snapshot closes t.
func openTree(ctx context.Context, t tree, name, shown string, o *Options) (*Snapshot, error) {
	s := &Snapshot{name: shown}
	if name != "" {
		src, err := singleTar(t, name, o)
		if err != nil {
			return nil, err
		}
		s.form, s.src, s.info = Tar, src, Info{Form: Tar}
		return s, nil
	}
	entries, err := t.list(ctx, "")
	if err != nil {
		return nil, err
	}
	if o.Manifest == nil && isUnfinished(entries) {
		return nil, ErrUnfinished
	}
	s.marked = isMarked(entries)
	tars, err := tarDirectory(t, entries, o)
	if err != nil {
		return nil, err
	}
	if o.Manifest != nil {
		s.setManifest(o.Manifest)
	} else if err := s.readManifest(ctx, t); err != nil {
		return nil, err
	}
	switch {
	case tars != nil && isDataDirectory(entries):
		return nil, errors.New("it holds both a data directory and a base.tar: keep them in directories of their own")
	case tars != nil:
		s.form, s.src, s.info = TarDirectory, tars, Info{Form: TarDirectory}
		return s, nil
	case looksLike(entries):
		return s, s.openDirectory(ctx, t)
	}
	return nil, errors.New("it is neither a data directory nor a base backup: there is no PG_VERSION, no base.tar and no tar of another name")
}

// isDataDirectory says whether a directory is surely meant to be one.
func isDataDirectory(entries []entry) bool {
	for _, e := range entries {
		if e.name == "global" && e.kind == folder || e.name == datadir.VersionPath && e.kind == file {
			return true
		}
	}
	return false
}

// looksLike says whether a directory is, or is the rest of, a data directory.
func looksLike(entries []entry) bool {
	for _, e := range entries {
		switch e.name {
		case datadir.VersionPath, "global", "base", datadir.LabelPath, datadir.ManifestPath:
			return true
		}
	}
	return false
}

// openDirectory reads the small files that say how to read the others.
func (s *Snapshot) openDirectory(ctx context.Context, t tree) error {
	g, err := s.peekDirectory(ctx, t)
	if err != nil {
		return err
	}
	info, err := g.info(Directory)
	if err != nil {
		return err
	}
	if s.manifest != nil && !info.owns(s.manifest) {
		s.manifest = nil
	}
	s.form, s.info, s.raw = Directory, info, g.raw
	s.src = &dirSource{t: t, version: datadir.VersionDir(info.Major, info.CatalogVersion), all: s.manifest != nil}
	return nil
}

func (s *Snapshot) peekDirectory(ctx context.Context, t tree) (*gather, error) {
	g := newGather()
	g.manifest = s.manifest
	for _, path := range []string{datadir.VersionPath, datadir.ControlPath, datadir.LabelPath, datadir.TablespaceMapPath} {
		content, err := readFile(ctx, t, path, maxSmall)
		optional := path == datadir.LabelPath || path == datadir.TablespaceMapPath
		if errors.Is(err, fs.ErrNotExist) && optional {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := g.content(path, content); err != nil {
			return nil, err
		}
	}
	spaces, err := t.list(ctx, tablespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range spaces {
		g.path(&member{path: join(tablespaces, e.name), kind: e.kind})
	}
	return g, nil
}

// readManifest reads backup_manifest, if it is there. One that is damaged is
// a problem, not an error.
func (s *Snapshot) readManifest(ctx context.Context, t tree) error {
	content, err := readFile(ctx, t, datadir.ManifestPath, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.setManifest(content)
	return nil
}

func (s *Snapshot) setManifest(content []byte) {
	m, err := datadir.ParseManifest(content)
	s.manifest, s.broken = m, nil
	if err != nil {
		s.broken = []Problem{{datadir.ManifestPath, "can't be used, so no file was checked against it: " + err.Error()}}
	}
}

// Info is what is known so far. See Info for what that is in which form.
func (s *Snapshot) Info() Info { return s.info }

// Problems lists where files differ from backup_manifest, sorted by path. It
// is complete after Walk, and empty where there is no manifest.
func (s *Snapshot) Problems() []Problem { return s.problems }

// Manifest reports whether the files are checked against a backup_manifest.
// After Walk it is final: a manifest that is not this backup's is passed over.
func (s *Snapshot) Manifest() bool { return s.manifest != nil }

// Close lets go of the location.
func (s *Snapshot) Close() error { return s.src.close() }

// fail names the snapshot in an error.
func (s *Snapshot) fail(err error) error { return fmt.Errorf("read backup %s: %w", s.name, err) }

// unchanged checks that a directory's pg_control is still what it was: a
// server that was started meanwhile has changed pages under our hands.
func (s *Snapshot) unchanged(ctx context.Context) error {
	d, ok := s.src.(*dirSource)
	if !ok {
		return nil
	}
	now, err := readFile(ctx, d.t, datadir.ControlPath, maxSmall)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, s.raw) {
		return errors.New("its pg_control changed while it was read: a server runs on it; stop the server, or take a base backup")
	}
	return nil
}

// readFile reads a whole file of at most limit bytes.
func readFile(ctx context.Context, t tree, name string, limit int64) ([]byte, error) {
	rc, err := t.open(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rc.Close() }() // only read from
	return readSmall(rc, name, limit)
}

func readSmall(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes, as no such file is", name, limit)
	}
	return b, nil
}
