package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/walbackup/names"
)

// What a notification is about.
const (
	Appeared = iota + 1 // a timeline: its directory, and what is complete in it, can be asked for
	Complete            // a file
	Vanished            // the directory of a timeline is gone
)

// Notification tells of one change on the disk.
type Notification struct {
	What  int
	Dir   Dir
	File  File     // Complete
	Range pg.Range // of a complete segment
}

// Options configure Storage.
type Options struct {
	Rescan time.Duration // how often each directory is read without being asked to
	Quiet  time.Duration // how long notifications are collected before a directory is read
	Poll   bool          // without notifications of the kernel
	Log    *slog.Logger
}

// Storage is all WAL on this machine.
type Storage struct {
	sources []Source
	opt     Options

	mu    sync.Mutex
	lines map[names.ID]*timeline
	subs  map[int]func(Notification)
	next  int
	wake  chan struct{}
	dirty map[string]bool // paths to read again
	bad   map[names.ID]error
}

type timeline struct {
	reader reader
	inv    Inventory
	err    error // of the last reading
	told   map[string]bool
}

// New makes the storage of these sources. Each must be there and be what it is
// said to be; one in which another archiver is at work is refused.
func New(sources []Source, opt Options) (*Storage, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Storage{sources: sources, opt: opt, lines: make(map[names.ID]*timeline),
		subs: make(map[int]func(Notification)), wake: make(chan struct{}, 1), dirty: make(map[string]bool)}
	taken := make(map[names.ID]string)
	for i := range sources {
		dirs, err := sources[i].Find(func(err error) { opt.Log.Warn("a directory is left out", "error", err) })
		if err != nil {
			return nil, err
		}
		for _, d := range dirs {
			if other, ok := taken[d.ID]; ok {
				return nil, fmt.Errorf("the WAL of %s is in %s and in %s: give each directory a tenant or timeline of its own", d.ID, other, d.Path)
			}
			taken[d.ID] = d.Path
			if err := d.CheckArchiver(); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// Subscribe calls f with every notification from now on, from one goroutine;
// f must not block, nor call Storage.
func (s *Storage) Subscribe(f func(Notification)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.next
	s.next++
	s.subs[n] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, n)
	}
}

// Timelines are those whose directories are there.
func (s *Storage) Timelines() []Dir {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Dir
	for _, t := range s.lines {
		out = append(out, t.reader.dir)
	}
	slices.SortFunc(out, func(a, b Dir) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return out
}

// Dir is where a timeline's WAL lies; false if its directory is not there.
func (s *Storage) Dir(id names.ID) (Dir, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.lines[id]
	if !ok {
		return Dir{}, false
	}
	return t.reader.dir, true
}

// Problems are why directories that are configured for a timeline can't be
// used just now.
func (s *Storage) Problems() map[names.ID]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad
}

// Inventory is what was found in a timeline's directory when it was read last,
// and why reading it failed if it did. ErrNotExist if there is no directory.
func (s *Storage) Inventory(id names.ID) (Inventory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.lines[id]
	if !ok {
		return Inventory{}, fmt.Errorf("the WAL directory of %s: %w", id, fs.ErrNotExist)
	}
	return t.inv, t.err
}

// Wake has a directory read again soon.
func (s *Storage) Wake(path string) {
	s.mu.Lock()
	s.dirty[path] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends.
func (s *Storage) Run(ctx context.Context) error {
	watcher := s.notify()
	if watcher != nil {
		defer func() { _ = watcher.Close() }()
		go s.listen(watcher)
	}
	timer := time.NewTicker(s.opt.Rescan)
	defer timer.Stop()
	s.Scan(watcher)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			s.Scan(watcher)
		case <-s.wake:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(s.opt.Quiet):
			}
			s.some(watcher)
		}
	}
}

func (s *Storage) notify() *fsnotify.Watcher {
	if s.opt.Poll {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		s.opt.Log.Warn("no notifications from the kernel: directories are only read from time to time", "every", s.opt.Rescan, "error", err)
		return nil
	}
	return w
}

func (s *Storage) listen(w *fsnotify.Watcher) {
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if e.Has(fsnotify.Chmod) || e.Has(fsnotify.Write) {
				continue // nothing is complete by being written
			}
			s.Wake(filepath.Dir(e.Name))
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			s.opt.Log.Warn("notifications from the kernel were lost: all directories are read", "error", err)
			s.Wake("")
		}
	}
}

// some reads what was touched: a timeline's directory, or all if it is none.
func (s *Storage) some(w *fsnotify.Watcher) {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = make(map[string]bool)
	var read []*timeline
	for _, t := range s.lines {
		for _, p := range []string{t.reader.dir.Path, t.reader.dir.status()} {
			if dirty[p] {
				read = append(read, t)
			}
			delete(dirty, p)
		}
	}
	s.mu.Unlock()
	if len(dirty) > 0 {
		s.Scan(w)
		return
	}
	for _, t := range read {
		s.read(t)
	}
}

// Scan looks for timelines and reads all their directories. The watcher may be nil.
func (s *Storage) Scan(w *fsnotify.Watcher) {
	there, bad := make(map[names.ID]bool), make(map[names.ID]error)
	for i := range s.sources {
		src := &s.sources[i]
		dirs, err := src.Find(func(err error) { s.opt.Log.Warn("a directory is left out", "error", err) })
		if err != nil {
			s.opt.Log.Error("a WAL directory can't be used", "path", src.Path, "error", err)
			if src.Kind != Tree {
				bad[src.ID] = err
			}
		}
		if src.Kind == Tree {
			s.watch(w, src.Path)
		}
		for _, d := range dirs {
			if there[d.ID] {
				s.opt.Log.Error("two directories have the WAL of one timeline: the second is left out", "timeline", d.ID.String(), "path", d.Path)
				continue
			}
			there[d.ID] = true
			s.watch(w, d.Path)
			if src.Kind == Tree {
				s.watch(w, filepath.Dir(d.Path))
			}
			if d.Owned() {
				s.watch(w, d.status())
			}
			s.takeUp(d)
		}
	}
	s.mu.Lock()
	s.bad = bad
	all := make([]*timeline, 0, len(s.lines))
	for id, t := range s.lines {
		if there[id] {
			all = append(all, t)
			continue
		}
		delete(s.lines, id)
		s.tell(Notification{What: Vanished, Dir: t.reader.dir})
	}
	s.mu.Unlock()
	for _, t := range all {
		s.read(t)
	}
}

func (s *Storage) watch(w *fsnotify.Watcher, path string) {
	if w == nil {
		return
	}
	if err := w.Add(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.opt.Log.Warn("the kernel does not notify of changes in a directory: it is only read from time to time", "path", path, "every", s.opt.Rescan, "error", err)
	}
}

func (s *Storage) takeUp(d Dir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.lines[d.ID]; ok && t.reader.dir == d {
		return
	}
	s.lines[d.ID] = &timeline{reader: reader{dir: d}, told: make(map[string]bool)}
	s.opt.Log.Info("taking up a timeline", "tenant", d.ID.Tenant, "timeline", d.ID.Timeline, "path", d.Path)
	s.tell(Notification{What: Appeared, Dir: d})
}

// read makes the inventory of one directory and tells what is new in it. Only
// Run's goroutine calls it.
func (s *Storage) read(t *timeline) {
	inv, err := t.reader.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.err = err
	if err != nil {
		s.opt.Log.Error("a WAL directory can't be read", "path", t.reader.dir.Path, "error", err)
		return
	}
	t.inv = inv
	told := make(map[string]bool, len(inv.Complete))
	for _, f := range inv.Complete {
		told[f.Name] = true
		if t.told[f.Name] {
			continue
		}
		n := Notification{What: Complete, Dir: t.reader.dir, File: f}
		if f.Kind == wal.SegmentFile {
			n.Range = f.SegmentOf().Range(inv.SegmentSize)
		}
		s.tell(n)
	}
	t.told = told
}

// tell notifies the subscribers; s.mu is held.
func (s *Storage) tell(n Notification) {
	for _, f := range s.subs {
		f(n)
	}
}
