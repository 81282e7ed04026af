package storage

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Temporary files of a Put; a listing does not show them.
const (
	tempPrefix = ".redoubt-put-"
	tempSuffix = ".tmp"
)

func isTemporary(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

// createTemp makes a temporary file. It is locked for as long as it is open,
// which the kernel ends when the process does, so that sweep can tell it from
// one whose writer was killed.
func createTemp(at *os.Root) (f *os.File, name string, err error) {
	for {
		name = tempPrefix + rand.Text() + tempSuffix
		if f, err = at.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return nil, "", err
		}
		// A file system without locks has none to sweep by, either.
		lock := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if _, err = at.Lstat(name); err == nil && !errors.Is(lock, unix.EWOULDBLOCK) {
			return f, name, nil
		}
		_ = f.Close() // it is empty
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		} // else it was taken for a leftover before it was locked
	}
}

// sweep removes temporary files that nobody writes any more. What can't be
// looked at stays: it is no reason not to store anything.
func sweep(at *os.Root) {
	d, err := at.Open(".")
	if err != nil {
		return
	}
	defer func() { _ = d.Close() }() // it was only read
	names, _ := d.Readdirnames(-1)   // as far as it could be read
	for _, name := range names {
		if isTemporary(name) {
			sweepOne(at, name)
		}
	}
}

func sweepOne(at *os.Root, name string) {
	if _, err := lstatRegular(at, name); err != nil {
		return
	}
	f, err := at.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // it was not written to
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = at.Remove(name) // another may have swept it
	}
}
