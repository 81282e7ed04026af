package main

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pgtest"
)

// TestKilledDeletion kills `redoubt serve` while it deletes timelines that
// recovery made, at random moments: what is left is whole, or no server starts
// on it, and the next one goes on until nothing is left.
func TestKilledDeletion(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	made := t.TempDir()
	d := &deletion{t: t, tenant: filepath.Join(made, "acme"), config: recoversFrom(t, small(t), made), rnd: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))}
	d.start()
	for d.kills < kills() && !t.Failed() {
		d.round()
	}
	d.s.end(t)
	t.Logf("%d kills in %d deletions: %d before one was begun, %d in the middle, %d behind the last file; an undisturbed one took %v",
		d.kills, d.rounds, d.before, d.middle, d.behind, d.took)
}

type deletion struct {
	t      *testing.T
	s      *server
	tenant string // directory of what is made
	config string
	rnd    *rand.Rand
	took   time.Duration // of one that nobody disturbs, as it is seen from outside

	rounds, kills, before, middle, behind int
}

func (d *deletion) start() { d.s = started(d.t, command(d.t, "serve", "-c", d.config)) }

// round makes a timeline and deletes it; the first one undisturbed.
func (d *deletion) round() {
	d.rounds++
	id := fmt.Sprintf("%032x", d.rounds)
	dir := filepath.Join(d.tenant, id)
	if got := d.s.recoverInto(d.t, id); got != http.StatusAccepted {
		d.t.Fatalf("recover: %d", got)
	}
	d.s.reaches(d.t, id, active)
	for i := range 1000 { // a server has run on it, and has made tables
		must(d.t, os.WriteFile(filepath.Join(dir, "base", "5", fmt.Sprint(100000+i)), nil, 0o600))
	}
	files := count(d.t, dir)
	if d.took == 0 {
		start := time.Now()
		d.s.ask(d.t, http.StatusAccepted, "DELETE", "/v1/tenant/acme/timeline/"+id, "")
		for !d.gone(id) {
			time.Sleep(time.Millisecond)
		}
		d.took = time.Since(start)
		d.nothing(id)
		return
	}
	for {
		d.kill(id)
		left := count(d.t, dir)
		switch {
		case left == 0:
			d.behind++
		case left == files:
			d.before++
		default:
			d.middle++
		}
		if left > 0 && left < files && startable(d.t, dir) {
			d.t.Errorf("%d of %d files are left, and it looks finished", left, files)
		}
		d.start()
		if d.gone(id) {
			d.nothing(id)
			return
		}
		if d.kills >= kills() { // the last one is left alone
			d.ask(id)
			for !d.gone(id) {
				time.Sleep(10 * time.Millisecond)
			}
			d.nothing(id)
			return
		}
	}
}

// kill asks for the deletion, which may be under way, and kills the server.
func (d *deletion) kill(id string) {
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		d.ask(id)
	}()
	time.Sleep(time.Duration(d.rnd.Int64N(int64(d.took)/4 + 1))) // so that one deletion is killed again and again
	must(d.t, d.s.cmd.Process.Signal(syscall.SIGKILL))
	_ = d.s.cmd.Wait() // it was killed
	<-asked
	d.kills++
}

// ask asks for the deletion; the server may be killed meanwhile.
func (d *deletion) ask(id string) {
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodDelete, d.s.url+"/v1/tenant/acme/timeline/"+id, http.NoBody)
	if err != nil {
		d.t.Error(err)
		return
	}
	if a, err := http.DefaultClient.Do(r); err == nil {
		_ = a.Body.Close() // only its status counts
		if a.StatusCode != http.StatusAccepted && a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusConflict {
			d.t.Errorf("delete %s: %d", id, a.StatusCode)
		}
	}
}

// gone reports whether the server knows the timeline no more; until then it is whole or being deleted.
func (d *deletion) gone(id string) bool {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.s.url+"/v1/tenant/acme/timeline/"+id, http.NoBody)
	must(d.t, err)
	a, err := http.DefaultClient.Do(r)
	must(d.t, err)
	defer func() { must(d.t, a.Body.Close()) }()
	if a.StatusCode == http.StatusNotFound {
		return true
	}
	body, err := io.ReadAll(a.Body)
	must(d.t, err)
	tl := parse[finding.TimelineStatus](d.t, string(body))
	if a.StatusCode != http.StatusOK || tl.State != finding.StateActive && tl.State != finding.StateDeleting {
		d.t.Errorf("%d: it is %s", a.StatusCode, tl.State)
	}
	return false
}

// nothing wants nothing of a timeline to be left.
func (d *deletion) nothing(id string) {
	d.t.Helper()
	entries, err := os.ReadDir(d.tenant)
	must(d.t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), id) && !strings.HasSuffix(e.Name(), ".lock") {
			d.t.Errorf("it is deleted, and there is %s", e.Name())
		}
	}
}

// count counts files; 0 if there is no directory.
func count(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return n
}
