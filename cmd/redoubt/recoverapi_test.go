package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/api"
	"redoubt/internal/archive"
	"redoubt/internal/finding"
	"redoubt/internal/pgtest"
)

// recovering is a cluster that archives from its first second, with a server
// that recovers it.
type recovering struct {
	*archiving
	bucket, config, made string // made is below which the server recovers
	*server
}

func newRecovering(t *testing.T, major int) *recovering {
	r := &recovering{}
	r.archiving = readyToArchive(t, major, func(c *pgtest.Cluster) string { r.bucket = c.Dir("bucket"); return r.bucket }, "zstd")
	redoubt(t, "snapshot", "initdb", "-c", r.conf, "--data-dir", r.Data).want(t, exitInconclusive, "not proven yet")
	giveTo(t, r.bucket, r.bucket)
	r.Start()
	r.made = r.Dir("made") // belongs to PostgreSQL's user, and so does what is recovered there
	dir := t.TempDir()
	put(t, filepath.Join(dir, "token"), []byte("0123456789abcdef\n"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	r.config = filepath.Join(dir, "serve.yaml")
	put(t, r.config, fmt.Appendf(nil, `data_dir: %s/state
sources: [{name: prod, wal: %s, layout: redoubt}]
recovery: {dir: %s, durable_every: 1MiB}
http: {listen: %q, token_file: %s/token}
`, dir, r.bucket, r.made, address, dir))
	return r
}

// giveTo gives all that is below a directory to the owner of another.
func giveTo(t *testing.T, dir, like string) {
	t.Helper()
	info, err := os.Stat(like)
	must(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, int(owner.Uid), int(owner.Gid)))
	}))
}

// serve starts the server; what was started before must have ended.
func (r *recovering) serve(t *testing.T) {
	t.Helper()
	r.server = serve(t, r.config)
	r.token = "0123456789abcdef"
}

func (r *recovering) timeline(t *testing.T, id string) finding.TimelineStatus {
	t.Helper()
	return parse[finding.TimelineStatus](t, r.ask(t, 200, "GET", "/v1/tenant/acme/timeline/"+id, ""))
}

// recover lets the command do it, and returns what it says.
func (r *recovering) recover(t *testing.T, args ...string) outcome {
	t.Helper()
	return finish(t, r.recoverCommand(t, args...))
}

func (r *recovering) recoverCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := command(t, append([]string{"recover", "--api", r.url, "--tenant", "acme", "--format", "json"}, args...)...)
	c.Env = append(os.Environ(), tokenVariable+"="+r.token)
	return c
}

// TestRecoverByAPI makes timelines of a cluster that archives, lets a real
// PostgreSQL go on with one under the new id, and verifies it across the LSN
// at which it left its ancestor. The server is killed in the middle.
func TestRecoverByAPI(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { proveRecovery(t, major) })
	}
}

func proveRecovery(t *testing.T, major int) {
	r := newRecovering(t, major)
	work := func(c *pgtest.Cluster, n int) {
		for range n {
			c.Exec("INSERT INTO kept (filler) SELECT repeat(md5(g::text), 20) FROM generate_series(1, 700) g", "UPDATE kept SET filler = filler || 'x' WHERE id % 97 = 0", "CHECKPOINT")
		}
	}
	r.Exec("CREATE TABLE kept (id serial PRIMARY KEY, filler text)")
	work(r.Cluster, 4)
	r.Exec("INSERT INTO kept (filler) VALUES ('the last one')")
	want, to := r.Query(tally), r.LSN()
	moment := r.Query(`SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)
	work(r.Cluster, 2)
	end := r.Query(tally)
	r.archived(t, r.SwitchWAL())

	r.serve(t)
	none := "/v1/tenant/acme/timeline/main/recover"
	if body := r.ask(t, 422, "POST", none, ""); !strings.Contains(body, "redoubt snapshot initdb") {
		t.Errorf("without a proven snapshot: %s", body)
	}
	redoubt(t, "snapshot", "initdb", "-c", r.conf).want(t, exitClean, "proven")
	r.ask(t, 404, "POST", "/v1/tenant/acme/timeline/other/recover", "")
	r.ask(t, 404, "POST", "/v1/tenant/other/timeline/main/recover", "")
	r.ask(t, 422, "POST", none+"?to_lsn=0/28", "")
	if body := r.ask(t, 422, "POST", none+"?to_lsn=7F/0", ""); !strings.Contains(body, "behind the WAL in the archive") || !strings.Contains(body, "leave to_lsn out") {
		t.Errorf("a to_lsn that the archive has not: %s", body)
	}
	r.ask(t, 422, "POST", none+"?from_lsn=7F/0&target="+strings.Repeat("a", 32), "")
	r.ask(t, 422, "POST", none+"?from_lsn=0/28&target="+strings.Repeat("a", 32), "")
	if r.ask(t, 409, "DELETE", "/v1/tenant/acme/timeline/main", ""); r.ask(t, 409, "POST", "/v1/tenant/acme/timeline/main/cancel", "") == "" {
		t.Error("no reason")
	}

	begun := parse[api.Recovering](t, r.recover(t, "--timeline", "main", "--to-lsn", to.String()).stdout)
	if got := r.timeline(t, begun.TimelineID); !got.Shadow || *got.AncestorTimelineID != "main" || *got.TargetLSN != to {
		t.Errorf("right after the call: %+v", got)
	}
	waiting := r.recoverCommand(t, "--timeline", "main", "--wait") // to the end of the WAL
	said := make(chan outcome, 1)
	go func() { said <- finish(t, waiting) }()
	r.killed(t, 2)
	r.serve(t)
	left := r.timeline(t, begun.TimelineID)
	o := <-said
	o.want(t, exitClean)
	whole := parse[finding.TimelineStatus](t, o.stdout)
	if at := r.await(t, begun.TimelineID); left.State == finding.StateRecovering && left.Recovery.DurableLSN != nil &&
		(at.Recovery.ResumedLSN == nil || *at.Recovery.ResumedLSN < *left.Recovery.DurableLSN) {
		t.Errorf("killed behind its durable point at %s it did not go on from there: %+v", left.Recovery.DurableLSN, at.Recovery)
	} else {
		t.Logf("killed: %s, durable %v; then it went on from %v", left.State, left.Recovery.DurableLSN, at.Recovery.ResumedLSN)
	}
	at := r.await(t, begun.TimelineID)
	if at.State != finding.StateActive || *at.AncestorLSN != *at.LastRecordLSN || *at.AncestorLSN > to || *at.TargetLSN != to {
		t.Fatalf("recovered: %+v, %+v", at, at.Recovery)
	}
	if whole.State != finding.StateActive || whole.Recovery.Base != initdbName || *whole.AncestorLSN <= to {
		t.Errorf("recovered to the end: %+v", whole)
	}
	if metrics := r.ask(t, 200, "GET", "/metrics", ""); !strings.Contains(metrics, `redoubt_recoveries{state="active"} 2`) {
		t.Error("metrics do not count them")
	}
	if page := r.ask(t, 200, "GET", "/timeline", ""); !strings.Contains(page, begun.TimelineID) || !strings.Contains(page, "shadow") {
		t.Error("the page does not show them as shadows")
	}

	if major == 17 {
		r.otherTargets(t, moment, want, end)
	}
	last := r.Beside()
	adopt(t, last, whole)
	if got := last.Query(tally); got != end {
		t.Errorf("the end of the WAL holds %s, want %s", got, end)
	}
	last.Stop(pgtest.Fast)
	made := r.Beside()
	goOn := r.goOn
	if major == 15 {
		goOn = r.goOnWithAgent
	}
	stored := goOn(t, made, at)
	adopt(t, made, at)
	if got := made.Query(tally); got != want {
		t.Errorf("recovered to %s it holds %s, want %s", to, got, want)
	}
	r.ask(t, 409, "DELETE", "/v1/tenant/acme/timeline/"+begun.TimelineID, "") // a server runs on it
	work(made, 3)
	b := made.BaseBackup(filepath.Join(made.Dir("backup"), "b1"))
	stored(made.SwitchWAL())
	if _, err := os.Stat(filepath.Join(r.bucket, "acme", begun.TimelineID, archive.AncestorKey)); err != nil {
		t.Error(err)
	}
	v := redoubt(t, "verify", "--base", filepath.Join(r.bucket, "acme", "main", "snapshots", initdbName), "--wal", r.bucket, "--layout", "redoubt",
		"--cluster", "acme/"+begun.TimelineID, "--official", b.Dir, "--format", "json")
	v.want(t, exitClean)
	if got := v.verification(t); got.Verdict != finding.Clean || got.Span.To <= *at.AncestorLSN || got.Span.From >= *at.AncestorLSN || got.Coverage.BlocksCompared == 0 {
		t.Errorf("verification across %s: %s of %+v, %v", at.AncestorLSN, got.Verdict, got.Span, got.Reasons)
	}
	made.Stop(pgtest.Fast)
	r.ask(t, 202, "DELETE", "/v1/tenant/acme/timeline/"+begun.TimelineID, "")
	r.gone(t, begun.TimelineID)
	if _, err := os.Stat(at.Recovery.Directory); err == nil {
		t.Error("the directory is there still")
	}
	r.end(t)
}

// otherTargets recovers to a moment, from official pages at an LSN, and to what only reading the WAL shows is not there.
func (r *recovering) otherTargets(t *testing.T, moment, then, end string) {
	t.Helper()
	holds := func(what string, o outcome, want string) finding.TimelineStatus {
		t.Helper()
		o.want(t, exitClean)
		tl := parse[finding.TimelineStatus](t, o.stdout)
		if tl.State != finding.StateActive || tl.TargetLSN == nil || tl.AncestorLSN == nil || *tl.AncestorLSN > *tl.TargetLSN {
			t.Fatalf("%s: %+v", what, tl)
		}
		c := r.Beside()
		adopt(t, c, tl)
		if got := c.Query(tally); got != want {
			t.Errorf("%s it holds %s, want %s", what, got, want)
		}
		c.Stop(pgtest.Fast)
		return tl
	}
	at := holds("recovered to "+moment, r.recover(t, "--timeline", "main", "--to-time", moment, "--wait"), then)
	if at.Recovery.ToTime == nil || at.Recovery.ToLSN != nil {
		t.Errorf("as asked for: %+v", at.Recovery)
	}
	o := redoubt(t, "snapshot", "create", "-c", r.conf, "--format", "json")
	o.want(t, exitClean)
	made := parse[snapshotResult](t, o.stdout)
	id := strings.Repeat("ab", 16)
	from := []string{"--timeline", "main", "--from-lsn", (made.At + 8).String(), "--target", id, "--wait"}
	tl := holds("recovered from "+made.At.String(), r.recover(t, from...), end)
	if tl.TimelineID != id || tl.Recovery.Base != made.Name || *tl.Recovery.FromLSN != made.At+8 {
		t.Errorf("recovered from official pages: %+v, %+v; the snapshot is %+v", tl, tl.Recovery, made)
	}
	r.recover(t, from...).want(t, exitUsage, "not less advanced than from_lsn")
	r.recover(t, "--timeline", "main", "--to-time", time.Now().Add(-time.Second).Format(time.RFC3339Nano), "--wait").want(t, exitInconclusive, "no commit after")
}

// adopt starts a server on what was recovered.
func adopt(t *testing.T, c *pgtest.Cluster, tl finding.TimelineStatus) {
	t.Helper()
	c.Data = tl.Recovery.Directory
	c.Adopt()
}

// killed kills the server once so many recoveries have begun, and one of them has a durable point.
func (r *recovering) killed(t *testing.T, recoveries int) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("no recovery has begun")
		}
		list := parse[struct {
			Timelines []finding.TimelineStatus `json:"timelines"`
			Limit     int                      `json:"limit"`
			Offset    int                      `json:"offset"`
			Next      *int                     `json:"next_offset"`
		}](t, r.ask(t, 200, "GET", "/v1/tenant/acme/timeline", ""))
		begun, durable := 0, false
		for _, tl := range list.Timelines {
			if tl.Recovery != nil && tl.Recovery.StartedAt != nil {
				begun++
				durable = durable || tl.Recovery.DurableLSN != nil || tl.State != finding.StateRecovering
			}
		}
		if begun == recoveries && durable {
			break
		}
	}
	must(t, r.cmd.Process.Signal(syscall.SIGKILL))
	_ = r.cmd.Wait() // it was killed
}

// await waits until a timeline is not recovering any more.
func (r *recovering) await(t *testing.T, id string) finding.TimelineStatus {
	t.Helper()
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if tl := r.timeline(t, id); tl.State != finding.StateRecovering || time.Now().After(until) {
			return tl
		}
	}
}

func (r *recovering) gone(t *testing.T, id string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if list := r.ask(t, 200, "GET", "/v1/tenant/acme/timeline", ""); !strings.Contains(list, id+`",
      "source"`) {
			r.ask(t, 404, "GET", "/v1/tenant/acme/timeline/"+id, "")
			return
		}
	}
	t.Errorf("%s is not gone", id)
}

// goOnWithAgent is goOn by the agent: PostgreSQL only marks what is complete.
func (r *recovering) goOnWithAgent(t *testing.T, c *pgtest.Cluster, tl finding.TimelineStatus) (stored func(segment string)) {
	t.Helper()
	data := tl.Recovery.Directory
	appendTo(t, filepath.Join(data, "postgresql.auto.conf"), "archive_mode = on\n")
	conf := filepath.Join(shortDir(t), "redoubt.yaml")
	put(t, conf, fmt.Appendf(nil, `
data_dir: %s
walbackup:
  bucket: %s
  sources: [{path: %s/pg_wal, tenant: acme, timeline: %s}]
  agent: {listen: %q, rescan: 200ms, first_wait: 50ms, max_wait: 500ms}
`, shortDir(t), r.bucket, data, tl.TimelineID, freePort(t)))
	startAgent(t, conf)
	return func(segment string) {
		t.Helper()
		for until := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			found := false
			must(t, filepath.WalkDir(filepath.Join(r.bucket, "acme"), func(p string, _ fs.DirEntry, err error) error {
				found = found || strings.Contains(p, tl.TimelineID) && strings.HasPrefix(filepath.Base(p), segment)
				return err
			}))
			if found {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%s is not in the bucket", segment)
			}
		}
	}
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

// goOn turns archiving on, under the new timeline's id and before the first
// start, as docs/recovery.md says. It returns what waits until a segment is stored.
func (r *recovering) goOn(t *testing.T, c *pgtest.Cluster, tl finding.TimelineStatus) (stored func(segment string)) {
	t.Helper()
	dir, data := c.Dir("goon"), tl.Recovery.Directory
	conf := filepath.Join(dir, "redoubt.yaml")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, `
data_dir: %s
walbackup:
  bucket: %s
  sources: [{path: %s/pg_wal, tenant: acme, timeline: %s}]
`, c.Dir("goonstate"), r.bucket, data, tl.TimelineID), 0o644))
	push := filepath.Join(dir, "push")
	must(t, os.WriteFile(push, fmt.Appendf(nil, "#!/bin/sh\nexec %q archive-push -c %q \"$1\"\n", r.program, conf), 0o755))
	appendTo(t, filepath.Join(data, "postgresql.auto.conf"), fmt.Sprintf("archive_mode = on\narchive_command = '%s %%p'\n", push))
	return func(segment string) { (&archiving{Cluster: c}).archived(t, segment) }
}
