package basebackup

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// control is the pg_control of a cluster that was stopped at 0/B3B008.
func control(t testing.TB) []byte {
	t.Helper()
	c, err := os.ReadFile("../pg/datadir/testdata/control/17.bin")
	if err != nil {
		t.Fatal(err)
	}
	ctl, err := datadir.ParseControl(c)
	if err != nil {
		t.Fatal(err)
	}
	ctl.State, ctl.CheckPoint.Redo = datadir.ShutDown, ctl.CheckPointLSN
	if c, err = datadir.EncodeControl(c, ctl); err != nil {
		t.Fatal(err)
	}
	return c
}

// small is a data directory of a few files; with a relation of its own.
func small(t testing.TB, relation string) Fill {
	c := control(t)
	ctl, err := datadir.ParseControl(c)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, tar *Tar) (Facts, error) {
		tar.SetTime(time.Unix(ctl.CheckPoint.Time, 0))
		err := tar.Content(datadir.ControlPath, c)
		if err == nil {
			err = tar.Content(datadir.VersionPath, []byte("17\n"))
		}
		if err == nil {
			err = tar.Content("base/5/16384", []byte(strings.Repeat(relation, pg.BlockSize/len(relation))))
		}
		return Facts{Major: 17, SystemID: ctl.SystemIdentifier, WAL: []datadir.WALRange{{TLI: 1, Range: pg.Range{From: ctl.CheckPointLSN, To: ctl.CheckPointLSN + 120}}}}, err
	}
}

// kept is a directory of snapshots, and the place of one in it.
func kept(t testing.TB, wrap func(*storage.Store) *storage.Store) (dir string, p *Place) {
	t.Helper()
	dir = t.TempDir()
	s, err := storage.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if wrap != nil {
		s = wrap(s)
	}
	sub, err := s.Sub("first")
	if err != nil {
		t.Fatal(err)
	}
	return dir, &Place{Store: sub, Retry: storage.Retry{Attempts: 1}, Log: slog.New(slog.DiscardHandler)}
}

// listed names the snapshots that there are for anybody who looks.
func listed(t testing.TB, dir string) (names []string) {
	t.Helper()
	found, err := snapshot.List(t.Context(), dir, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range found {
		if b.Err != nil {
			t.Errorf("%s: %v", b.Name, b.Err)
		}
		names = append(names, b.Name)
	}
	return names
}

func TestStoreOnce(t *testing.T) {
	dir, p := kept(t, nil)
	ctx := t.Context()
	m, err := p.Put(ctx, 0, small(t, "abcd"))
	if err != nil {
		t.Fatal(err)
	}
	if state, _, err := p.Look(ctx); state != Unfinished || err != nil || len(listed(t, dir)) != 0 {
		t.Errorf("before it is finished: state %d, %v, listed %v", state, err, listed(t, dir))
	}
	if _, err := snapshot.Open(ctx, filepath.Join(dir, "first"), snapshot.Options{}); !errors.Is(err, snapshot.ErrUnfinished) {
		t.Errorf("open before it is finished: %v", err)
	}
	if err := p.Wait(ctx, m); err != nil {
		t.Fatal(err)
	}
	if state, content, err := p.Look(ctx); state != Unproven || string(content) != string(m) || err != nil || len(listed(t, dir)) != 0 {
		t.Errorf("before it is proven: state %d, %v, listed %v", state, err, listed(t, dir))
	}
	for range 2 {
		if err := p.Finish(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	if names := listed(t, dir); len(names) != 1 {
		t.Errorf("listed %v", names)
	}
	if again, err := p.Put(ctx, 0, small(t, "abcd")); err != nil || string(again) != string(m) {
		t.Errorf("the same again: %v", err)
	}
	if _, err := p.Put(ctx, 0, small(t, "abce")); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "base/5/16384") {
		t.Errorf("another content: %v", err)
	}
	proveWhole(t, dir)
}

// proveWhole reads a finished snapshot against its manifest.
func proveWhole(t testing.TB, dir string) {
	t.Helper()
	s, err := snapshot.Open(t.Context(), filepath.Join(dir, "first"), snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Walk(t.Context(), snapshot.Ignore{}); err != nil || len(s.Problems()) > 0 || !s.Manifest() {
		t.Errorf("%v, problems %v, manifest %t", err, s.Problems(), s.Manifest())
	}
}

// TestFinishedByTheNext: a tar that a killed maker left is gone on with if it
// is what is to be written, and never overwritten.
func TestFinishedByTheNext(t *testing.T) {
	dir, p := kept(t, nil)
	ctx := t.Context()
	if _, err := p.Put(ctx, 0, small(t, "abcd")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Put(ctx, 0, small(t, "efgh")); !errors.Is(err, ErrConflict) {
		t.Errorf("another content: %v", err)
	}
	m, err := p.Put(ctx, 0, small(t, "abcd"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Finish(ctx, m); err != nil {
		t.Fatal(err)
	}
	proveWhole(t, dir)
	tar := filepath.Join(dir, "first", tarName)
	b, err := os.ReadFile(tar)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(tar, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check(ctx, m); err == nil {
		t.Error("a damaged tar is not noticed")
	}
}

// TestFaults fails the n-th operation of the store, and all after it or it
// alone, for every n: nothing that looks like a snapshot is one that is not,
// and the next maker finishes it.
func TestFaults(t *testing.T) {
	for _, once := range []bool{false, true} {
		for n := int64(0); ; n++ {
			var faults *storagetest.Faults
			dir, p := kept(t, func(s *storage.Store) *storage.Store {
				s, faults = storagetest.Inject(s, storagetest.From(n, once))
				return s
			})
			attempt := func() error {
				m, err := p.Put(t.Context(), 0, small(t, "abcd"))
				if err == nil {
					err = p.Finish(t.Context(), m)
				}
				return err
			}
			err := attempt()
			if err == nil && faults.Calls() <= n {
				break
			}
			if len(listed(t, dir)) > 0 {
				proveWhole(t, dir)
			} else if err == nil {
				t.Fatalf("fault %d: finished, and not there", n)
			}
			faults.Fail = nil
			if err := attempt(); err != nil {
				t.Fatalf("after fault %d (%v): %v", n, err, err)
			}
			proveWhole(t, dir)
		}
	}
}

// TestRetries: what fails for a moment is tried again, the stream of files too.
func TestRetries(t *testing.T) {
	for n := range int64(12) {
		dir, p := kept(t, func(s *storage.Store) *storage.Store {
			s, _ = storagetest.Inject(s, storagetest.From(n, true))
			return s
		})
		p.Retry = storage.Retry{Attempts: 2, Wait: time.Microsecond}
		m, err := p.Put(t.Context(), 0, small(t, "abcd"))
		if err == nil {
			err = p.Finish(t.Context(), m)
		}
		if err != nil {
			t.Fatalf("fault %d: %v", n, err)
		}
		proveWhole(t, dir)
	}
}

// TestRefusesTheirs: what others keep under the name stays theirs.
func TestRefusesTheirs(t *testing.T) {
	dir, p := kept(t, nil)
	if err := os.MkdirAll(filepath.Join(dir, "first"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "first", "base.tar"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Put(t.Context(), 0, small(t, "abcd")); !errors.Is(err, ErrConflict) {
		t.Errorf("got %v", err)
	}
}

// TestFillErrors: who writes the files is told his own error, and nothing is stored.
func TestFillErrors(t *testing.T) {
	own := errors.New("own")
	for name, fill := range map[string]Fill{
		"own":       func(context.Context, *Tar) (Facts, error) { return Facts{}, own },
		"late":      func(ctx context.Context, tar *Tar) (Facts, error) { f, _ := small(t, "abcd")(ctx, tar); return f, own },
		"panic":     func(context.Context, *Tar) (Facts, error) { panic("boom") },
		"too short": func(_ context.Context, tar *Tar) (Facts, error) { _, err := tar.File("a", 3); return Facts{}, err },
		"too long": func(_ context.Context, tar *Tar) (Facts, error) {
			w, err := tar.File("a", 3)
			if err == nil {
				_, err = io.WriteString(w, "four")
			}
			return Facts{}, err
		},
		"twice": func(_ context.Context, tar *Tar) (Facts, error) {
			return Facts{}, errors.Join(tar.Content("a", nil), tar.Content("a", nil))
		},
		"outside": func(_ context.Context, tar *Tar) (Facts, error) { return Facts{}, tar.Content("../a", nil) },
	} {
		dir, p := kept(t, nil)
		if _, err := p.Put(t.Context(), 0, fill); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(name, "own") && !errors.Is(err, own) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "first", tarName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a tar is there: %v", name, err)
		}
	}
}
