package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names within a scratch directory.
const (
	prefix     = "redoubt-server-"
	lockFile   = "lock"   // locked as long as whoever made the directory lives
	dataDir    = "data"   // the server's data directory
	spacesDir  = "tblspc" // what the links in its pg_tblspc lead to
	socketsDir = "s"
)

// scratch is the directory of one server: all that it reads and writes. Files
// in it are opened below root, so that no link leads out.
type scratch struct {
	path    string
	root    *os.Root
	lock    *os.File
	acct    account
	minFree int64
	limit   int64 // bytes, 0: none
	written int64 // bytes that were put in before the server started
	checked int64 // of them, when free space was last looked at
}

// newScratch makes a directory that only the account may enter, and removes
// those that killed processes left beside it.
func newScratch(cfg Config, acct account) (_ *scratch, err error) {
	parent, err := filepath.Abs(cfg.Scratch)
	if err != nil {
		return nil, err
	}
	sweep(parent)
	if err := acct.mayEnter(parent); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, fmt.Errorf("make a directory for the server: %w; name a writable one with --scratch", err)
	}
	s := &scratch{path: dir, acct: acct, minFree: cfg.MinFree, limit: cfg.Disk}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.lock, err = lock(filepath.Join(dir, lockFile)); err != nil {
		return nil, err
	}
	if s.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	for _, d := range []string{dataDir, spacesDir, socketsDir} {
		if err := s.root.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	return s, s.room(0)
}

// lock makes a file that is locked from when it has its name on; the lock goes
// with the process.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// sweep removes directories whose makers are gone. What cannot be removed is
// left for somebody who can.
func sweep(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue // not ours, or not locked yet
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}

// close removes the directory.
func (s *scratch) close() error {
	var errs []error
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	errs = append(errs, os.RemoveAll(s.path))
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// mkdirs makes a directory of the data directory with its parents.
func (s *scratch) mkdirs(name string) error { return s.root.MkdirAll(name, 0o700) }

// create opens a file that is not there yet.
func (s *scratch) create(name string) (*os.File, error) {
	if err := s.mkdirs(path.Dir(name)); err != nil {
		return nil, err
	}
	return s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// put writes a small file, which may be there already.
func (s *scratch) put(name string, content []byte) error {
	if err := s.mkdirs(path.Dir(name)); err != nil {
		return err
	}
	if err := s.room(int64(len(content))); err != nil {
		return err
	}
	return s.root.WriteFile(name, content, 0o600)
}

// freeEvery is how many bytes are written between two looks at the free space.
const freeEvery = 16 << 20

// room counts n bytes that are about to be written and says if they are too many.
func (s *scratch) room(n int64) error {
	s.written += n
	if s.limit > 0 && s.written > s.limit {
		return s.diskLimit()
	}
	if s.written-s.checked < freeEvery && n > 0 {
		return nil
	}
	s.checked = s.written
	return s.floor()
}

func (s *scratch) diskLimit() error {
	return &LimitError{What: "disk", Limit: bytesText(s.limit), Detail: "the server's directory needs more; raise it (configuration key server.disk)"}
}

// floor says if free space is below what is to stay free.
func (s *scratch) floor() error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.path, &st); err != nil {
		return fmt.Errorf("ask for free space in %s: %w", s.path, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < s.minFree {
		return &LimitError{What: "disk", Limit: bytesText(s.minFree) + " stay free", Detail: fmt.Sprintf(
			"%s of %s are free; make room, or name another --scratch: a server needs space for all of the base and the WAL", bytesText(free), filepath.Dir(s.path))}
	}
	return nil
}

// used adds up what the directory takes. Files that vanish meanwhile are none.
func (s *scratch) used() int64 {
	var sum int64
	_ = filepath.WalkDir(s.path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // it has vanished
		}
		if st, err := d.Info(); err == nil {
			sum += st.Size()
		}
		return nil
	})
	return sum
}

// handOver gives everything to the account.
func (s *scratch) handOver() error {
	if !s.acct.become {
		return nil
	}
	return filepath.WalkDir(s.path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if filepath.Base(p) == lockFile && filepath.Dir(p) == s.path {
			return nil
		}
		return os.Lchown(p, int(s.acct.uid), int(s.acct.gid))
	})
}

func bytesText(n int64) string {
	for _, u := range []struct {
		name  string
		shift uint
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n >= 1<<u.shift {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(int64(1)<<u.shift), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
