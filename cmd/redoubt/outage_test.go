package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pgtest"
	"redoubt/internal/storage/storagetest"
)

// away is how long a store is away: a minute in the long proof.
func away() time.Duration {
	if pgtest.Prove() {
		return time.Minute
	}
	return 3 * time.Second
}

// TestBucketGoneForAMinute: base, WAL and what is made are in one bucket, whose
// server is killed in the middle and comes back after a minute: a recovery, and
// the making of a snapshot, go on by themselves and end as if nothing had been.
func TestBucketGoneForAMinute(t *testing.T) {
	t.Parallel()
	bucket := small(t)
	s3 := storagetest.KillableS3(t)
	location := s3.Bucket("bucket")
	must(t, os.CopyFS(filepath.Join(s3.Dir, "bucket"), os.DirFS(bucket)))
	slowly := storagetest.NewProxy(t, s3.Addr) // so that there is a middle
	location = strings.Replace(location, s3.Addr, slowly.Addr, 1)
	within := func(below string) string { return strings.Replace(location, "?", "/"+below+"?", 1) }

	undisturbed := filepath.Join(t.TempDir(), "undisturbed")
	redoubt(t, recoverArgs(bucket, undisturbed)...).want(t, exitClean)
	want := contents(t, undisturbed)
	made := filepath.Join(t.TempDir(), "made")
	snapshots := t.TempDir()
	manifest := parse[snapshotResult](t, redoubt(t, makeIn(bucket, snapshots)...).stdout).Name

	disturbed := func(kind string, begun func() bool, args ...string) {
		slowly.Set(storagetest.Fault{Latency: 30 * time.Millisecond})
		c := command(t, args...)
		c.Env = append(os.Environ(), s3.Env()...)
		done := make(chan outcome, 1)
		go func() { done <- finish(t, c) }()
		for len(done) == 0 && !begun() {
			time.Sleep(time.Millisecond)
		}
		over := len(done) > 0
		s3.Kill()
		time.Sleep(away())
		slowly.Set(storagetest.Fault{})
		s3.Start()
		o := <-done
		o.want(t, exitClean)
		t.Logf("%s: over before %v; tried again %d times", kind, over, strings.Count(o.stderr, "it is tried again"))
	}
	disturbed("recovery", func() bool { return exists(filepath.Join(made, "redoubt-recovery.json")) },
		"recover", "--base", within("acme/main/snapshots/nightly-1"), "--wal", location, "--cluster", "acme/main", "--to-dir", made, "--memory", "8MiB")
	same(t, "a recovery whose store was away", want, contents(t, made))
	if t.Failed() {
		return
	}
	marker := func() bool {
		found, _ := filepath.Glob(filepath.Join(s3.Dir, "bucket", "acme", "main", "snapshots", "*", "*redoubt*"))
		return len(found) > 0
	}
	disturbed("snapshot", marker, "snapshot", "create", "--wal", location, "--tenant", "acme", "--timeline", "main", "--base", "nightly-1", "--format", "json")
	kept := filepath.Join(s3.Dir, "bucket", "acme", "main", "snapshots", manifest)
	same(t, "the manifest", string(read(t, filepath.Join(snapshots, manifest, "backup_manifest"))), string(read(t, filepath.Join(kept, "backup_manifest"))))
}
