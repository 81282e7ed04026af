package walbackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"redoubt/internal/pg"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/journal"
	"redoubt/walbackup/names"
	"redoubt/walbackup/requests"
)

var errFlaky = errors.New("injected fault")

// world is a plain etcd and a plain bucket in memory, which delay and fail at
// random, and judge every change of the backup LSN when it is made.
type world struct {
	mu       sync.Mutex
	rnd      *rand.Rand
	faults   float64 // chance that an operation fails
	steps    int
	rev      int64
	states   map[names.ID]map[pg.TLI]coord.Recorded
	election map[names.ID][]*fakeTerm // oldest first
	horizons map[string]pg.LSN
	objects  map[string][]byte // beginnings of files, by tenant/timeline/name
	asked    map[requests.Key]*fakeRequest
	broken   []string // what must never happen
	fenced   int      // transactions that a former leader lost
}

func newWorld(seed uint64, faults float64) *world {
	return &world{rnd: rand.New(rand.NewPCG(seed, 77)), faults: faults, states: make(map[names.ID]map[pg.TLI]coord.Recorded),
		election: make(map[names.ID][]*fakeTerm), horizons: make(map[string]pg.LSN), objects: make(map[string][]byte),
		asked: make(map[requests.Key]*fakeRequest)}
}

func (w *world) breach(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// step delays an operation; before says that it fails before it has an
// effect, after that it fails although it had one.
func (w *world) step(ctx context.Context) (before, after bool, err error) {
	w.mu.Lock()
	w.steps++
	d := time.Duration(w.rnd.Int64N(int64(60 * time.Millisecond)))
	if w.rnd.IntN(40) == 0 {
		d *= 60
	}
	before, after = w.rnd.Float64() < w.faults, w.rnd.Float64() < w.faults
	w.mu.Unlock()
	if !sleep(ctx, d) {
		return false, false, ctx.Err()
	}
	return before, after, nil
}

// do runs f as one atomic operation.
func (w *world) do(ctx context.Context, f func() error) error {
	before, after, err := w.step(ctx)
	if err != nil {
		return err
	}
	if before {
		return errFlaky
	}
	w.mu.Lock()
	err = f()
	w.mu.Unlock()
	if after && err == nil {
		return errFlaky
	}
	return err
}

type fakeSession struct {
	w       *world
	by      string
	done    chan struct{}
	once    sync.Once
	expired bool // at the server
}

type fakeTerm struct {
	w       *world
	id      names.ID
	number  int64
	session *fakeSession
}

func (w *world) Join(ctx context.Context, by string, _ time.Duration) (s Session, err error) {
	err = w.do(ctx, func() error {
		s = &fakeSession{w: w, by: by, done: make(chan struct{})}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// expire ends the lease at the server; the agent hears of it later, if at all.
func (w *world) expire(s *fakeSession) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.expired = true
	for id, terms := range w.election {
		var left []*fakeTerm
		for _, t := range terms {
			if t.session != s {
				left = append(left, t)
			}
		}
		w.election[id] = left
	}
}

func (s *fakeSession) Done() <-chan struct{} { return s.done }
func (s *fakeSession) end()                  { s.once.Do(func() { close(s.done) }) }

func (s *fakeSession) Leave(context.Context) error {
	s.w.expire(s)
	s.end()
	return nil
}

func (s *fakeSession) Campaign(ctx context.Context, id names.ID) (Term, error) {
	t := &fakeTerm{w: s.w, id: id, session: s}
	err := s.w.do(ctx, func() error {
		if s.expired {
			return errors.New("no such lease")
		}
		s.w.rev++
		t.number = s.w.rev
		s.w.election[id] = append(s.w.election[id], t)
		return nil
	})
	if err != nil {
		t.drop()
		return nil, err
	}
	for {
		s.w.mu.Lock()
		first := len(s.w.election[id]) > 0 && s.w.election[id][0] == t
		lost := s.expired
		s.w.mu.Unlock()
		switch {
		case first:
			return t, nil
		case lost:
			return nil, errors.New("the lease ended")
		}
		if !sleep(ctx, 300*time.Millisecond) {
			t.drop()
			return nil, ctx.Err()
		}
	}
}

func (t *fakeTerm) drop() {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	var left []*fakeTerm
	for _, x := range t.w.election[t.id] {
		if x != t {
			left = append(left, x)
		}
	}
	t.w.election[t.id] = left
}

func (t *fakeTerm) Resign(context.Context) error {
	t.drop()
	return nil
}

func (t *fakeTerm) Advance(ctx context.Context, tli pg.TLI, old coord.Recorded, next coord.State) (out coord.Recorded, err error) {
	err = t.w.do(ctx, func() error {
		w := t.w
		if len(w.election[t.id]) == 0 || w.election[t.id][0] != t {
			w.fenced++
			return coord.ErrNotLeader
		}
		if w.states[t.id] == nil {
			w.states[t.id] = make(map[pg.TLI]coord.Recorded)
		}
		was := w.states[t.id][tli]
		if was.Revision != old.Revision {
			return coord.ErrChanged
		}
		if was.Revision != 0 && (next.Backup < was.Backup || next.Start > was.Start) {
			w.breach("the backup LSN went back from %s to %s", was.Backup, next.Backup)
		}
		for n := pg.SegmentOf(next.Start, next.SegmentSize); n.Start(next.SegmentSize) < next.Backup; n++ {
			if !w.whole(t.id, pg.SegmentName(tli, n, next.SegmentSize), n) {
				w.breach("the backup LSN %s passed segment %d, which is not in the bucket", next.Backup, n)
			}
		}
		w.rev++
		next.Term = t.number
		out = coord.Recorded{State: next, Revision: w.rev}
		w.states[t.id][tli] = out
		return nil
	})
	if err != nil {
		return old, err
	}
	return out, nil
}

// whole reports whether the bucket has the right content of a segment; w.mu is held.
func (w *world) whole(id names.ID, name string, n pg.SegmentNo) bool {
	return string(w.objects[id.String()+"/"+name]) == string(head(1, n, sysid))
}

func (w *world) States(ctx context.Context, id names.ID) (map[pg.TLI]coord.Recorded, error) {
	all, err := w.AllStates(ctx)
	return all[id], err
}

func (w *world) AllStates(ctx context.Context) (out map[names.ID]map[pg.TLI]coord.Recorded, err error) {
	out = make(map[names.ID]map[pg.TLI]coord.Recorded)
	err = w.do(ctx, func() error {
		for id, m := range w.states {
			out[id] = make(map[pg.TLI]coord.Recorded)
			for tli, s := range m {
				out[id][tli] = s
			}
		}
		return nil
	})
	return out, err
}

func (w *world) Leaders(ctx context.Context) (out map[names.ID]string, err error) {
	out = make(map[names.ID]string)
	err = w.do(ctx, func() error {
		for id, terms := range w.election {
			if len(terms) > 0 {
				out[id] = terms[0].session.by
			}
		}
		return nil
	})
	return out, err
}

func (w *world) Horizons(ctx context.Context, _ names.ID) (out map[string]pg.LSN, err error) {
	out = make(map[string]pg.LSN)
	err = w.do(ctx, func() error {
		for k, v := range w.horizons {
			out[k] = v
		}
		return nil
	})
	return out, err
}

// The bucket.

func (w *world) Timeline(id names.ID) (Objects, error) { return &fakeObjects{w, id}, nil }

type fakeObjects struct {
	w  *world
	id names.ID
}

func readHead(src Source) ([]byte, error) {
	f, err := os.Open(src.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrFileGone
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, headSize)
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // a history file
	}
	return b[:n], err
}

func (o *fakeObjects) key(name string) string { return o.id.String() + "/" + name }

func (o *fakeObjects) PutOnce(ctx context.Context, name string, src Source) (p Placed, err error) {
	data, err := readHead(src)
	if err != nil {
		return p, err
	}
	p.Stored = src.Size
	err = o.w.do(ctx, func() error {
		was, there := o.w.objects[o.key(name)]
		switch {
		case !there:
			o.w.objects[o.key(name)] = data
			p.Uploaded = true
		case string(was) != string(data):
			return ErrConflict
		}
		return nil
	})
	return p, err
}

func (o *fakeObjects) Compare(ctx context.Context, name string, src Source) error {
	data, err := readHead(src)
	if err != nil {
		return err
	}
	return o.w.do(ctx, func() error {
		was, there := o.w.objects[o.key(name)]
		switch {
		case !there:
			return ErrAbsent
		case string(was) != string(data):
			return ErrConflict
		}
		return nil
	})
}

func (o *fakeObjects) Stored(ctx context.Context, name string) (int64, error) {
	return segSize, o.w.do(ctx, func() error {
		if _, there := o.w.objects[o.key(name)]; !there {
			return ErrAbsent
		}
		return nil
	})
}

func (o *fakeObjects) Replace(ctx context.Context, name string, src Source) error {
	data, err := readHead(src)
	if err != nil {
		return err
	}
	return o.w.do(ctx, func() error {
		o.w.objects[o.key(name)] = data
		return nil
	})
}

// Requests.

type fakeRequest struct {
	requests.Request
	claimed bool
}

func (w *world) Ask(ctx context.Context, k requests.Key, by, why string) (added bool, err error) {
	err = w.do(ctx, func() error {
		if r := w.asked[k]; r == nil || r.Done {
			w.asked[k] = &fakeRequest{Request: requests.Request{Key: k, By: by, Why: why}}
			added = true
		}
		return nil
	})
	return added, err
}

func (w *world) Open(ctx context.Context, _ func(error)) (out []requests.Request, err error) {
	err = w.do(ctx, func() error {
		for _, r := range w.asked {
			if !r.Done {
				out = append(out, r.Request)
			}
		}
		return nil
	})
	return out, err
}

func (w *world) Watch(ctx context.Context, _ func()) { <-ctx.Done() }

func (w *world) Claim(ctx context.Context, r requests.Request, _ string, _ time.Duration) (c Claim, err error) {
	err = w.do(ctx, func() error {
		have := w.asked[r.Key]
		if have.claimed || have.Done {
			return requests.ErrClaimed
		}
		have.claimed = true
		c = &fakeClaim{w, have}
		return nil
	})
	if err != nil && !errors.Is(err, requests.ErrClaimed) {
		w.mu.Lock()
		w.asked[r.Key].claimed = false // it runs out
		w.mu.Unlock()
	}
	return c, err
}

type fakeClaim struct {
	w *world
	r *fakeRequest
}

func (c *fakeClaim) Complete(ctx context.Context) error {
	err := c.w.do(ctx, func() error { c.r.Done = true; return nil })
	return errors.Join(err, c.Release(ctx))
}

func (c *fakeClaim) Release(context.Context) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.r.claimed = false
	return nil
}

// A journal in memory, which outlives its agent.

type memoryJournal struct {
	mu     sync.Mutex
	files  map[string]journal.File
	alarms map[string]journal.Alarm
}

func newMemoryJournal() *memoryJournal {
	return &memoryJournal{files: make(map[string]journal.File), alarms: make(map[string]journal.Alarm)}
}

func (j *memoryJournal) Stored(_ context.Context, id names.ID, f journal.File) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.files[id.String()+f.Name] = f
	return nil
}

func (j *memoryJournal) Lookup(_ context.Context, id names.ID, name string) (journal.File, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f, ok := j.files[id.String()+name]
	return f, ok, nil
}

func (j *memoryJournal) Forget(context.Context, time.Time) error { return nil }

func (j *memoryJournal) Raise(_ context.Context, a journal.Alarm) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.alarms[a.Kind+a.ID.String()+a.Name] = a
	return nil
}

func (j *memoryJournal) Clear(_ context.Context, a journal.Alarm) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.alarms, a.Kind+a.ID.String()+a.Name)
	return nil
}

func (j *memoryJournal) Alarms(context.Context) (out []journal.Alarm, _ error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, a := range j.alarms {
		out = append(out, a)
	}
	return out, nil
}

// count counts.
type count struct {
	mu sync.Mutex
	n  map[string]int
}

func newCount() *count { return &count{n: make(map[string]int)} }

func (c *count) inc(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[what]++
}

func (c *count) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[what]
}

func (c *count) Upload(result string)  { c.inc("upload " + result) }
func (c *count) FileMissing()          { c.inc("missing") }
func (c *count) Conflict()             { c.inc("conflict") }
func (c *count) Retired(result string) { c.inc(result) }
func (c *count) Requested()            { c.inc("requested") }
