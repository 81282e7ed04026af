package main

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pgtest"
)

// TestSnapshotKilled kills the making of snapshots at random moments, two kinds
// of it: what looks finished is, and the next run of the same command finishes the rest
// and takes away what was left behind.
func TestSnapshotKilled(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	bucket := small(t)
	base := filepath.Join(bucket, "acme", "main", "snapshots", "nightly-1")
	timeline := []string{"--wal", bucket, "--tenant", "acme", "--timeline", "main", "--format", "json"}
	for name, m := range map[string]*making{
		"create": {again: "already there", args: append([]string{"snapshot", "create", "--base", base}, timeline...)},
		"initdb": {again: "proven", args: append([]string{"snapshot", "initdb", "--data-dir", base}, timeline...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m.undisturbed(t)
			m.most = kills()
			for m.kills < m.most && !t.Failed() {
				m.round(t)
			}
			t.Logf("%d kills: %d left something unfinished, %d of these a temporary file, %d a finished snapshot; an undisturbed run takes %v",
				m.kills, m.left, m.temporary, m.finished, m.took)
		})
	}
}

// making is a command that makes a snapshot in an empty directory.
type making struct {
	args  []string
	again string // what it says when the snapshot is there
	name  string
	want  string // the manifest
	took  time.Duration
	rnd   *rand.Rand

	most, kills, left, temporary, finished int
}

func (m *making) into(to string) []string {
	return append(m.args[:len(m.args):len(m.args)], "--to", to)
}

// undisturbed notes what is to come out, and how long that takes.
func (m *making) undisturbed(t *testing.T) {
	t.Helper()
	to, start := t.TempDir(), time.Now()
	o := redoubt(t, m.into(to)...)
	m.took = time.Since(start)
	o.want(t, exitClean)
	if t.Failed() {
		t.FailNow()
	}
	m.rnd = rand.New(rand.NewPCG(uint64(start.UnixNano()), 0))
	m.name = parse[snapshotResult](t, o.stdout).Name
	m.want = string(read(t, filepath.Join(to, m.name, "backup_manifest")))
}

// round kills until the snapshot is there, or there were enough kills.
func (m *making) round(t *testing.T) {
	t.Helper()
	to := t.TempDir()
	for {
		killed := m.killed(t, to)
		if m.looksFinished(t, to) {
			if killed {
				m.finished++
			}
			redoubt(t, m.into(to)...).want(t, exitClean, m.again)
			return
		}
		if !killed {
			t.Fatal("it ended well, and there is no snapshot")
		}
		if unfinished := leftovers(t, to); unfinished.objects > 0 {
			m.left++
			m.temporary += min(unfinished.temporary, 1)
		}
		if m.kills >= m.most {
			redoubt(t, m.into(to)...).want(t, exitClean)
			if !m.looksFinished(t, to) || leftovers(t, to).temporary > 0 {
				t.Errorf("after an undisturbed run: %+v", leftovers(t, to))
			}
			return
		}
	}
}

// killed starts the command and kills it at a random moment, unless it ends before.
func (m *making) killed(t *testing.T, to string) bool {
	t.Helper()
	c := command(t, m.into(to)...)
	must(t, c.Start())
	timer := time.AfterFunc(time.Duration(m.rnd.Int64N(int64(m.took))), func() { _ = c.Process.Kill() }) // it may have ended
	err := c.Wait()
	timer.Stop()
	if err == nil {
		return false
	}
	if s, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() {
		t.Fatalf("it was not killed, and failed: %v", err)
	}
	m.kills++
	return true
}

// looksFinished reports whether anybody would take what is there for a
// snapshot; then it must be whole, and as it is without a kill.
func (m *making) looksFinished(t *testing.T, to string) bool {
	t.Helper()
	found, err := snapshot.List(t.Context(), to, snapshot.Options{})
	must(t, err)
	dir := filepath.Join(to, m.name)
	s, err := snapshot.Open(t.Context(), dir, snapshot.Options{})
	if len(found) == 0 {
		if err == nil || !errors.Is(err, snapshot.ErrUnfinished) && leftovers(t, to).objects > 0 {
			t.Errorf("what a killed maker left is opened: %v", err)
		}
		return false
	}
	must(t, err)
	defer func() { must(t, s.Close()) }()
	must(t, s.Walk(t.Context(), snapshot.Ignore{}))
	if p := s.Problems(); len(p) > 0 || len(found) != 1 || found[0].Err != nil {
		t.Errorf("it looks finished: %+v; problems %v", found, p)
	}
	same(t, "the manifest", m.want, string(read(t, filepath.Join(dir, "backup_manifest"))))
	return true
}

// remains are the files of a snapshot that was not finished.
type remains struct{ objects, temporary int }

func leftovers(t *testing.T, to string) (r remains) {
	t.Helper()
	must(t, filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case filepath.Ext(path) == ".tmp":
			r.temporary++
		default:
			r.objects++
		}
		return nil
	}))
	return r
}
