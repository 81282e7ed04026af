package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/storage/storagetest"
)

// recoversFrom is the configuration of a server that recovers below made, with a data_dir of its own.
func recoversFrom(t *testing.T, bucket, made string) (config string) {
	t.Helper()
	dir := t.TempDir()
	config = filepath.Join(dir, "redoubt.yaml")
	put(t, config, fmt.Appendf(nil, `
data_dir: %s/state
sources: [{name: demo, wal: %q, layout: redoubt}]
recovery: {dir: %s, durable_every: 1MiB, retries: {attempts: 100, first_wait: 100ms, max_wait: 2s}}
http: {listen: %q}
`, dir, bucket, made, freePort(t)))
	return config
}

// recoverInto asks for a recovery of the fixture and returns the status.
func (s *server) recoverInto(t *testing.T, target string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/tenant/acme/timeline/main/recover?from_lsn=0/1200000&target="+target, http.NoBody)
	must(t, err)
	a, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, a.Body.Close())
	return a.StatusCode
}

// reaches waits until a timeline is as wanted.
func (s *server) reaches(t *testing.T, id string, is func(finding.TimelineStatus) bool) (tl finding.TimelineStatus) {
	t.Helper()
	for until := time.Now().Add(4 * time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if tl = parse[finding.TimelineStatus](t, s.ask(t, 200, "GET", "/v1/tenant/acme/timeline/"+id, "")); is(tl) {
			return tl
		}
	}
	t.Fatalf("%s is %s: %+v", id, tl.State, tl.Recovery)
	return tl
}

func active(tl finding.TimelineStatus) bool { return tl.State == finding.StateActive }

// TestTwoServersOneTarget: two servers, each with a ledger of its own, are told
// to recover into the same target at once: one does, the other refuses, then
// and when it is made. Two commands into one directory do no better.
func TestTwoServersOneTarget(t *testing.T) {
	t.Parallel()
	bucket, _ := planted(t)
	made, target := t.TempDir(), strings.Repeat("c", 32)
	a, b := serve(t, recoversFrom(t, bucket, made)), serve(t, recoversFrom(t, bucket, made))
	said := make(chan int)
	for _, s := range []*server{a, b} {
		go func() { said <- s.recoverInto(t, target) }()
	}
	first, second := <-said, <-said
	if first+second != http.StatusAccepted+http.StatusConflict {
		t.Fatalf("answers %d and %d, want one 202 and one 409", first, second)
	}
	winner, loser := a, b
	if strings.Contains(b.ask(t, 200, "GET", "/v1/tenant", ""), "acme") {
		winner, loser = b, a
	}
	tl := winner.reaches(t, target, active)
	whole := contents(t, tl.Recovery.Directory)
	if got := loser.recoverInto(t, target); got != http.StatusConflict {
		t.Errorf("into what another server made: %d, want 409", got)
	}
	same(t, "what another server made", whole, contents(t, tl.Recovery.Directory))
	a.end(t)
	b.end(t)

	dir := filepath.Join(t.TempDir(), "data")
	codes := make(chan outcome)
	for range 2 {
		go func() { codes <- finish(t, command(t, recoverArgs(bucket, dir)...)) }()
	}
	x, y := <-codes, <-codes
	if x.code+y.code != exitClean+exitUsage || !startable(t, dir) {
		t.Errorf("exits %d and %d, want 0 and 2:\n%s\n%s", x.code, y.code, x.stderr, y.stderr)
	}
}

// TestBucketGoneDuringRecovery kills the server and the store behind it in the
// middle; the next server says that the store is away and tries again, and goes on when it is back.
func TestBucketGoneDuringRecovery(t *testing.T) {
	t.Parallel()
	fixture, _ := planted(t)
	s3 := storagetest.KillableS3(t)
	location := s3.Bucket("bucket")
	must(t, os.CopyFS(filepath.Join(s3.Dir, "bucket", "acme", "main"), os.DirFS(filepath.Join(fixture, "acme", "main"))))
	config, made := "", t.TempDir()
	config = recoversFrom(t, location, made)
	start := func() *server { return serveWith(t, config, s3.Env()) }
	s := start()
	for n := 0; ; n++ {
		id := fmt.Sprintf("%032x", n+1)
		for until := time.Now().Add(time.Minute); s.recoverInto(t, id) != http.StatusAccepted; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("no recovery begins")
			}
		}
		must(t, s.cmd.Process.Signal(syscall.SIGKILL))
		_ = s.cmd.Wait() // it was killed
		s3.Kill()
		s = start()
		tl := s.reaches(t, id, func(tl finding.TimelineStatus) bool { return active(tl) || tl.Recovery.Reason != "" })
		if active(tl) && n < 20 { // it was over before it was killed
			s3.Start()
			continue
		}
		if tl.State != finding.StateRecovering || !strings.Contains(tl.Recovery.Reason, "it is tried again in") {
			t.Errorf("without its store it is %s: %s", tl.State, tl.Recovery.Reason)
		}
		if startable(t, tl.Recovery.Directory) {
			t.Error("it looks finished")
		}
		s3.Start()
		tl = s.reaches(t, id, active)
		if tl.Recovery.Reason != "" || !startable(t, tl.Recovery.Directory) {
			t.Errorf("%+v", tl.Recovery)
		}
		t.Logf("killed %d times; in the end durable %v, resumed %v", n+1, tl.Recovery.DurableLSN, tl.Recovery.ResumedLSN)
		break
	}
	s.end(t)
}
