package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// errPasses is an error that says it may pass.
var errPasses = errors.New("source unreachable")

// fake is an engine whose directories hold little.
type fake struct {
	mu       sync.Mutex
	running  int
	most     int // running at once
	attempts map[string]int
	hold     chan struct{} // if not nil: recoveries wait for it, or for their end
	fail     func(j ledger.Recovery, attempt int) error
}

const base = pg.LSN(0x1000028)

func (f *fake) Timelines(_ context.Context, tenant string) ([]string, error) {
	if tenant != "prod" {
		return nil, ErrNotFound
	}
	return []string{"main", "second"}, nil
}

func (f *fake) Holds(_ context.Context, tenant, timeline string) (bool, error) {
	return tenant == "prod" && (timeline == "main" || timeline == "second"), nil
}

func (f *fake) Resolve(_ context.Context, r Request) (Origin, error) {
	if r.Tenant != "prod" || r.Timeline != "main" && r.Timeline != "second" {
		return Origin{}, ErrNotFound
	}
	if r.Timeline == "second" {
		return Origin{}, refusef("there is no snapshot initdb")
	}
	return Origin{Source: "src", Base: "initdb", BaseLSN: base}, nil
}

// counted is how often a timeline was tried, and how many were at once.
func (f *fake) counted(timeline string) (attempts, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.attempts[timeline], f.most
}

// Unfinished: what the fake leaves is never gone on with.
func (f *fake) Unfinished(ledger.Recovery) bool { return false }

func (f *fake) Transient(err error) bool { return errors.Is(err, errPasses) }

func (f *fake) Recover(ctx context.Context, j ledger.Recovery, progress Progress) (Result, error) {
	f.mu.Lock()
	if f.attempts == nil {
		f.attempts = make(map[string]int)
	}
	f.attempts[j.Timeline]++
	attempt := f.attempts[j.Timeline]
	f.running++
	f.most = max(f.most, f.running)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.running--; f.mu.Unlock() }()
	if _, err := os.Lstat(j.Directory); err == nil {
		return Result{}, errors.New("the directory is there already")
	}
	if err := makeDirectory(j.Directory, func() { progress(ledger.Reached{Target: 0x3000000, Last: 0x2000000}) }); err != nil {
		return Result{}, err
	}
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
	if f.fail != nil {
		if err := f.fail(j, attempt); err != nil {
			return Result{}, err
		}
	}
	return f.finish(j)
}

// makeDirectory writes some files, all but pg_control.
func makeDirectory(dir string, between func()) error {
	for i := range 20 {
		sub := filepath.Join(dir, "base", fmt.Sprint(i%3))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), make([]byte, 8192), 0o600); err != nil {
			return err
		}
		between()
	}
	return os.MkdirAll(filepath.Join(dir, "global"), 0o700)
}

type world struct {
	t      *testing.T
	ledger *ledger.Ledger
	engine *fake
	dir    string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, engine: &fake{}, dir: filepath.Join(t.TempDir(), "recovery")}
	w.ledger = w.open(filepath.Join(t.TempDir(), "ledger.db"))
	return w
}

func (w *world) open(path string) *ledger.Ledger {
	w.t.Helper()
	l, err := ledger.Open(path)
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, l.Close()) })
	return l
}

// manager serves until end is called, at the latest at the end of the test.
func (w *world) manager(change ...func(*Config)) (m *Manager, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	cfg := Config{Ledger: w.ledger, Engine: w.engine, Dir: w.dir, Parallel: 2, Log: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Retries: Retries{Attempts: 3, FirstWait: time.Millisecond, MaxWait: time.Millisecond}}
	for _, c := range change {
		c(&cfg)
	}
	m = New(ctx, cfg)
	served := make(chan error, 1)
	go func() { served <- m.Serve() }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(end)
	return m, end
}

func (w *world) start(m *Manager, r Request) string {
	w.t.Helper()
	s, err := m.Start(context.Background(), r)
	must(w.t, err)
	return s.Timeline
}

// wait waits until a timeline is in a state.
func (w *world) wait(timeline string, want finding.State) ledger.Recovery {
	w.t.Helper()
	var r ledger.Recovery
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(2 * time.Millisecond) {
		var err error
		r, err = w.ledger.Recovery(context.Background(), "prod", timeline)
		must(w.t, err)
		if r.State == want {
			return r
		}
	}
	w.t.Fatalf("%s is %s (%s), not %s", timeline, r.State, r.Reason, want)
	return r
}

func (w *world) whole(timeline string) bool {
	b, err := os.ReadFile(filepath.Join(w.dir, "prod", timeline, "global", "pg_control"))
	return err == nil && string(b) == "whole"
}

func wantConflict(t *testing.T, what string, err error, words string) {
	t.Helper()
	var c *ConflictError
	if !errors.As(err, &c) || !strings.Contains(c.Reason, words) {
		t.Errorf("%s: %v, want a conflict with %q", what, err, words)
	}
}

func wantRefused(t *testing.T, what string, err error, words string) {
	t.Helper()
	var c *RefusedError
	if !errors.As(err, &c) || !strings.Contains(c.Reason, words) {
		t.Errorf("%s: %v, want it refused with %q", what, err, words)
	}
}

var main = Request{Tenant: "prod", Timeline: "main"}

func TestRecoverAndDelete(t *testing.T) {
	w := newWorld(t)
	m, _ := w.manager()
	s, err := m.Start(t.Context(), main)
	must(t, err)
	if len(s.Timeline) != 32 || strings.Trim(s.Timeline, "0123456789abcdef") != "" || s.Base != "initdb" || s.BaseLSN != base {
		t.Errorf("%+v", s)
	}
	r := w.wait(s.Timeline, finding.StateActive)
	if !w.whole(s.Timeline) || r.AncestorLSN != 0x2ffffd0 || r.TargetLSN != 0x3000000 || r.LastRecordLSN != 0x2ffffd0 || r.Ancestor != "main" || r.StartedAt.IsZero() {
		t.Errorf("%+v", r)
	}
	wantConflict(t, "cancel an active one", m.Cancel(t.Context(), "prod", s.Timeline), "nothing to cancel")

	pid := filepath.Join(r.Directory, "postmaster.pid")
	must(t, os.WriteFile(pid, fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), r.Directory), 0o600))
	wantConflict(t, "delete under a server", m.Delete(t.Context(), "prod", s.Timeline), "stop it first")
	again := Request{Tenant: "prod", Timeline: "main", Target: s.Timeline, From: 0x4000000}
	_, err = m.Start(t.Context(), again)
	wantConflict(t, "recover under a server", err, "stop it first")
	must(t, os.WriteFile(pid, []byte("999999999\n"), 0o600)) // it crashed

	must(t, m.Delete(t.Context(), "prod", s.Timeline))
	w.wait(s.Timeline, finding.StateDeleted)
	if left, err := os.ReadDir(filepath.Join(w.dir, "prod")); err != nil || len(left) > 1 { // the lock may be there still
		t.Errorf("left: %v, %v", left, err)
	}
	if err := m.Delete(t.Context(), "prod", s.Timeline); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete twice: %v", err)
	}
	if err := m.Cancel(t.Context(), "prod", s.Timeline); !errors.Is(err, ErrNotFound) {
		t.Errorf("cancel a deleted one: %v", err)
	}
}

func TestRules(t *testing.T) {
	w := newWorld(t)
	w.engine.hold = make(chan struct{})
	m, _ := w.manager()
	start := func(r Request) error { _, err := m.Start(t.Context(), r); return err }
	for what, r := range map[string]Request{"tenant": {Tenant: "none", Timeline: "main"}, "timeline": {Tenant: "prod", Timeline: "none"}} {
		if err := start(r); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown %s: %v", what, err)
		}
	}
	wantRefused(t, "no base", start(Request{Tenant: "prod", Timeline: "second"}), "initdb")
	wantRefused(t, "to before the base", start(Request{Tenant: "prod", Timeline: "main", To: base}), "not above")
	wantRefused(t, "into itself", start(Request{Tenant: "prod", Timeline: "main", Target: "main"}), "the timeline itself")
	wantConflict(t, "into an official one", start(Request{Tenant: "prod", Timeline: "main", Target: "second", From: 0x2000000}), "did not make")
	for what, do := range map[string]func(context.Context, string, string) error{"cancel": m.Cancel, "delete": m.Delete} {
		wantConflict(t, what+" an official one", do(t.Context(), "prod", "main"), "only shadows")
		if err := do(t.Context(), "prod", "none"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s an unknown one: %v", what, err)
		}
	}

	id := w.start(m, main)
	again := Request{Tenant: "prod", Timeline: "main", Target: id, From: 0x2000000}
	wantConflict(t, "a second one into the same target", start(again), "being recovered")
	wantConflict(t, "delete under way", m.Delete(t.Context(), "prod", id), "cancel it first")
	close(w.engine.hold)
	w.wait(id, finding.StateActive)
	wantConflict(t, "less than it has", start(again), "not less advanced")
	again.From = 0x4000000
	must(t, start(again))
	if r := w.wait(id, finding.StateActive); r.FromLSN != 0x4000000 {
		t.Errorf("%+v", r)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	w.engine.hold = make(chan struct{})
	m, _ := w.manager(func(c *Config) { c.Parallel = 1 })
	first, waiting := w.start(m, main), w.start(m, main)
	must(t, m.Cancel(t.Context(), "prod", first))
	must(t, m.Cancel(t.Context(), "prod", waiting))
	wantConflict(t, "cancel twice", m.Cancel(t.Context(), "prod", first), "nothing to cancel")
	close(w.engine.hold)
	must(t, m.Delete(t.Context(), "prod", first))
	must(t, m.Delete(t.Context(), "prod", waiting))
	for _, id := range []string{first, waiting} {
		w.wait(id, finding.StateDeleted)
		if w.whole(id) {
			t.Errorf("%s is there", id)
		}
	}
}

// TestLimits has many at once, of which some fail and one panics.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	w.engine.fail = func(j ledger.Recovery, attempt int) error {
		switch {
		case strings.HasSuffix(j.Timeline, "1"):
			return errors.New("no WAL at 0/1200000")
		case strings.HasSuffix(j.Timeline, "2"):
			panic("a bug")
		case strings.HasSuffix(j.Timeline, "3") && attempt < 3, strings.HasSuffix(j.Timeline, "4"):
			return fmt.Errorf("read: %w", errPasses)
		}
		return nil
	}
	m, _ := w.manager()
	var ids []string
	for i := range 12 {
		id := fmt.Sprintf("%031x%d", i, i%6)
		w.start(m, Request{Tenant: "prod", Timeline: "main", Target: id, From: 0x2000000})
		ids = append(ids, id)
	}
	for _, id := range ids {
		want, reason, attempts := finding.StateActive, "", 1
		switch id[31] {
		case '1':
			want, reason = finding.StateFailed, "no WAL at 0/1200000"
		case '2':
			want, reason = finding.StateFailed, "panic: a bug"
		case '3':
			attempts = 3
		case '4':
			want, reason, attempts = finding.StateFailed, "source unreachable", 3
		}
		r := w.wait(id, want)
		if n, _ := w.engine.counted(id); !strings.Contains(r.Reason, reason) || n != attempts || w.whole(id) != (want == finding.StateActive) {
			t.Errorf("%s: %q after %d attempts", id, r.Reason, n)
		}
	}
	if _, most := w.engine.counted(""); most != 2 {
		t.Errorf("%d at once", most)
	}
}

func TestAll(t *testing.T) {
	w := newWorld(t)
	m, _ := w.manager()
	for range 2 { // shadows of the first are not taken for official in the second
		all, err := m.StartAll(t.Context(), "prod", nil, time.Time{})
		must(t, err)
		if len(all) != 2 || all[0].Source != "main" || all[0].Err != nil || all[1].Source != "second" || all[1].Err == nil {
			t.Errorf("%+v", all)
		}
		w.wait(all[0].Timeline, finding.StateActive)
	}
	some, err := m.StartAll(t.Context(), "prod", []string{"main"}, time.Now())
	must(t, err)
	if len(some) != 1 || w.wait(some[0].Timeline, finding.StateActive).ToTime.IsZero() {
		t.Errorf("%+v", some)
	}
	if _, err := m.StartAll(t.Context(), "none", nil, time.Time{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown tenant: %v", err)
	}
}

// TestGoesOn ends the process in the middle of a recovery, as far as it can be
// told from within, and starts another.
func TestGoesOn(t *testing.T) {
	w := newWorld(t)
	w.engine.hold = make(chan struct{})
	m, end := w.manager()
	id, cancelled := w.start(m, main), w.start(m, main)
	for w.ledgerOf(id).StartedAt.IsZero() {
		time.Sleep(time.Millisecond)
	}
	must(t, m.Cancel(t.Context(), "prod", cancelled))
	end()
	if r := w.ledgerOf(id); r.State != finding.StateRecovering {
		t.Fatalf("after the end: %s", r.State)
	}
	close(w.engine.hold)
	w.manager()
	w.wait(id, finding.StateActive)
	w.wait(cancelled, finding.StateCancelled)
	if !w.whole(id) || w.whole(cancelled) {
		t.Error("directories")
	}
}

func (w *world) ledgerOf(id string) ledger.Recovery {
	w.t.Helper()
	r, err := w.ledger.Recovery(context.Background(), "prod", id)
	must(w.t, err)
	return r
}

// TestTwoServers has two servers, with one ledger and with two, told to recover into the same target.
func TestTwoServers(t *testing.T) {
	for _, ledgers := range []int{1, 2} {
		w := newWorld(t)
		w.engine.hold = make(chan struct{})
		first, _ := w.manager()
		second, _ := w.manager(func(c *Config) {
			if ledgers == 2 {
				c.Ledger = w.open(filepath.Join(t.TempDir(), "other.db"))
			}
		})
		r := Request{Tenant: "prod", Timeline: "main", Target: strings.Repeat("a", 32), From: 0x2000000}
		w.start(first, r)
		_, err := second.Start(t.Context(), r)
		wantConflict(t, fmt.Sprint(ledgers, " ledgers"), err, "being recovered")
		second.adopt() // leaves the other's alone
		close(w.engine.hold)
		w.wait(r.Target, finding.StateActive)
		if n, _ := w.engine.counted(r.Target); n != 1 {
			t.Errorf("%d attempts", n)
		}
	}
}

// TestCancelledElsewhere has another server cancel, which this one learns from the ledger.
func TestCancelledElsewhere(t *testing.T) {
	w := newWorld(t)
	w.engine.hold = make(chan struct{})
	m, _ := w.manager()
	id := w.start(m, main)
	for w.ledgerOf(id).StartedAt.IsZero() {
		time.Sleep(time.Millisecond)
	}
	must(t, w.ledger.CancelRecovery(t.Context(), "prod", id, time.Now()))
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w.engine.mu.Lock()
		n := w.engine.running
		w.engine.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("it still runs")
		}
	}
	w.wait(id, finding.StateCancelled)
}

// TestRemoveIsCareful has directories that are not a timeline's.
func TestRemoveIsCareful(t *testing.T) {
	dir := t.TempDir()
	r := ledger.Recovery{TimelineKey: ledger.TimelineKey{Tenant: "prod", Timeline: "aa"}}
	keep := filepath.Join(dir, "keep")
	must(t, os.MkdirAll(filepath.Join(keep, "global"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "prod"), 0o700))
	must(t, os.Symlink(keep, filepath.Join(dir, "prod", "aa")))
	for _, d := range []string{keep, dir, "/", "prod/aa", "", filepath.Join(dir, "prod", "aa")} {
		r.Directory = d
		if err := remove(r); err == nil {
			t.Errorf("%q was removed", d)
		}
	}
	must(t, os.Remove(filepath.Join(dir, "prod", "aa")))
	must(t, os.MkdirAll(filepath.Join(dir, "prod", "aa", "pg_tblspc"), 0o700))
	must(t, os.Symlink(keep, filepath.Join(dir, "prod", "aa", "pg_tblspc", "16400")))
	must(t, remove(r))
	if _, err := os.Stat(filepath.Join(keep, "global")); err != nil {
		t.Error("what a link led to is gone")
	}
	must(t, remove(r)) // it is gone
}

func TestLockThatWasRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prod", "a.lock")
	first, err := take(path)
	must(t, err)
	if _, err := take(path); !errors.Is(err, errLocked) {
		t.Errorf("locked twice: %v", err)
	}
	first.remove()
	second, err := take(path)
	must(t, err)
	second.release()
}

func TestIDsDiffer(t *testing.T) {
	if ids := []string{newID(), newID(), newID()}; len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 3 {
		t.Errorf("%v", ids)
	}
}

// TestMadeByAnother: what another manager, with a ledger of its own, makes or
// has made in the same place is left alone.
func TestMadeByAnother(t *testing.T) {
	w, x := newWorld(t), newWorld(t)
	x.dir = w.dir
	w.engine.hold = make(chan struct{})
	m, _ := w.manager()
	other, _ := x.manager()
	req := Request{Tenant: "prod", Timeline: "main", Target: strings.Repeat("d", 32), From: 0x4000000}
	_, err := m.Start(t.Context(), req)
	must(t, err)
	_, err = other.Start(t.Context(), req)
	wantConflict(t, "under way elsewhere", err, "being recovered or deleted")
	close(w.engine.hold)
	w.wait(req.Target, finding.StateActive)
	_, err = other.Start(t.Context(), req)
	wantConflict(t, "made elsewhere", err, "this server did not make it")
	if !w.whole(req.Target) {
		t.Error("what was made is gone")
	}
}
