package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/finding"
)

func (k *keeping) report(t *testing.T, args ...string) discardReport {
	t.Helper()
	o := redoubt(t, append([]string{"snapshot", "report", "-c", k.config, "--format", "json"}, args...)...)
	o.want(t, exitClean)
	return parse[discardReport](t, o.stdout)
}

// without is a copy of the bucket without the WAL that a report lists.
func (k *keeping) without(t *testing.T, r discardReport) (bucket string) {
	t.Helper()
	bucket = t.TempDir()
	link(t, k.bucket, bucket)
	for _, name := range r.Segments {
		must(t, os.Remove(filepath.Join(bucket, "acme", "main", "wal", name)))
	}
	return bucket
}

// spares holds the report against what is needed: before a run the ledger has
// proven nothing; after it the WAL before the kept snapshot is spare. Without
// that WAL the snapshot and what is left are enough for all that the cluster held.
func (k *keeping) spares(t *testing.T, kept snapshotResult) {
	t.Helper()
	if r := k.report(t, "--keep", "1"); len(r.Segments) != 0 || len(r.Verified) != 1 || len(r.Needed) != 0 {
		t.Errorf("before a run: %+v", r)
	}
	redoubt(t, "run", "-c", k.config).want(t, exitClean)
	if r := k.report(t, "--keep", "9"); len(r.Segments) != 0 || len(r.Verified) != 3 || r.KeepFrom != 0 {
		t.Errorf("when more is to be kept than there is: %+v", r)
	}
	r := k.report(t, "--keep", "1")
	if r.KeepFrom != kept.Redo || len(r.Segments) == 0 || len(r.Needed) > 0 {
		t.Errorf("after a run: %+v", r)
	}
	bucket := k.without(t, r)
	k.span(t, bucket, kept.Name, k.official)
	k.recovers(t, bucket, kept.Name)
	k.span(t, bucket, "initdb", kept.Name, exitInconclusive)
	t.Logf("PostgreSQL %d: %d of %d segments are not needed", k.Major, len(r.Segments), r.Stored)
}

// sparesUnverified makes one more snapshot, from which and to which no span is
// verified: the WAL of both is kept, and without what is listed both verify.
func (k *keeping) sparesUnverified(t *testing.T, at string, made, later snapshotResult) {
	t.Helper()
	mid := k.create(t, "--at", at, "--base", made.Name)
	if mid.Redo <= made.Redo || mid.Redo >= later.Redo {
		t.Fatalf("%s is not between %s and %s", mid.Redo, made.Redo, later.Redo)
	}
	r := k.report(t, "--keep", "1")
	if r.KeepFrom != later.Redo || len(r.Segments) == 0 || len(r.Needed) != 2 || slices.Contains(r.Verified, mid.Name) {
		t.Errorf("with a snapshot that is not verified: %+v", r)
	}
	bucket := k.without(t, r)
	k.span(t, bucket, made.Name, mid.Name)
	k.span(t, bucket, mid.Name, later.Name)
	k.span(t, bucket, later.Name, k.official)

	// A timeline that leaves this one needs its WAL.
	child := filepath.Join(k.bucket, "acme", "child")
	must(t, os.MkdirAll(filepath.Join(child, "wal"), 0o700))
	put(t, filepath.Join(child, "ancestor.json"), []byte(`{"tenant_id": "acme", "timeline_id": "main", "tli": 1, "lsn": "`+made.Redo.String()+`"}`))
	if with := k.report(t, "--keep", "1"); len(with.Segments) != len(r.Segments) || len(with.Offspring) != 1 || with.Offspring[0].Base != made.Name {
		t.Errorf("it leaves where a verified snapshot is: %+v", with)
	}
	put(t, filepath.Join(child, "ancestor.json"), []byte(`{"tenant_id": "acme", "timeline_id": "main", "tli": 1, "lsn": "`+(made.Redo-1).String()+`"}`))
	if r := k.report(t, "--keep", "1"); len(r.Segments) != 0 || len(r.Offspring) != 1 || r.Offspring[0].Base != "initdb" {
		t.Errorf("it leaves before a verified snapshot: %+v", r)
	}
}

// span verifies from a snapshot in a bucket to another, or to a path.
func (k *keeping) span(t *testing.T, bucket, base, official string, code ...int) {
	t.Helper()
	in := filepath.Join(bucket, "acme", "main", "snapshots")
	if !filepath.IsAbs(official) {
		official = filepath.Join(in, official)
	}
	o := redoubt(t, "verify", "--base", filepath.Join(in, base), "--official", official, "--wal", bucket, "--cluster", "acme/main", "--format", "json")
	if len(code) > 0 {
		o.want(t, code[0])
	} else if o.want(t, exitClean); o.verification(t).Verdict != finding.Clean {
		t.Error(o.stdout)
	}
}

// recovers makes a data directory of a snapshot and the WAL in a bucket, and
// wants PostgreSQL to hold what the cluster holds, which runs.
func (k *keeping) recovers(t *testing.T, bucket, name string) {
	t.Helper()
	r := k.Beside()
	redoubt(t, "recover", "--base", filepath.Join(bucket, "acme", "main", "snapshots", name), "--wal", bucket, "--cluster", "acme/main", "--to-dir", r.Data).want(t, exitClean)
	r.Adopt()
	k.holds(t, r)
}
