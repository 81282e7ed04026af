package walbackup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"redoubt/internal/pg"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
	"redoubt/walbackup/requests"
)

// scene is one agent in a bubble of fake time.
type scene struct {
	*machine
	w *world
}

// play runs f with an agent on a directory that prepare filled.
func play(t *testing.T, prepare func(dir string, w *world), f func(t *testing.T, s *scene)) {
	t.Helper()
	playWith(t, nil, prepare, f)
}

// playWith does so with a clock.
func playWith(t *testing.T, now func() time.Time, prepare func(dir string, w *world), f func(t *testing.T, s *scene)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{w: newWorld(1, 0), machine: &machine{name: "a", dir: dir, journal: newMemoryJournal(), counts: newCount(), remove: Remove{Mode: RemoveOff, Keep: 1}, now: now}}
		if prepare != nil {
			prepare(dir, s.w)
		}
		s.up(t, s.w)
		f(t, s)
		if s.agent != nil {
			s.down(t, s.w)
		}
		time.Sleep(time.Minute)
	})
}

func (s *scene) state(tli pg.TLI) coord.Recorded {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.states[modelID][tli]
}

// object is what the bucket has under a name, and whether it has anything.
func (s *scene) object(name string) (string, bool) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	b, ok := s.w.objects["prod/main/"+name]
	return string(b), ok
}

func (s *scene) drop(name string) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	delete(s.w.objects, "prod/main/"+name)
}

func (s *scene) kinds() []string {
	var out []string
	for _, a := range s.agent.alarms.all() {
		out = append(out, a.Kind+" "+a.Name)
	}
	slices.Sort(out)
	return out
}

func (s *scene) wantAlarms(t *testing.T, want ...string) {
	t.Helper()
	if got := s.kinds(); !slices.Equal(got, want) {
		t.Errorf("alarms %q, want %q", got, want)
	}
}

func name(n pg.SegmentNo) string { return pg.SegmentName(1, n, segSize) }

func TestConflictIsNotPassed(t *testing.T) {
	play(t, func(dir string, w *world) {
		for n := pg.SegmentNo(1); n <= 4; n++ {
			complete(t, dir, 1, n, sysid)
		}
		w.objects["prod/main/"+name(2)] = []byte("something else")
	}, func(t *testing.T, s *scene) {
		time.Sleep(20 * time.Second)
		if got := s.state(1).Backup; got != 2*segSize {
			t.Errorf("backup LSN %s, want it before the conflict", got)
		}
		s.wantAlarms(t, "conflict "+name(2))
		if got, _ := s.object(name(2)); got != "something else" || s.counts.get("conflict") != 1 {
			t.Errorf("%d conflicts counted, or the object was overwritten", s.counts.get("conflict"))
		}
		// The alarm outlives the agent, and ends when someone has set it right.
		s.down(t, s.w)
		s.up(t, s.w)
		s.wantAlarms(t, "conflict "+name(2))
		s.drop(name(2))
		time.Sleep(30 * time.Second)
		s.wantAlarms(t)
		if got := s.state(1).Backup; got != 5*segSize {
			t.Errorf("backup LSN %s", got)
		}
	})
}

func TestWALOfAnotherCluster(t *testing.T) {
	play(t, func(dir string, w *world) {
		complete(t, dir, 1, 1, sysid)
		complete(t, dir, 1, 2, sysid+1)
		complete(t, dir, 1, 3, sysid)
	}, func(t *testing.T, s *scene) {
		time.Sleep(20 * time.Second)
		s.wantAlarms(t, "bad_file "+name(2), "missing_file "+name(2))
		if got := s.state(1).Backup; got != 2*segSize {
			t.Errorf("backup LSN %s", got)
		}
		if _, there := s.object(name(2)); there {
			t.Error("the other cluster's segment is in the bucket")
		}
	})
	// The whole directory is another cluster's than the one that is recorded.
	play(t, func(dir string, w *world) {
		complete(t, dir, 1, 9, sysid)
		w.states[modelID] = map[pg.TLI]coord.Recorded{1: {Revision: 1, State: coord.State{Start: segSize, Backup: 9 * segSize, SegmentSize: segSize, SystemID: 5}}}
	}, func(t *testing.T, s *scene) {
		time.Sleep(20 * time.Second)
		s.wantAlarms(t, "bad_file ")
		if _, there := s.object(name(9)); there || s.state(1).Backup != 9*segSize {
			t.Errorf("in the bucket: %v, backup LSN %s", there, s.state(1).Backup)
		}
	})
}

func TestMissingSegmentIsAskedForAndFound(t *testing.T) {
	play(t, func(dir string, w *world) {
		complete(t, dir, 1, 1, sysid)
		complete(t, dir, 1, 3, sysid)
	}, func(t *testing.T, s *scene) {
		time.Sleep(10 * time.Second)
		s.wantAlarms(t, "missing_file "+name(2))
		s.w.mu.Lock()
		asked := s.w.asked[requests.Key{ID: modelID, Segment: name(2)}]
		s.w.mu.Unlock()
		if asked == nil || s.counts.get("missing") != 1 {
			t.Errorf("asked for %v, %d counted", asked, s.counts.get("missing"))
		}
		time.Sleep(40 * time.Second)
		s.wantAlarms(t, "missing_file "+name(2), "stalled ")
		s.w.mu.Lock()
		s.w.objects["prod/main/"+name(2)] = head(1, 2, sysid) // another agent had it
		s.w.mu.Unlock()
		time.Sleep(10 * time.Second)
		s.wantAlarms(t)
		if got := s.state(1).Backup; got != 4*segSize {
			t.Errorf("backup LSN %s", got)
		}
	})
}

func TestFileThatVanishesBeforeItsUpload(t *testing.T) {
	play(t, func(dir string, w *world) {
		for n := pg.SegmentNo(1); n <= 3; n++ {
			complete(t, dir, 1, n, sysid)
		}
		w.faults = 1
	}, func(t *testing.T, s *scene) {
		time.Sleep(5 * time.Second)
		if err := os.Remove(filepath.Join(s.dir, name(2))); err != nil {
			t.Fatal(err)
		}
		s.w.mu.Lock()
		s.w.faults = 0
		s.w.mu.Unlock()
		time.Sleep(20 * time.Second)
		s.wantAlarms(t, "missing_file "+name(2))
		if got := s.state(1).Backup; got != 2*segSize {
			t.Errorf("backup LSN %s", got)
		}
	})
}

func TestDirectoryThatVanishes(t *testing.T) {
	play(t, func(dir string, w *world) { complete(t, dir, 1, 1, sysid) }, func(t *testing.T, s *scene) {
		time.Sleep(5 * time.Second)
		away := s.dir + ".away"
		if err := os.Rename(s.dir, away); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s.wantAlarms(t, "bad_file ")
		s.w.mu.Lock()
		candidates := len(s.w.election[modelID])
		s.w.mu.Unlock()
		if len(s.agent.Statuses()) != 0 || candidates != 0 {
			t.Errorf("%+v, %d candidates", s.agent.Statuses(), candidates)
		}
		if err := os.Rename(away, s.dir); err != nil {
			t.Fatal(err)
		}
		complete(t, s.dir, 1, 2, sysid)
		time.Sleep(10 * time.Second)
		s.wantAlarms(t)
		if got := s.state(1).Backup; got != 3*segSize {
			t.Errorf("backup LSN %s", got)
		}
	})
}

func TestEtcdOrBucketAway(t *testing.T) { etcdOrBucketAway(t, time.Now) }

func etcdOrBucketAway(t *testing.T, now func() time.Time) {
	playWith(t, now, func(dir string, w *world) { complete(t, dir, 1, 1, sysid) }, func(t *testing.T, s *scene) {
		time.Sleep(5 * time.Second)
		if err := s.agent.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		s.w.mu.Lock()
		s.w.faults = 1
		s.w.mu.Unlock()
		complete(t, s.dir, 1, 2, sysid)
		time.Sleep(time.Second) // too soon for those about time
		for _, kind := range s.kinds() {
			if kind == "no_leader " || kind == "stalled " {
				t.Errorf("alarm %s after a second", kind)
			}
		}
		time.Sleep(time.Minute)
		s.wantAlarms(t, "error_ratio ", "no_leader ", "stalled ")
		if err := s.agent.Ready(t.Context()); !errors.Is(err, ErrEtcd) {
			t.Errorf("ready: %v", err)
		}
		if r := s.agent.ErrorRatio(); r < 0.9 {
			t.Errorf("error ratio %v", r)
		}
		s.w.mu.Lock()
		s.w.faults = 0
		s.w.mu.Unlock()
		time.Sleep(2 * time.Minute)
		s.wantAlarms(t)
		if got := s.state(1).Backup; got != 3*segSize {
			t.Errorf("backup LSN %s", got)
		}
	})
}

// TestSeveralTLIs follows a promotion: the old TLI ends before the segment of
// the switch, and the new one begins with it.
func TestSeveralTLIs(t *testing.T) {
	play(t, func(dir string, w *world) {
		complete(t, dir, 1, 1, sysid)
		complete(t, dir, 1, 2, sysid)
	}, func(t *testing.T, s *scene) {
		time.Sleep(5 * time.Second)
		history := fmt.Appendf(nil, "1\t%s\tno recovery target specified\n", pg.LSN(4*segSize+100))
		if err := os.WriteFile(filepath.Join(s.dir, "00000002.history"), history, 0o600); err != nil {
			t.Fatal(err)
		}
		complete(t, s.dir, 2, 5, sysid)
		time.Sleep(10 * time.Second)
		// Segment 3 of TLI 1 and segment 4 of TLI 2 never came.
		s.wantAlarms(t, "missing_file "+name(3), "missing_file "+pg.SegmentName(2, 4, segSize))
		complete(t, s.dir, 2, 4, sysid)
		complete(t, s.dir, 1, 3, sysid)
		time.Sleep(10 * time.Second)
		s.wantAlarms(t)
		if one, two := s.state(1), s.state(2); one.Backup != 4*segSize || two.Start != 4*segSize || two.Backup != 6*segSize {
			t.Errorf("TLI 1 from %s to %s, TLI 2 from %s to %s", one.Start, one.Backup, two.Start, two.Backup)
		}
		if _, there := s.object("00000002.history"); !there {
			t.Error("the history file is not in the bucket")
		}
		st := s.agent.Statuses()
		if len(st) != 1 || st[0].TLI != 2 || st[0].Backup != 6*segSize || !st[0].Leading || st[0].LagBytes != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestSegmentLostFromTheBucketIsKeptAndRestored(t *testing.T) {
	play(t, func(dir string, w *world) {
		for n := pg.SegmentNo(1); n <= 3; n++ {
			complete(t, dir, 1, n, sysid)
		}
		w.states[modelID] = map[pg.TLI]coord.Recorded{1: {Revision: 1, State: coord.State{Start: segSize, Backup: 4 * segSize, SegmentSize: segSize, SystemID: sysid}}}
		w.objects["prod/main/"+name(1)] = head(1, 1, sysid)
		w.objects["prod/main/"+name(2)] = []byte("replaced") // 3 is gone
	}, func(t *testing.T, s *scene) {
		s.down(t, s.w)
		s.remove = Remove{Mode: RemoveOn, Keep: 1}
		s.up(t, s.w)
		complete(t, s.dir, 1, 4, sysid)
		time.Sleep(20 * time.Second)
		for n, want := range map[pg.SegmentNo]bool{1: false, 2: true, 3: false, 4: true} {
			if _, err := os.Stat(filepath.Join(s.dir, name(n))); (err == nil) != want {
				t.Errorf("segment %d is here: %v", n, err == nil)
			}
		}
		s.wantAlarms(t, "lost "+name(2))
		if got, _ := s.object(name(3)); got != string(head(1, 3, sysid)) {
			t.Error("the segment that was gone is not in the bucket again")
		}
	})
}

func TestDryRunRemovesNothing(t *testing.T) {
	play(t, func(dir string, w *world) {
		for n := pg.SegmentNo(1); n <= 3; n++ {
			complete(t, dir, 1, n, sysid)
		}
	}, func(t *testing.T, s *scene) {
		s.down(t, s.w)
		s.remove = Remove{Mode: RemoveDry, Keep: 1}
		s.up(t, s.w)
		time.Sleep(20 * time.Second)
		if left, err := os.ReadDir(s.dir); err != nil || len(left) != 3 || s.counts.get("would_remove") != 2 || s.counts.get("removed") != 0 {
			t.Errorf("%d left, %d would be removed, %v", len(left), s.counts.get("would_remove"), err)
		}
	})
}

func TestPartialIsReplacedAsItGrows(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 0)
		complete(t, dir, 1, 1, sysid)
		begun := filepath.Join(dir, name(2)+".partial")
		write := func(b []byte) {
			if err := os.WriteFile(begun, append(b, make([]byte, segSize-len(b))...), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(head(1, 2, sysid))
		disk, err := local.New([]local.Source{{Path: dir, Kind: local.Segments, ID: modelID}}, local.Options{Rescan: time.Second, Poll: true})
		if err != nil {
			t.Fatal(err)
		}
		cfg := modelConfig("a")
		cfg.Partial = 5 * time.Second
		a := New(t.Context(), cfg, Parts{Local: disk, Bucket: w, Etcd: w, Journal: newMemoryJournal(), Counters: newCount()})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(20 * time.Second)
		w.mu.Lock()
		first := string(w.objects["prod/main/"+name(2)+".partial"])
		w.mu.Unlock()
		grown := head(1, 2, sysid)
		grown[4000] = 1
		write(grown)
		time.Sleep(20 * time.Second)
		w.mu.Lock()
		second := string(w.objects["prod/main/"+name(2)+".partial"])
		w.mu.Unlock()
		if first != string(head(1, 2, sysid)) || second != string(grown) {
			t.Error("the begun segment is not in the bucket as it was")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	})
}

func TestRequestBelowTheBackupLSN(t *testing.T) {
	play(t, func(dir string, w *world) {
		complete(t, dir, 1, 1, sysid)
		complete(t, dir, 1, 2, sysid)
	}, func(t *testing.T, s *scene) {
		time.Sleep(10 * time.Second)
		s.drop(name(1))
		key := requests.Key{ID: modelID, Segment: name(1)}
		s.w.mu.Lock()
		s.w.asked[key] = &fakeRequest{Request: requests.Request{Key: key, By: "scanner"}}
		s.w.mu.Unlock()
		time.Sleep(5 * time.Second)
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		if !s.w.asked[key].Done || string(s.w.objects["prod/main/"+name(1)]) != string(head(1, 1, sysid)) {
			t.Errorf("%+v", s.w.asked[key])
		}
	})
}

func TestQueueTakesTheLowestThatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Now)
		for _, at := range []pg.LSN{5, 3, 4} {
			q.add(at.String(), at)
			q.add(at.String(), at)
		}
		first := q.take(t.Context())
		q.again(first, time.Now().Add(time.Minute))
		got := []pg.LSN{first.at, q.take(t.Context()).at, q.take(t.Context()).at}
		start := time.Now()
		late := q.take(t.Context())
		if !slices.Equal(got, []pg.LSN{3, 4, 5}) || late.at != 3 || time.Since(start) != time.Minute {
			t.Errorf("took %v, then %s after %s", got, late.at, time.Since(start))
		}
		q.end(late)
		if q.has(late.name) || !q.has(pg.LSN(4).String()) {
			t.Error("what is known is wrong")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if q.take(ctx) != nil {
			t.Error("a task out of nothing")
		}
	})
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: time.Second, Max: 10 * time.Second}
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 1 << 40: 10 * time.Second} {
		for range 100 {
			if d := b.Wait(n); d < want/2 || d > want {
				t.Errorf("wait %d is %s, want up to %s", n, d, want)
			}
		}
	}
}

func TestErrorRatioForgets(t *testing.T) {
	r := ratio{window: time.Minute}
	for i := range 100 {
		r.add(time.Duration(i)*100*time.Millisecond, i%4 == 0)
	}
	if got, n := r.get(10 * time.Second); got != 0.25 || n != 100 {
		t.Errorf("%v of %d", got, n)
	}
	if got, n := r.get(10 * time.Minute); got != 0 || n != 0 {
		t.Errorf("%v of %d after ten minutes", got, n)
	}
}

func TestSafeNeedsTheSameCluster(t *testing.T) {
	states := map[pg.TLI]coord.Recorded{1: {State: coord.State{Start: 10, Backup: 100, SystemID: 5, SegmentSize: segSize}}}
	if got := Safe(states, nil, 6, segSize); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := Safe(states, map[string]pg.LSN{"a": 50, "b": 70}, 5, segSize); got[1] != (pg.Range{From: 10, To: 50}) {
		t.Errorf("%v", got)
	}
}

// TestNamesThatLeaveTheirPlace has a bucket that takes no name, as one does
// that is asked for a key outside of its timeline.
func TestNamesThatLeaveTheirPlace(t *testing.T) {
	if kind, result := verdict(fmt.Errorf("x: %w", ErrRefused)); kind != Bad || result != "refused" {
		t.Errorf("%s %s", kind, result)
	}
	a := newAlarms(t.Context(), newMemoryJournal(), slog.New(slog.DiscardHandler))
	if !a.raise(t.Context(), Bad, names.ID{}, "x", "d") || a.raise(t.Context(), Bad, names.ID{}, "x", "d") {
		t.Error("an alarm is raised once")
	}
}
