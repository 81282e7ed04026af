package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// dir is a directory as a bucket. Nothing outside of the directory can be
// reached, and no link inside of it is followed; the directory itself may be
// named through a link.
type dir struct {
	root *os.Root
}

var _ Bucket = (*dir)(nil)

// errFile says that a file was named where a directory should be.
var errFile = errors.New("it is a file; name the directory that holds the objects")

func openDir(path string) (*dir, error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; check the path, or make the directory", ErrNotExist)
	case err != nil:
		return nil, fileError(err)
	case !fi.IsDir():
		return nil, errFile
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fileError(err)
	}
	return &dir{root: root}, nil
}

func (d *dir) Caps() Caps { return Caps{CheapStat: true} }

func (d *dir) Close() error { return d.root.Close() }

// enter opens the directory path (slashes, relative, "" for the root) step by
// step, refusing links. The caller closes it.
func (d *dir) enter(path string) (*os.Root, error) {
	at, err := d.root.OpenRoot(".")
	if err != nil || path == "" {
		return at, err
	}
	for seg := range strings.SplitSeq(path, "/") {
		next, err := step(at, seg)
		_ = at.Close() // a directory opened for looking
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func step(at *os.Root, seg string) (*os.Root, error) {
	fi, err := at.Lstat(seg)
	switch {
	case err != nil:
		return nil, err
	case fi.Mode()&fs.ModeSymlink != 0:
		return nil, ErrIrregular
	case !fi.IsDir():
		return nil, syscall.ENOTDIR
	}
	return at.OpenRoot(seg)
}

// split cuts a key into its directory ("" for the root) and its name.
func split(key string) (dir, name string) {
	i := strings.LastIndexByte(key, '/')
	return key[:max(i, 0)], key[i+1:]
}

func (d *dir) Stat(_ context.Context, key string) (Object, error) {
	at, name := split(key)
	r, err := d.enter(at)
	if err != nil {
		return Object{}, fileError(err)
	}
	defer func() { _ = r.Close() }()
	fi, err := lstatRegular(r, name)
	if err != nil {
		return Object{}, fileError(err)
	}
	return fileObject(key, fi), nil
}

// lstatRegular looks a file up. A directory is no object; a link or a device
// is ErrIrregular.
func lstatRegular(r *os.Root, name string) (fs.FileInfo, error) {
	fi, err := r.Lstat(name)
	switch {
	case err != nil:
		return nil, err
	case fi.IsDir():
		return nil, ErrNotExist
	case !fi.Mode().IsRegular():
		return nil, ErrIrregular
	}
	return fi, nil
}

func fileObject(key string, fi fs.FileInfo) Object {
	return Object{Key: key, Size: fi.Size(), ETag: fileETag(fi), ModTime: fi.ModTime(),
		Irregular: !fi.Mode().IsRegular()}
}

func (d *dir) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	at, name := split(key)
	r, err := d.enter(at)
	if err != nil {
		return nil, fileError(err)
	}
	defer func() { _ = r.Close() }()
	f, err := openRegular(r, name)
	if err != nil {
		return nil, fileError(err)
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			_ = f.Close() // nothing was written
			return nil, fileError(err)
		}
	}
	fr := &fileReader{ctx: ctx, f: f, r: f}
	if length >= 0 {
		fr.r = io.LimitReader(f, length)
	}
	return fr, nil
}

// openRegular opens a file for reading and makes sure that it is the one that
// was looked up: os.Root would follow a link put there in between.
func openRegular(r *os.Root, name string) (*os.File, error) {
	want, err := lstatRegular(r, name)
	if err != nil {
		return nil, err
	}
	f, err := r.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	got, err := f.Stat()
	if err == nil && !os.SameFile(want, got) {
		err = errors.New("the file was replaced while it was being opened")
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

// fileReader ends with its context and reports errors without the path, which
// the Store names.
type fileReader struct {
	ctx context.Context
	f   *os.File
	r   io.Reader
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = fileError(err)
	}
	return n, err
}

func (r *fileReader) Close() error { return r.f.Close() }

// fileError maps errors of the file system to those of the package and drops
// the path, which the Store names.
func fileError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		err = le.Err
	}
	switch {
	case errors.Is(err, ErrNotExist), errors.Is(err, ErrIrregular):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return ErrNotExist
	case errors.Is(err, fs.ErrExist):
		return ErrExist
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	}
	return err
}
