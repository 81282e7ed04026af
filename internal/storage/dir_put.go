package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Put writes a temporary file beside the target, syncs it, gives it its name
// (by a link if it must be new, which fails if the name is taken) and syncs
// the directory.
func (d *dir) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	path, name := split(key)
	at, err := d.enterOrMake(path)
	if err != nil {
		return fileError(err)
	}
	defer func() { _ = at.Close() }()
	if opt.Sweep {
		sweep(at)
	}
	f, temp, err := createTemp(at)
	if err != nil {
		return fileError(err)
	}
	defer func() { _ = f.Close() }() // once it has its name: it is locked until then, and was synced
	if err := writeSynced(ctx, f, r); err != nil {
		_ = at.Remove(temp) // the write's error is what counts
		return fileError(err)
	}
	if opt.CreateOnly {
		err = at.Link(temp, name)
		if rm := at.Remove(temp); err == nil {
			err = rm
		}
	} else if err = at.Rename(temp, name); err != nil {
		_ = at.Remove(temp) // the rename's error is what counts
	}
	if err != nil {
		return fileError(err)
	}
	return fileError(syncDir(at))
}

func writeSynced(ctx context.Context, f *os.File, r io.Reader) error {
	// File's own ReadFrom would copy in pieces of 32 KiB.
	_, err := io.CopyBuffer(struct{ io.Writer }{f}, &ctxReader{ctx, r}, make([]byte, 256<<10))
	if err == nil {
		err = f.Sync()
	}
	return err
}

// enterOrMake is enter, making directories that are not there; each new one is
// made durable in its parent.
func (d *dir) enterOrMake(path string) (*os.Root, error) {
	at, err := d.root.OpenRoot(".")
	if err != nil || path == "" {
		return at, err
	}
	for seg := range strings.SplitSeq(path, "/") {
		next, err := step(at, seg)
		if errors.Is(err, fs.ErrNotExist) {
			if next, err = makeDir(at, seg); err != nil {
				_ = at.Close() // the directory could not be made
				return nil, err
			}
		}
		_ = at.Close() // a directory opened for looking
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func makeDir(at *os.Root, seg string) (*os.Root, error) {
	if err := at.Mkdir(seg, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := syncDir(at); err != nil {
		return nil, err
	}
	return step(at, seg)
}

func syncDir(at *os.Root) error {
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	err = f.Sync()
	if cl := f.Close(); err == nil {
		err = cl
	}
	return err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
