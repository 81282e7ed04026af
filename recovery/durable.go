package recovery

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// durable is a file that is made durable in the background when it is closed.
type durable struct {
	f       *os.File
	left    int64
	written int64
	begun   int64 // of written, what the system was asked to begin with
	sync    *syncer
}

// ahead is how many bytes of a file may wait in memory before the system is
// asked to write them: else a large file's first would wait for its last.
const ahead = 8 << 20

func (w *durable) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.left -= int64(n)
	if w.written += int64(n); w.written-w.begun >= ahead {
		// Advice: whether it is on disk the file's Sync says.
		_ = unix.SyncFileRange(int(w.f.Fd()), w.begun, w.written-w.begun, unix.SYNC_FILE_RANGE_WRITE)
		w.begun = w.written
	}
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
