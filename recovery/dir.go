package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"redoubt/internal/fsync"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Directory is where a recovery goes.
type Directory struct {
	Path string
	// Tablespaces says where tablespaces go: each to an empty directory, with a
	// link in pg_tblspc. All others are directories within pg_tblspc.
	Tablespaces map[pg.OID]string
	// Job, if set, says for what the directory is made, besides from what: an
	// unfinished target of another job is none of this one's.
	Job string
	// Add, if set, says what else goes into the directory before it is finished: files by name.
	Add func(*Report) (map[string][]byte, error)
	// Open opens the directory of a durable point. Without it there are none.
	Open func(ctx context.Context, path string) (Kept, error)
}

// ToDirectory recovers into a directory, which must be empty, not there yet,
// or an unfinished target of the same recovery: that goes on from its last
// durable point, and begins anew if there is none. Nothing but a finished target has a
// pg_control; it gets it when all else is on disk.
func ToDirectory(ctx context.Context, cfg Config, dir Directory) (_ *Report, err error) {
	d, err := openDirectory(dir, requestOf(&cfg, dir), cfg.Note)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if d.report != nil {
		return d.report, d.forget()
	}
	rep, err := d.recover(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if dir.Add != nil {
		files, err := dir.Add(rep)
		if err != nil {
			return nil, err
		}
		for name, content := range files {
			if err := d.writeDurably(name, content); err != nil {
				return nil, err
			}
		}
	}
	for oid := range dir.Tablespaces {
		if !slices.Contains(rep.Tablespaces, oid) {
			return nil, inputErrorf("a directory is given for tablespace %d, which is not there at %s; there are %v", oid, rep.Redo, rep.Tablespaces)
		}
	}
	return rep, d.finish(rep)
}

// directory is a sink that makes a data directory, all of it durable before
// its pg_control is there.
type directory struct {
	path    string
	root    *os.Root
	spaces  map[pg.OID]*os.Root // mapped tablespaces
	mapping map[pg.OID]string
	owner   *syscall.Stat_t // whom files are given to, nil: nobody else
	marker  *os.File        // locked
	request request
	resumed bool    // it was there, unfinished
	report  *Report // it was there, finished but for its marker
	dirs    []place // made, to be made durable
	sync    *syncer
	open    func(ctx context.Context, path string) (Kept, error)
	left    *point // the durable point that was there
	notes   func(string)
}

func (d *directory) tell(format string, args ...any) {
	if d.notes != nil {
		d.notes(fmt.Sprintf(format, args...))
	}
}

// place is a name below one of the roots.
type place struct {
	root *os.Root
	name string
}

// newControl is what pg_control is called until all else is on disk.
const newControl = datadir.ControlPath + ".redoubt"

var _ Sink = (*directory)(nil)

// openDirectory makes the directory, or takes an unfinished one, and locks it.
func openDirectory(dir Directory, want request, notes func(string)) (_ *directory, err error) {
	abs, err := filepath.Abs(dir.Path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", dir.Path, err)
	}
	d := &directory{path: abs, mapping: dir.Tablespaces, spaces: make(map[pg.OID]*os.Root), sync: newSyncer(), open: dir.Open, notes: notes}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.root, err = os.OpenRoot(abs); err != nil {
		return nil, err
	}
	if err := d.adopt(); err != nil {
		return nil, err
	}
	if err := d.take(want); err != nil || d.report != nil {
		return d, err
	}
	return d, d.clear()
}

// adopt notes to whom the directory belongs: where we are root, it is that
// user who will run the server.
func (d *directory) adopt() error {
	st, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 && sys.Uid != 0 {
		d.owner = sys
	}
	return nil
}

func (d *directory) own(root *os.Root, name string) error {
	if d.owner == nil {
		return nil
	}
	return root.Lchown(name, int(d.owner.Uid), int(d.owner.Gid))
}

// clear throws away what a killed recovery left but for its durable point, and
// looks at the directories of tablespaces.
func (d *directory) clear() error {
	if err := d.root.Chmod(".", 0o700); err != nil {
		return err
	}
	var err error
	if d.left, err = d.readPoint(); err != nil {
		return err
	}
	keep := map[string]bool{markerFile: true}
	if d.left != nil {
		keep[pointFile], keep[d.left.Dir] = true, true
	}
	if err := removeAll(d.root, func(name string) bool { return !keep[name] }); err != nil {
		return err
	}
	d.dirs = append(d.dirs, place{d.root, "."})
	for oid, to := range d.mapping {
		if err := d.space(oid, to); err != nil {
			return fmt.Errorf("use %s for tablespace %d: %w", to, oid, err)
		}
	}
	return nil
}

// space opens the directory of a mapped tablespace.
func (d *directory) space(oid pg.OID, to string) error {
	if !filepath.IsAbs(to) {
		return inputErrorf("it is no absolute path")
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	d.spaces[oid] = root
	if err := d.own(root, "."); err != nil {
		return err
	}
	// What a recovery that was killed has put there is named so; it found the
	// directory empty, or it would have ended here.
	if d.resumed {
		err := removeAll(root, func(name string) bool { _, _, ok := datadir.ParseVersionDir(name); return ok })
		if err != nil {
			return err
		}
	}
	left, err := names(root)
	if err == nil && len(left) > 0 {
		err = inputErrorf("it is not empty")
	}
	d.dirs = append(d.dirs, place{root, "."})
	return err
}

// names lists a directory.
func names(root *os.Root) ([]string, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	return f.Readdirnames(-1)
}

// removeAll removes what is in a directory and goes.
func removeAll(root *os.Root, goes func(name string) bool) error {
	all, err := names(root)
	if err != nil {
		return err
	}
	for _, name := range all {
		if goes(name) {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// find is where a path lies: in the directory, or in that of a tablespace.
func (d *directory) find(name string) (place, error) {
	rest, ok := strings.CutPrefix(name, "pg_tblspc/")
	if !ok {
		return place{d.root, name}, nil
	}
	oid, below, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(oid, 10, 32)
	if err != nil {
		return place{}, fmt.Errorf("%s names no tablespace", name)
	}
	root := d.spaces[pg.OID(n)]
	switch {
	case root == nil:
		return place{d.root, name}, nil
	case below == "":
		return place{d.root, name}, d.link(pg.OID(n), name)
	}
	return place{root, below}, nil
}

// link makes the link that leads to a mapped tablespace.
func (d *directory) link(oid pg.OID, name string) error {
	if err := d.root.Symlink(d.mapping[oid], name); err != nil {
		return err
	}
	return d.own(d.root, name)
}

// Directory makes a directory.
func (d *directory) Directory(name string) error {
	p, err := d.find(name)
	if err != nil {
		return err
	}
	if p.root == d.root && path.Dir(name) == "pg_tblspc" {
		if st, err := d.root.Lstat(name); err == nil && st.Mode()&os.ModeSymlink != 0 {
			return nil // link made it
		}
	}
	if err := p.root.Mkdir(p.name, 0o700); err != nil {
		return err
	}
	d.dirs = append(d.dirs, p)
	return d.own(p.root, p.name)
}

// File makes a file. It is durable after finish, not after Close.
func (d *directory) File(name string, size int64) (io.WriteCloser, error) {
	if name == datadir.ControlPath {
		name = newControl
	}
	p, err := d.find(name)
	if err != nil {
		return nil, err
	}
	f, err := p.root.OpenFile(p.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := d.own(p.root, p.name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &durable{f: f, left: size, sync: d.sync}, d.sync.err()
}

// finish makes all of it durable, then valid, then forgets that it was in the making.
func (d *directory) finish(rep *Report) error {
	if err := d.settle(); err != nil {
		return err
	}
	if err := d.keepReport(rep); err != nil {
		return err
	}
	if err := d.root.Rename(newControl, datadir.ControlPath); err != nil {
		return err
	}
	if err := fsync.DirIn(d.root, path.Dir(datadir.ControlPath)); err != nil {
		return err
	}
	return d.forget()
}

// settle waits until all files are on disk, under their names.
func (d *directory) settle() error {
	if err := d.sync.wait(); err != nil {
		return err
	}
	for _, p := range d.dirs {
		if err := fsync.DirIn(p.root, p.name); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the durable points and the marker.
func (d *directory) forget() error {
	if err := d.forgetPoints(); err != nil {
		return err
	}
	if err := d.root.Remove(markerFile); err != nil {
		return err
	}
	if err := d.root.Remove(reportFile); err != nil {
		return err
	}
	return fsync.DirIn(d.root, ".")
}

func (d *directory) close() error {
	errs := []error{d.sync.wait()}
	for _, r := range d.spaces {
		errs = append(errs, r.Close())
	}
	if d.root != nil {
		errs = append(errs, d.root.Close())
	}
	if d.marker != nil {
		errs = append(errs, d.marker.Close())
	}
	return errors.Join(errs...)
}
