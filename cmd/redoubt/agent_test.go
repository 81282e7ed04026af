package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/walbackup/coord"
	walnames "redoubt/walbackup/names"
)

// agentConfigFile lays out an agent's configuration on a directory bucket.
func agentConfigFile(t *testing.T, data, bucket, listen, more string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "wal"), 0o700))
	file := filepath.Join(dir, "config.yaml")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `
data_dir: %s
walbackup:
  bucket: %s
  sources: [{path: ./wal, kind: segments, tenant: prod}%s]
  agent: {listen: %q, rescan: 200ms, first_wait: 50ms}
`, data, bucket, more, listen), 0o600))
	return file
}

// shortDir is a directory with a path short enough for etcd's socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rdag")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestAgentStartsAloneAndEnds runs an agent with an etcd of its own, and tries
// to start others that it must not share a data directory or a bucket with.
func TestAgentStartsAloneAndEnds(t *testing.T) {
	t.Parallel()
	data, bucket, listen := shortDir(t), t.TempDir(), freePort(t)
	first := command(t, "walbackup", "-c", agentConfigFile(t, data, bucket, listen, ""))
	must(t, first.Start())
	deadline := time.Now().Add(time.Minute)
	for !answers(t, "http://"+listen+"/readyz") {
		if time.Now().After(deadline) {
			_ = first.Process.Kill()
			t.Fatal("the agent does not get ready")
		}
		time.Sleep(50 * time.Millisecond)
	}
	for what, c := range map[string]struct{ file, want string }{
		"the same data directory":             {agentConfigFile(t, data, bucket, freePort(t), ""), "another agent runs with it"},
		"the bucket, with an etcd of its own": {agentConfigFile(t, shortDir(t), bucket, freePort(t), ""), "agents of another etcd use this bucket"},
	} {
		o := redoubt(t, "walbackup", "-c", c.file)
		if o.code != exitUsage || !strings.Contains(o.stderr, c.want) {
			t.Errorf("%s: exit %d: %s", what, o.code, o.stderr)
		}
	}
	must(t, first.Process.Signal(syscall.SIGTERM))
	if err := first.Wait(); err != nil {
		t.Errorf("an agent that was asked to end: %v", err)
	}
}

func answers(t *testing.T, url string) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func TestAgentRefusesToStart(t *testing.T) {
	t.Parallel()
	pgdata := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(pgdata, "pg_wal/archive_status"), 0o700))
	must(t, os.Mkdir(filepath.Join(pgdata, "global"), 0o700))
	must(t, os.WriteFile(filepath.Join(pgdata, "global/pg_control"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(pgdata, "postgresql.conf"), []byte("archive_mode = on\narchive_command = 'cp %p /mnt/%f'\n"), 0o600))
	bucket := t.TempDir()
	for what, c := range map[string]struct{ bucket, more, want string }{
		"no such bucket":       {filepath.Join(bucket, "none"), "", "does not exist"},
		"another archiver":     {bucket, ", {path: " + pgdata + ", tenant: pg}", "cp %p /mnt/%f"},
		"PostgreSQL's own":     {bucket, ", {path: " + pgdata + "/pg_wal, kind: segments, tenant: pg}", "kind postgres"},
		"no such directory":    {bucket, ", {path: /nonexistent/wal, tenant: pg}", "/nonexistent/wal"},
		"a marker that is bad": {marked(t), "", "can't be read"},
	} {
		o := redoubt(t, "walbackup", "-c", agentConfigFile(t, shortDir(t), c.bucket, freePort(t), c.more))
		if o.code != exitUsage || !strings.Contains(o.stderr, c.want) {
			t.Errorf("%s: exit %d: %s", what, o.code, o.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(bucket, markerKey)); err == nil {
		t.Error("an agent that did not start has marked the bucket")
	}
}

func marked(t *testing.T) string {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, markerKey), []byte("{"), 0o600))
	return dir
}

// TestScanHandsOn loses segments that an agent had uploaded, the newest for
// one, which nothing but the WAL backup LSN tells of: a scan asks for them, the
// agent uploads them again, and the next scan is clean.
func TestScanHandsOn(t *testing.T) {
	t.Parallel()
	data, bucket, listen := shortDir(t), t.TempDir(), freePort(t)
	file := agentConfigFile(t, data, bucket, listen, "")
	names := segmentsInto(t, filepath.Join(filepath.Dir(file), "wal"))
	scan := func() (outcome, finding.Scan) {
		o := redoubt(t, "scan", "-c", file, "--format", "json")
		return o, parse[finding.Scan](t, o.stdout)
	}
	agent := command(t, "walbackup", "-c", file)
	must(t, agent.Start())
	defer func() { _ = agent.Process.Kill() }()
	object := func(name string) string {
		found, err := filepath.Glob(filepath.Join(bucket, "prod", "main", "wal", name+"*"))
		must(t, err)
		if len(found) != 1 {
			return ""
		}
		return found[0]
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	last := names[len(names)-1]
	await("the last segment is not uploaded", func() bool { return object(last) != "" && object(names[1]) != "" })
	lost, newest := object(names[1]), object(last)
	etcd, err := coord.Dial(t.Context(), coord.Config{Endpoints: []string{coord.EmbeddedEndpoint(filepath.Join(data, "etcd"))}, Prefix: "/redoubt"})
	must(t, err)
	_, end, err := pg.ParseSegmentName(last, 1<<20)
	must(t, err)
	await("the WAL backup LSN does not get to the end", func() bool {
		states, err := etcd.States(t.Context(), walnames.ID{Tenant: "prod", Timeline: "main"})
		return err == nil && states[1].Backup == (end+1).Start(1<<20)
	})
	must(t, etcd.Close())
	must(t, agent.Process.Signal(syscall.SIGSTOP)) // the scan must not wait for it
	must(t, errors.Join(os.Remove(lost), os.Remove(newest)))
	must(t, agent.Process.Signal(syscall.SIGCONT))
	o, s := scan()
	if o.code != exitFindings || len(s.Timelines) != 1 || len(s.Timelines[0].Gaps) != 2 || s.Timelines[0].Gaps[0].Status != "requeued" || s.Timelines[0].Gaps[1].Status != "requeued" {
		t.Fatalf("a scan with a segment lost: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	await("the lost segments are not uploaded again", func() bool { return object(names[1]) == lost && object(last) == newest })
	if o, s = scan(); len(s.Timelines[0].Gaps) != 0 {
		t.Errorf("a scan after that: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	must(t, agent.Process.Signal(syscall.SIGTERM))
	_ = agent.Wait()
	must(t, os.Remove(lost))
	if o, s = scan(); o.code != exitFindings || s.Timelines[0].Gaps[0].Status != "missing" || !strings.Contains(o.stdout, "no agent runs on this machine") {
		t.Errorf("a scan without an agent: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// segmentsInto puts the first segments of the demo into a directory and returns their names.
func segmentsInto(t *testing.T, dir string) []string {
	t.Helper()
	const enough = 5
	wal := filepath.Join(pristine(t), "acme", "main", "wal")
	found, err := filepath.Glob(filepath.Join(wal, strings.Repeat("?", 24)+"*"))
	must(t, err)
	var names []string
	for _, f := range found {
		name := filepath.Base(f)[:24]
		if strings.Contains(filepath.Base(f), ".partial") || strings.Contains(filepath.Base(f), ".backup") || len(names) == enough {
			continue
		}
		names = append(names, name)
		put(t, filepath.Join(dir, name), segment(t, wal, name))
	}
	if len(names) != enough {
		t.Fatalf("%d segments in %s", len(names), wal)
	}
	return names
}
