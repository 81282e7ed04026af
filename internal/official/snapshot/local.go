package snapshot

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// localTree is a local directory. Links are not followed, except
// pg_tblspc/NAME, which PostgreSQL makes for tablespaces: what is behind each
// of them is a root of its own.
type localTree struct {
	root   *os.Root
	spaces map[string]*os.Root // by name below pg_tblspc
}

func openLocal(dir string) (*localTree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &localTree{root: root, spaces: map[string]*os.Root{}}, nil
}

func (t *localTree) close() error {
	err := t.root.Close()
	for _, r := range t.spaces {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

func (t *localTree) sub(dir string) (tree, error) {
	root, err := t.root.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &localTree{root: root, spaces: map[string]*os.Root{}}, nil
}

// place finds the root that holds name: that of a tablespace, or the tree's own.
func (t *localTree) place(name string) (*os.Root, string, error) {
	rest, ok := strings.CutPrefix(name, tablespaces+"/")
	if !ok {
		return t.root, name, nil
	}
	space, below, _ := strings.Cut(rest, "/")
	root, err := t.space(space)
	if root == nil || err != nil {
		return t.root, name, err
	}
	return root, below, nil
}

const tablespaces = "pg_tblspc"

// space is the root behind the link of a tablespace, nil if it is no link.
func (t *localTree) space(name string) (*os.Root, error) {
	if r := t.spaces[name]; r != nil {
		return r, nil
	}
	at := join(tablespaces, name)
	st, err := t.root.Lstat(at)
	if err != nil || st.Mode()&fs.ModeSymlink == 0 {
		return nil, err
	}
	target, err := t.root.Readlink(at)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(t.root.Name(), tablespaces, target)
	}
	r, err := os.OpenRoot(target)
	if err != nil {
		return nil, fmt.Errorf("follow the link %s of a tablespace: %w; put the tablespace there, or turn the link to where it is", at, err)
	}
	t.spaces[name] = r
	return r, nil
}

func (t *localTree) list(ctx context.Context, dir string) ([]entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, below, err := t.place(dir)
	if err != nil {
		return nil, err
	}
	d, err := root.Open(path.Clean("./" + below)) // "." for the root
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	names, err := d.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	out := make([]entry, 0, len(names))
	for _, n := range names {
		e, err := t.entry(dir, n)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (t *localTree) entry(dir string, d fs.DirEntry) (entry, error) {
	e := entry{name: d.Name(), kind: other}
	switch {
	case d.IsDir():
		e.kind = folder
	case d.Type()&fs.ModeSymlink != 0:
		e.kind = link
		if dir == tablespaces {
			if _, err := t.space(d.Name()); err != nil {
				return e, err
			}
			e.kind = folder
		}
	case d.Type().IsRegular():
		info, err := d.Info()
		if err != nil {
			return e, err
		}
		e.kind, e.size = file, info.Size()
	}
	return e, nil
}

func (t *localTree) open(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, below, err := t.place(name)
	if err != nil {
		return nil, err
	}
	st, err := root.Lstat(below)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: it is no regular file; links are followed only below %s", name, tablespaces)
	}
	f, err := root.Open(below)
	if err != nil {
		return nil, err
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			_ = f.Close() // the seek is what failed
			return nil, err
		}
	}
	return f, nil
}
