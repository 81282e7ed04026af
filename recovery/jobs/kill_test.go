package jobs

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// slow takes its time, so that a kill meets it in the middle.
type slow struct{ fake }

func (s *slow) Recover(ctx context.Context, j ledger.Recovery, progress Progress) (Result, error) {
	if err := makeDirectory(j.Directory, func() { time.Sleep(200 * time.Microsecond) }); err != nil {
		return Result{}, err
	}
	return s.fake.finish(j)
}

func (f *fake) finish(j ledger.Recovery) (Result, error) {
	return Result{Target: 0x3000000, Last: 0x2ffffd0}, os.WriteFile(filepath.Join(j.Directory, "global", "pg_control"), []byte("whole"), 0o600)
}

// child is the process that is killed: it recovers and deletes until then.
func child() bool {
	path, dir := os.Getenv("JOBS_TEST_LEDGER"), os.Getenv("JOBS_TEST_DIR")
	if path == "" {
		return false
	}
	l, err := ledger.Open(path)
	if err != nil {
		panic(err)
	}
	m := New(context.Background(), Config{Ledger: l, Engine: &slow{}, Dir: dir, Parallel: 8, Retries: Retries{Attempts: 1}, Log: slog.New(slog.DiscardHandler)})
	go func() { _ = m.Serve() }()
	fmt.Println("ready")
	for {
		if _, err := m.Start(context.Background(), main); err != nil {
			panic(err)
		}
		all, err := l.Recoveries(context.Background(), finding.StateActive)
		if err != nil {
			panic(err)
		}
		for _, r := range all {
			if err := m.Delete(context.Background(), r.Tenant, r.Timeline); err != nil {
				panic(err)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestKilled kills processes that recover and delete, at random moments, fifty
// times: the next one goes on, and in the end nothing looks finished that is
// not, and nothing is left of what is deleted.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	path := w.ledger.Path()
	must(t, os.MkdirAll(w.dir, 0o700)) // a kill may come before the first recovery makes it
	for range 50 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "JOBS_TEST_LEDGER="+path, "JOBS_TEST_DIR="+w.dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		var ready [5]byte
		_, err = out.Read(ready[:])
		must(t, err)
		time.Sleep(rand.N(120 * time.Millisecond))
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		w.checkDirectories()
	}
	w.manager()
	left, err := w.ledger.Recoveries(t.Context())
	must(t, err)
	count := map[finding.State]int{}
	for _, r := range left {
		switch r.State {
		case finding.StateRecovering:
			w.wait(r.Timeline, finding.StateActive)
		case finding.StateDeleting:
			w.wait(r.Timeline, finding.StateDeleted)
		}
		count[r.State]++
	}
	t.Logf("after 50 kills: %v", count)
	if count[finding.StateDeleted] == 0 || count[finding.StateRecovering]+count[finding.StateDeleting] == 0 {
		t.Errorf("the kills met nothing: %v", count)
	}
	w.checkDirectories()
}

// checkDirectories holds the directories against the ledger.
func (w *world) checkDirectories() {
	w.t.Helper()
	all, err := w.ledger.Recoveries(context.Background())
	must(w.t, err)
	for _, r := range all {
		_, err := os.Stat(r.Directory)
		switch r.State {
		case finding.StateActive:
			if !w.whole(r.Timeline) {
				w.t.Errorf("%s is active and not whole", r.Timeline)
			}
		case finding.StateDeleted:
			if err == nil {
				w.t.Errorf("%s is deleted and there", r.Timeline)
			}
		case finding.StateFailed:
			w.t.Errorf("%s failed: %s", r.Timeline, r.Reason)
		}
	}
	must(w.t, filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error { return err }))
}
