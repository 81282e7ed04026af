package recovery

import (
	"fmt"
	"os"
	"sync"
)

// durable is a file that is made durable in the background when it is closed.
type durable struct {
	f    *os.File
	left int64
	sync *syncer
}

func (w *durable) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.left -= int64(n)
	return n, err
}

func (w *durable) Close() error {
	w.sync.add(w.f)
	if w.left != 0 {
		return fmt.Errorf("write %s: it was to get %d bytes more", w.f.Name(), w.left)
	}
	return w.sync.err()
}

// syncers is how many files are made durable at a time: a journalling file
// system does many of them in one go.
const syncers = 8

// syncer makes files durable and closes them.
type syncer struct {
	files chan *os.File
	end   sync.Once
	group sync.WaitGroup
	mu    sync.Mutex
	first error
}

func newSyncer() *syncer {
	s := &syncer{files: make(chan *os.File, syncers)}
	for range syncers {
		s.group.Go(func() {
			for f := range s.files {
				s.note(f.Sync())
				s.note(f.Close())
			}
		})
	}
	return s
}

// add takes a file over.
func (s *syncer) add(f *os.File) { s.files <- f }

func (s *syncer) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = err
	}
}

// err is the first failure so far.
func (s *syncer) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// wait ends it and waits until all files are durable. Nothing may be added then.
func (s *syncer) wait() error {
	s.end.Do(func() { close(s.files) })
	s.group.Wait()
	return s.err()
}
