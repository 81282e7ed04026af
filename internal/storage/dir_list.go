package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
)

// listBatch is how many names of one directory are held to sort them; twice as
// many while collecting. A larger directory is read several times, each time
// for its next smallest names.
const listBatch = 128 << 10

func (d *dir) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		at, start := split(prefix)
		if at != "" && ValidateKey(at) != nil {
			return // no file can have such a path
		}
		w := &dirWalk{ctx: ctx, opt: opt, yield: yield, batch: listBatch}
		r, err := d.enter(at)
		if err == nil {
			if at != "" {
				at += "/"
			}
			_, err = w.walk(r, at, start)
			_ = r.Close() // a directory opened for looking
		}
		if err = fileError(err); err != nil && !errors.Is(err, ErrNotExist) && !errors.Is(err, ErrIrregular) {
			yield(Object{}, err)
		}
	}
}

type dirWalk struct {
	ctx   context.Context
	opt   ListOptions
	yield func(Object, error) bool
	batch int
}

// walk yields what is in r, whose keys start with at, and has a name that
// starts with prefix, in byte order of whole keys. It returns false when the
// consumer had enough.
func (w *dirWalk) walk(r *os.Root, at, prefix string) (bool, error) {
	for after := ""; ; {
		names, more, err := w.next(r, prefix, after)
		if err != nil {
			return true, err
		}
		for _, name := range names {
			if on, err := w.visit(r, at, name); err != nil || !on {
				return on, err
			}
		}
		if !more {
			return true, nil
		}
		after = names[len(names)-1]
	}
}

// visit yields one entry; name ends with a slash if it is a directory.
func (w *dirWalk) visit(r *os.Root, at, name string) (bool, error) {
	sub, isDir := strings.CutSuffix(name, "/")
	if isDir && w.opt.Dirs {
		return w.yield(Object{Key: at + name, Dir: true}, nil), nil
	}
	if isDir {
		next, err := step(r, sub)
		if err != nil {
			return true, gone(err)
		}
		defer func() { _ = next.Close() }()
		return w.walk(next, at+name, "")
	}
	fi, err := r.Lstat(name)
	if err != nil {
		return true, gone(err)
	}
	return w.yield(fileObject(at+name, fi), nil), nil
}

// gone forgives what vanished between being listed and being looked at.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrIrregular) {
		return nil
	}
	return err
}

// next collects the smallest names after the given one, sorted, and says
// whether there are more.
func (w *dirWalk) next(r *os.Root, prefix, after string) (names []string, more bool, err error) {
	f, err := r.Open(".")
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	for {
		if err := w.ctx.Err(); err != nil {
			return nil, false, err
		}
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			name := e.Name()
			if e.IsDir() {
				name += "/"
			}
			if name > after && strings.HasPrefix(name, prefix) && !isTemporary(name) {
				names = append(names, name)
			}
		}
		if len(names) >= 2*w.batch {
			slices.Sort(names)
			names, more = names[:w.batch], true
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	slices.Sort(names)
	return names, more, nil
}
