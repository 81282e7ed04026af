package native

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"redoubt/internal/pg"
)

// scratchExtent is how much space is reserved at a time, bytes.
const scratchExtent = 16 << 20

// scratch is one worker's file of evicted pages. It has no name in the
// directory, so that a killed process leaves nothing behind; its space is
// reserved before it is used, so that a full disk is an error and not a crash.
type scratch struct {
	dir     string
	minFree int64
	f       *os.File
	size    int64 // reserved bytes
	next    int64 // next slot never used
	free    []int64
}

// put writes a page and returns its slot.
func (s *scratch) put(p []byte) (int64, error) {
	slot, err := s.slot()
	if err != nil {
		return 0, err
	}
	if _, err := s.f.WriteAt(p, slot*pg.BlockSize); err != nil {
		return 0, fmt.Errorf("write scratch file in %s: %w", s.dir, err)
	}
	return slot, nil
}

// get reads the page of a slot; the slot stays taken.
func (s *scratch) get(slot int64, p []byte) error {
	if _, err := s.f.ReadAt(p, slot*pg.BlockSize); err != nil {
		return fmt.Errorf("read scratch file in %s: %w", s.dir, err)
	}
	return nil
}

func (s *scratch) release(slot int64) { s.free = append(s.free, slot) }

func (s *scratch) slot() (int64, error) {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot, nil
	}
	if s.f == nil {
		f, err := os.CreateTemp(s.dir, "redoubt-scratch-*")
		if err != nil {
			return 0, fmt.Errorf("create scratch file: %w; name a writable directory with --scratch", err)
		}
		if err := os.Remove(f.Name()); err != nil {
			return 0, errors.Join(fmt.Errorf("unlink scratch file: %w", err), f.Close())
		}
		s.f = f
	}
	if (s.next+1)*pg.BlockSize > s.size {
		if err := s.reserve(); err != nil {
			return 0, err
		}
	}
	s.next++
	return s.next - 1, nil
}

func (s *scratch) reserve() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(s.f.Fd()), &st); err != nil {
		return fmt.Errorf("ask for free space in scratch directory %s: %w", s.dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free-scratchExtent < s.minFree {
		return fmt.Errorf("scratch directory %s is full: %d bytes free, %d are to stay free; give more --memory, or another --scratch: %w",
			s.dir, free, s.minFree, unix.ENOSPC)
	}
	err := allocate(s.f, s.size, scratchExtent)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = s.f.Truncate(s.size + scratchExtent)
	}
	if err != nil {
		return fmt.Errorf("reserve %d bytes in scratch directory %s: %w; give more --memory, or another --scratch", scratchExtent, s.dir, err)
	}
	s.size += scratchExtent
	return nil
}

// allocate is fallocate(2), again while signals interrupt it: on tmpfs the
// runtime's own signals do.
func allocate(f *os.File, from, size int64) error {
	for {
		if err := unix.Fallocate(int(f.Fd()), 0, from, size); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *scratch) close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}
