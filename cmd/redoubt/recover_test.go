package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/pgtest"
)

// recovery of the fixture's span, to the end of its WAL.
func recoverArgs(bucket, dir string, more ...string) []string {
	tl := filepath.Join(bucket, "acme", "main")
	return append([]string{"recover", "--base", filepath.Join(tl, "snapshots", "nightly-1"), "--wal", bucket, "--cluster", "acme/main",
		"--to-dir", dir, "--memory", "8MiB"}, more...)
}

// startable reports whether a directory has what a server wants to start.
func startable(t testing.TB, dir string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(dir, "global", "pg_control"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// contents is all files of a directory but those that say when they were made.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, p)
		must(t, err)
		out[name] = string(read(t, p))
		return nil
	}))
	return out
}

// TestKilledRecovery kills recoveries at random moments, those that make durable
// points on the way. What is left is never something that a server starts on and
// is not whole, and the same command makes of it byte by byte what an undisturbed
// one makes.
func TestKilledRecovery(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	bucket := small(t)
	whole := filepath.Join(t.TempDir(), "whole")
	start := time.Now()
	redoubt(t, recoverArgs(bucket, whole, "--durable-every", "2MiB")...).want(t, exitClean)
	took := time.Since(start)
	want := contents(t, whole)
	dir := filepath.Join(t.TempDir(), "killed")
	args := recoverArgs(bucket, dir, "--durable-every", "2MiB")
	rnd := rand.New(rand.NewPCG(uint64(start.UnixNano()), 0))
	finished, resumed := 0, 0
	for killed := 0; killed < kills(); {
		c := command(t, args...)
		var said strings.Builder
		c.Stderr = &said
		must(t, c.Start())
		timer := time.AfterFunc(time.Duration(rnd.Int64N(int64(took*5/4))), func() { _ = c.Process.Kill() })
		err := c.Wait()
		timer.Stop()
		resumed += strings.Count(said.String(), "goes on from its durable point")
		if err == nil {
			finished++
			same(t, "a recovery that was killed", want, contents(t, dir))
			must(t, os.RemoveAll(dir))
			continue
		}
		if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() {
			t.Fatalf("exit: %v", err)
		}
		killed++
		if startable(t, dir) { // killed at the very end
			redoubt(t, args...).want(t, exitClean)
			same(t, "a recovery that was killed at its end", want, contents(t, dir))
			must(t, os.RemoveAll(dir))
		}
	}
	redoubt(t, args...).want(t, exitClean)
	same(t, "a recovery that was killed", want, contents(t, dir))
	t.Logf("%d kills, %d recoveries came to their end, %d went on from a durable point; an undisturbed one takes %v", kills(), finished, resumed, took)
}

// TestRecoverFullDisk: a target that does not fit is an error, and no target.
func TestRecoverFullDisk(t *testing.T) {
	t.Parallel()
	bucket, _ := planted(t)
	d := smallDisk(t, 4<<20)
	dir := filepath.Join(d.dir, "data")
	o := d.run(t, recoverArgs(bucket, dir)...)
	if o.code != exitUsage || !strings.Contains(o.stderr, "no space left") && !strings.Contains(o.stderr, "file too large") {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
	if startable(t, dir) {
		t.Error("a target that is not whole looks finished")
	}
}

// TestRecoverUsage: bad usage is 2, and says what is right.
func TestRecoverUsage(t *testing.T) {
	t.Parallel()
	bucket, _ := planted(t)
	for _, c := range []struct {
		args []string
		say  string
	}{
		{[]string{"--to", "1"}, "parse LSN"},
		{[]string{"--to", "0/100", "--to-time", "2026-01-01T00:00:00Z"}, "name one"},
		{[]string{"--to-time", "yesterday"}, "with its zone"},
		{[]string{"--to-time", "2026-01-01 00:00:00"}, "with its zone"},
		{[]string{"--to", "0/100"}, "take an older base"},
		{[]string{"--engine", "both"}, "native or server"},
		{[]string{"--tablespace-mapping", "x"}, "OID=DIR"},
		{[]string{"--workers", "-1"}, "0"},
		{[]string{"--scratch", "/nowhere/at/all"}, "no directory"},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		o := redoubt(t, recoverArgs(bucket, dir, c.args...)...)
		if o.code != exitUsage || !strings.Contains(o.stderr, c.say) {
			t.Errorf("%v: exit %d: %s", c.args, o.code, o.stderr)
		}
		if startable(t, dir) {
			t.Errorf("%v: there is a target", c.args)
		}
	}
	o := redoubt(t, recoverArgs(bucket, filepath.Join(t.TempDir(), "data"), "--to", "7F/0")...)
	o.want(t, exitInconclusive)
}
