package walcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// spool is the directory of segments that were fetched ahead.
func (p *Place) spool() string { return filepath.Join(p.below(), "ahead") }

// Waiting for a segment that is being fetched ahead right now.
const (
	spoolPoll = 20 * time.Millisecond
	spoolWait = 30 * time.Second
)

// fromSpool hands a segment out that was fetched ahead, checked once more. If
// it is just being fetched it is waited for. Whatever goes wrong with the
// spool, the segment is then fetched from the store.
func (p *Place) fromSpool(ctx context.Context, name, dest string) (bool, error) {
	path := filepath.Join(p.spool(), name)
	for until := time.Now().Add(spoolWait); time.Now().Before(until); {
		if ok := p.handOut(path, name, dest); ok {
			return true, nil
		}
		if _, err := os.Stat(path + tempEnd); err != nil || !p.busy() {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(spoolPoll):
		}
	}
	return false, nil
}

func (p *Place) handOut(path, name, dest string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	if err := p.check(name, name, f); err != nil {
		p.Log.Warn("a segment that was fetched ahead is not used", "segment", name, "error", err)
		_ = os.Remove(path) // else it is found again
		return false
	}
	if err := move(path, dest); err != nil {
		p.Log.Warn("a segment that was fetched ahead is not used", "segment", name, "error", err)
		return false
	}
	return true
}

func (p *Place) lockFile() string { return filepath.Join(p.spool(), ".lock") }

// busy reports whether somebody fetches ahead.
func (p *Place) busy() bool {
	f, err := os.OpenFile(p.lockFile(), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // gives the lock back
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// Wanted reports whether fetching ahead after this file is worth a start: it
// is a segment, fewer than half of the n after it are there, and nobody is at
// it.
func (p *Place) Wanted(name string, n int) bool {
	if walfile.KindOf(name) != wal.SegmentFile || n < 1 || p.State == "" {
		return false
	}
	there, _ := filepath.Glob(filepath.Join(p.spool(), "????????????????????????")) // the pattern is valid
	return len(there) <= n/2 && !p.busy()
}

// Ahead fetches the n segments after the named one into the spool, and removes
// from it what is not among them. It does nothing if another process is at it,
// and stops at the first segment that is not there.
func (p *Place) Ahead(ctx context.Context, name string, n int) error {
	if walfile.KindOf(name) != wal.SegmentFile {
		return fmt.Errorf("fetch ahead of %q: it is no segment", name)
	}
	if err := os.MkdirAll(p.spool(), 0o700); err != nil {
		return fmt.Errorf("fetch ahead: %w", err)
	}
	lock, err := os.OpenFile(p.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("fetch ahead: %w", err)
	}
	defer func() { _ = lock.Close() }() // gives the lock back
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // another one is at it
	}
	id, known, err := p.identity(ctx)
	if err != nil || !known {
		return err
	}
	next, err := following(name, n, id.SegmentSize)
	if err != nil {
		return err
	}
	p.sweep(next)
	return p.fetchAll(ctx, next)
}

// parallel is how many segments are fetched ahead at once.
const parallel = 3

func (p *Place) fetchAll(ctx context.Context, names []string) error {
	var (
		g   errgroup.Group // its context would end the others, which may be whole yet
		end atomic.Bool    // a segment is not there: those after it are not, either
	)
	g.SetLimit(parallel)
	for _, name := range names {
		if end.Load() {
			break
		}
		path := filepath.Join(p.spool(), name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		g.Go(func() (err error) {
			defer func() {
				if r := recover(); r != nil {
					err = fmt.Errorf("fetch %s ahead: panic: %v", name, r)
				}
			}()
			err = p.fetch(ctx, name, path)
			if errors.Is(err, ErrAbsent) {
				end.Store(true)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// following names the n segments after one.
func following(name string, n int, size int64) ([]string, error) {
	tli, at, err := pg.ParseSegmentName(name, size)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range pg.SegmentNo(n) {
		names = append(names, pg.SegmentName(tli, at+i+1, size))
	}
	return names, nil
}

// sweep removes from the spool what is not among names.
func (p *Place) sweep(names []string) {
	entries, _ := os.ReadDir(p.spool()) // what can't be listed can't be removed
	for _, e := range entries {
		if n := strings.TrimSuffix(e.Name(), tempEnd); walfile.KindOf(n) == wal.SegmentFile && !slices.Contains(names, e.Name()) {
			_ = os.Remove(filepath.Join(p.spool(), e.Name())) // tried again the next time
		}
	}
}
