package pgtest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// copyTree copies a directory with modes and symbolic links. skip, if not nil,
// is asked with paths relative to from; a skipped directory is left out with
// what is in it. Files that vanish meanwhile are left out: a running server
// drops relations while it is copied.
func copyTree(from, to string, skip func(rel string, d fs.DirEntry) bool) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p != from {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if rel != "." && skip != nil && skip(rel, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		err = copyEntry(p, filepath.Join(to, rel), d)
		if errors.Is(err, fs.ErrNotExist) && p != from {
			return nil
		}
		return err
	})
}

func copyEntry(from, to string, d fs.DirEntry) error {
	switch {
	case d.IsDir():
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Mkdir(to, info.Mode().Perm()|0o700)
	case d.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case d.Type().IsRegular():
		return copyFile(from, to)
	}
	return nil // sockets and the like
}

// copyFile copies one file with its mode; the destination must not exist.
// Holes stay holes: a relation of gigabytes may be one.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, st.Mode().Perm())
	if err != nil {
		return err
	}
	err = copyData(out, in, st.Size())
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// Whences of lseek(2) on Linux.
const (
	seekData = 3
	seekHole = 4
)

// copyData copies what is no hole of the first size bytes. A file that grows
// meanwhile is copied up to its end.
func copyData(out, in *os.File, size int64) error {
	const worth = 1 << 20 // of looking for holes
	at := int64(0)
	for size >= worth && at < size {
		data, err := in.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return out.Truncate(size) // nothing but a hole behind
		}
		if err != nil {
			break // a file system without holes
		}
		hole, err := in.Seek(data, seekHole)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	if _, err := in.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if _, err := out.Seek(at, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(out, in)
	return err
}
