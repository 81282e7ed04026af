package coord

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/walbackup/names"
)

var line = names.ID{Tenant: "prod", Timeline: "main"}

func start(t *testing.T) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "rdetcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e, err := Embed(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return dial(t, dir)
}

func dial(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(context.Background(), Config{Endpoints: []string{EmbeddedEndpoint(dir)}, Prefix: "/redoubt"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func join(t *testing.T, c *Client, by string) *Session {
	t.Helper()
	s, err := c.Join(t.Context(), by, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOnlyTheLeaderAdvances(t *testing.T) {
	c := start(t)
	a, b := join(t, c, "a"), join(t, c, "b")
	defer func() { _ = b.Leave(context.Background()) }()
	first, err := a.Campaign(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	state := State{Start: 1 << 24, Backup: 1 << 24, SegmentSize: 1 << 24, SystemID: 1 << 63}
	at1, err := first.Advance(t.Context(), 1, Recorded{}, state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Advance(t.Context(), 1, Recorded{}, state); !errors.Is(err, ErrChanged) {
		t.Errorf("a state written twice from nothing: %v", err)
	}
	state.Backup = 3 << 24
	at3, err := first.Advance(t.Context(), 1, at1, state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Advance(t.Context(), 1, at1, state); !errors.Is(err, ErrChanged) {
		t.Errorf("advance from an old state: %v", err)
	}
	back := state
	back.Backup = 2 << 24
	if _, err := first.Advance(t.Context(), 1, at3, back); !errors.Is(err, ErrBackwards) {
		t.Errorf("backwards: %v", err)
	}
	if leaders, err := c.Leaders(t.Context()); err != nil || leaders[line] != "a" {
		t.Errorf("leaders %v, %v", leaders, err)
	}

	// The second agent waits, and leads as soon as the first is gone.
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Campaign(short, line); err == nil {
		t.Fatal("two leaders")
	}
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := b.Campaign(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	if second.Number <= first.Number {
		t.Errorf("term %d follows %d", second.Number, first.Number)
	}
	state.Backup = 9 << 24
	if _, err := first.Advance(t.Context(), 1, at3, state); !errors.Is(err, ErrNotLeader) {
		t.Errorf("the first leader went on: %v", err)
	}
	if held, err := first.Held(t.Context()); err != nil || held {
		t.Errorf("the first term lasts: %v, %v", held, err)
	}
	state.Backup = 4 << 24
	if _, err := second.Advance(t.Context(), 1, at3, state); err != nil {
		t.Error(err)
	}
	states, err := c.States(t.Context(), line)
	if err != nil || len(states) != 1 || states[1].Backup != 4<<24 || states[1].Term != second.Number || states[1].By != "b" || states[1].SystemID != 1<<63 {
		t.Errorf("recorded %+v, %v", states, err)
	}
	if held, err := second.Held(t.Context()); err != nil || !held {
		t.Errorf("the second term lasts: %v, %v", held, err)
	}
	if err := second.Resign(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := second.Advance(t.Context(), 1, states[1], state); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a leader that resigned went on: %v", err)
	}
}

// TestALeaseThatRanOutEndsTheTerm stops the keepalives, as SIGSTOP does.
func TestALeaseThatRanOutEndsTheTerm(t *testing.T) {
	c := start(t)
	a, b := join(t, c, "a"), join(t, c, "b")
	defer func() { _ = b.Leave(context.Background()) }()
	term, err := a.Campaign(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	a.session.Orphan()
	select {
	case <-a.Done():
	case <-time.After(time.Second):
		t.Error("the session goes on")
	}
	if _, err := b.Campaign(t.Context(), line); err != nil {
		t.Fatal(err)
	}
	if _, err := term.Advance(t.Context(), 1, Recorded{}, State{SegmentSize: 1 << 24}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("the old leader won: %v", err)
	}
}

func TestWhatIsNotUnderstoodIsAnError(t *testing.T) {
	c := start(t)
	if s, err := c.States(t.Context(), line); err != nil || len(s) != 0 {
		t.Fatalf("%v, %v", s, err)
	}
	for key, value := range map[string]string{
		"/redoubt/lsn/prod/main/00000001":  "{",
		"/redoubt/lsn/prod/main/0000000G":  `{"segment_size": 16777216}`,
		"/redoubt/lsn/prod/main/00000001 ": `{"segment_size": 16777216}`,
		"/redoubt/lsn/prod/x":              `{"segment_size": 16777216}`,
		"/redoubt/lsn/prod/main/00000002":  `{"segment_size": 16777216, "start_lsn": "0/2", "wal_backup_lsn": "0/1"}`,
		"/redoubt/lsn/prod/main/00000003":  `{"segment_size": 3}`,
	} {
		if _, err := c.etcd.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		if _, err := c.AllStates(t.Context()); err == nil || !strings.Contains(err.Error(), "etcd") {
			t.Errorf("%q: %v", key, err)
		}
		if _, err := c.etcd.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetHorizon(t.Context(), line, "replica", 0x123); err != nil {
		t.Fatal(err)
	}
	if h, err := c.Horizons(t.Context(), line); err != nil || h["replica"] != pg.LSN(0x123) {
		t.Errorf("%v, %v", h, err)
	}
	if _, err := c.etcd.Put(t.Context(), "/redoubt/horizon/prod/main/x", "all"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Horizons(t.Context(), line); err == nil {
		t.Error("a horizon that is no LSN is taken")
	}
}

func TestIdentityStays(t *testing.T) {
	dir, err := os.MkdirTemp("", "rdetcd")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var last string
	for range 2 {
		e, err := Embed(t.Context(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, dir)
		id, err := c.Identity(t.Context())
		if err != nil || len(id) < 20 || last != "" && id != last {
			t.Errorf("identity %q, was %q: %v", id, last, err)
		}
		last = id
		for _, l := range e.server.Peers {
			if a := l.Addr().String(); a != filepath.Join(dir, "peer.sock") {
				t.Errorf("etcd listens for members at %s", a)
			}
		}
		for _, l := range e.server.Clients {
			if a := l.Addr().String(); a != filepath.Join(dir, "client.sock") {
				t.Errorf("etcd listens for clients at %s", a)
			}
		}
		e.Close()
	}
	if other, err := start(t).Identity(t.Context()); err != nil || other == last {
		t.Errorf("another etcd has the same identity, or %v", err)
	}
	if _, err := Embed(t.Context(), dir+"/"+strings.Repeat("x", 100), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "data_dir") {
		t.Errorf("a path too long for a socket: %v", err)
	}
}
