package server

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often free space is looked at while a server runs.
const watchEvery = 200 * time.Millisecond

// diskWatch looks at the space that a running server takes.
type diskWatch struct {
	full chan error
	quit chan struct{}
	done sync.WaitGroup
}

func newDiskWatch(dir *scratch) *diskWatch {
	w := &diskWatch{full: make(chan error, 1), quit: make(chan struct{})}
	w.done.Go(func() { w.run(dir) })
	return w
}

// run adds up the directory as often as that takes less than a tenth of the time.
func (w *diskWatch) run(dir *scratch) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-w.quit:
			return
		case now := <-tick.C:
			err := dir.floor()
			if err == nil && now.After(next) {
				err = dir.within()
				next = time.Now().Add(10 * time.Since(now))
			}
			if err != nil {
				w.full <- err
				return
			}
		}
	}
}

// within says whether the directory keeps its limit. It is asked at a
// server's end, too: one that is quick is never seen while it runs.
func (s *scratch) within() error {
	if s.limit > 0 && s.used() > s.limit {
		return s.diskLimit()
	}
	return nil
}

func (w *diskWatch) stop() {
	close(w.quit)
	w.done.Wait()
}

// diskFull makes the limit of a full disk out of its error.
func diskFull(dir *scratch, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &LimitError{What: "disk", Limit: "the disk", Detail: fmt.Sprintf("%v; make room in %s, or name another --scratch", err, dir.path)}
	}
	return err
}
