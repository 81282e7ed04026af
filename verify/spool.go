package verify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"redoubt/internal/pg"
)

// spool keeps the pages of blocks that differ in an unlinked scratch file, so
// that a wholly different cluster costs disk and not memory.
type spool struct {
	dir string
	mu  sync.Mutex
	f   *os.File
	n   int64
}

// put stores a page and returns its place; nil is stored as such.
func (s *spool) put(p []byte) (int64, error) {
	if p == nil {
		return -1, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		f, err := os.CreateTemp(s.dir, "redoubt-pages-*")
		if err != nil {
			return 0, fmt.Errorf("create scratch file: %w; name a writable directory with --scratch", err)
		}
		if err := os.Remove(f.Name()); err != nil {
			return 0, errors.Join(fmt.Errorf("unlink scratch file: %w", err), f.Close())
		}
		s.f, s.dir = f, filepath.Dir(f.Name())
	}
	if _, err := s.f.WriteAt(p, s.n*pg.BlockSize); err != nil {
		return 0, fmt.Errorf("write scratch file in %s: %w; make room there, or name another --scratch", s.dir, err)
	}
	s.n++
	return s.n - 1, nil
}

// get reads the page of a place, nil for -1.
func (s *spool) get(at int64) ([]byte, error) {
	if at < 0 {
		return nil, nil
	}
	p := make([]byte, pg.BlockSize)
	if _, err := s.f.ReadAt(p, at*pg.BlockSize); err != nil {
		return nil, fmt.Errorf("read scratch file in %s: %w", s.dir, err)
	}
	return p, nil
}

// byteAt reads one byte of the page of a place.
func (s *spool) byteAt(at, offset int64) (byte, error) {
	var b [1]byte
	if _, err := s.f.ReadAt(b[:], at*pg.BlockSize+offset); err != nil {
		return 0, fmt.Errorf("read scratch file in %s: %w", s.dir, err)
	}
	return b[0], nil
}

func (s *spool) close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}
