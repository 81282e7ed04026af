package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/storage/storagetest"
)

// makeIn is the making of a snapshot of the demo's timeline somewhere.
func makeIn(bucket, to string, more ...string) []string {
	return append([]string{"snapshot", "create", "--wal", bucket, "--tenant", "acme", "--timeline", "main", "--to", to,
		"--base", filepath.Join(bucket, "acme", "main", "snapshots", "nightly-1"), "--format", "json"}, more...)
}

// TestSnapshotBucketGone takes the bucket away once a snapshot is begun, by a
// server that is killed and by a network that swallows everything, and gives
// it back: the same command goes on, and what it makes is whole.
func TestSnapshotBucketGone(t *testing.T) {
	t.Parallel()
	bucket, s := pristine(t), newS3Site(t)
	proxy := storagetest.NewProxy(t, s.server.Addr)
	for name, f := range map[string]struct{ take, give func() }{
		"killed": {s.server.Kill, s.server.Start},
		"hole":   {func() { proxy.Set(storagetest.Fault{Hole: true}) }, func() { proxy.Set(storagetest.Fault{}) }},
	} {
		to := strings.Replace(s.server.Bucket("snapshots-"+name), s.server.Addr, proxy.Addr, 1) + "&idle_timeout=2s"
		c := command(t, makeIn(bucket, to)...)
		c.Env = append(os.Environ(), s.env...)
		done := make(chan outcome, 1)
		go func() { done <- finish(t, c) }()
		begun := awaitMarker(filepath.Join(s.server.Dir, "snapshots-"+name), done)
		f.take()
		time.Sleep(away())
		f.give()
		var o outcome
		if begun != nil {
			o = *begun // it was quicker than we
			t.Logf("%s: it had ended before", name)
		} else {
			o = <-done
		}
		o.want(t, exitClean)
		if t.Failed() {
			return
		}
		made := parse[snapshotResult](t, o.stdout)
		wholeIn(t, filepath.Join(s.server.Dir, "snapshots-"+name), made.Name)
	}
}

// awaitMarker waits until a snapshot is begun below dir, or has ended.
func awaitMarker(dir string, done chan outcome) *outcome {
	for {
		if found, _ := filepath.Glob(filepath.Join(dir, "*", snapshot.Marker)); len(found) > 0 {
			return nil
		}
		select {
		case o := <-done:
			return &o
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// wholeIn wants one snapshot, and all its files as its manifest says.
func wholeIn(t *testing.T, dir, name string) {
	t.Helper()
	found, err := snapshot.List(t.Context(), dir, snapshot.Options{})
	must(t, err)
	if len(found) != 1 || found[0].Err != nil || found[0].Name != name {
		t.Fatalf("there are %+v, want %s", found, name)
	}
	s, err := snapshot.Open(t.Context(), filepath.Join(dir, name), snapshot.Options{})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	must(t, s.Walk(t.Context(), snapshot.Ignore{}))
	if p := s.Problems(); len(p) > 0 || !s.Manifest() {
		t.Errorf("problems %v", p)
	}
}

// TestSnapshotOnAFullDisk: without room for pages, or for the snapshot itself,
// the error says so, and nothing that was made in part stays.
func TestSnapshotOnAFullDisk(t *testing.T) {
	t.Parallel()
	scratch, target := smallDisk(t, 64<<10), smallDisk(t, 512<<10)
	if !scratch.mounted || !target.mounted {
		return // the limit would hold for the snapshot, too
	}
	bucket, to := pristine(t), t.TempDir()
	redoubt(t, makeIn(bucket, to, "--memory", "1B", "--scratch", scratch.dir)...).want(t, exitInconclusive, "no space left on device")
	redoubt(t, makeIn(bucket, target.dir)...).want(t, exitInconclusive, "no space left on device")
	empty(t, scratch.dir)
	for _, dir := range []string{to, target.dir} {
		found, err := snapshot.List(t.Context(), dir, snapshot.Options{})
		must(t, err)
		r := leftovers(t, dir)
		if len(found) > 0 || r.objects > 1 || r.temporary > 0 { // the marker says that a snapshot was begun
			t.Errorf("%s has %+v, and the snapshots %+v", dir, r, found)
		}
	}
	made := parse[snapshotResult](t, redoubt(t, makeIn(bucket, to)...).stdout)
	wholeIn(t, to, made.Name)
}
