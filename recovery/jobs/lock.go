package jobs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// errLocked says that another process works on a timeline.
var errLocked = errors.New("another process works on it")

// lock keeps others from a timeline: of this process, other processes on the
// machine, and other ledgers that have the same directory.
type lock struct{ file *os.File }

// take locks the file at path, which it makes. A file that was removed by its
// holder meanwhile is no lock.
func take(path string) (*lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make directory for recoveries: %w", err)
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock timeline: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = errLocked
			}
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		own, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(own, there) {
			return &lock{f}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func (l *lock) release() { _ = l.file.Close() } // the kernel lets go of it

// remove takes the file away before others may lock it.
func (l *lock) remove() {
	_ = os.Remove(l.file.Name()) // an empty file that stays does no harm
	l.release()
}
