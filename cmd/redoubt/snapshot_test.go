package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pgtest"
)

// keeping is a cluster whose WAL is in a bucket of the layout redoubt, as
// acme/main, with a configuration that keeps snapshots there.
type keeping struct {
	*pgtest.Cluster
	bucket, config string
}

func newKeeping(t *testing.T, major int, opts ...pgtest.Option) *keeping {
	c := pgtest.Server(t, major, append([]pgtest.Option{pgtest.WALSegmentMiB(1), pgtest.NoStart()}, opts...)...)
	k := &keeping{Cluster: c, bucket: t.TempDir()}
	dir := t.TempDir()
	k.config = filepath.Join(dir, "redoubt.yaml")
	put(t, k.config, []byte("data_dir: "+dir+"/state\nwalbackup:\n  bucket: "+k.bucket+"\n  sources: [{path: "+c.Data+"/pg_wal, tenant: acme, timeline: main}]\n"))
	return k
}

// archive copies what is archived so far to the bucket.
func (k *keeping) archive(t *testing.T) {
	t.Helper()
	to := filepath.Join(k.bucket, "acme", "main", "wal")
	must(t, os.MkdirAll(to, 0o700))
	entries, err := os.ReadDir(k.Archive)
	must(t, err)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".tmp" {
			put(t, filepath.Join(to, e.Name()), read(t, filepath.Join(k.Archive, e.Name())))
		}
	}
}

// unpacked unpacks a snapshot beside its manifest, as a person would.
func (k *keeping) unpacked(t *testing.T, name string) string {
	t.Helper()
	from := filepath.Join(k.bucket, "acme", "main", "snapshots", name)
	dir := k.Dir("unpacked-" + name)
	d, err := zstd.NewReader(nil)
	must(t, err)
	defer d.Close()
	content, err := d.DecodeAll(read(t, filepath.Join(from, "base.tar.zst")), nil)
	must(t, err)
	tar, manifest := filepath.Join(k.Dir("tar"), name+".tar"), filepath.Join(dir, "backup_manifest")
	must(t, os.WriteFile(tar, content, 0o644))
	must(t, os.WriteFile(manifest, read(t, filepath.Join(from, "backup_manifest")), 0o644))
	_, err = k.Run("/bin/tar", "-xf", tar, "-C", dir)
	must(t, err)
	return dir
}

// TestSnapshotInitdb keeps what initdb made, before there is any WAL, and
// proves it once there is.
func TestSnapshotInitdb(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			k := newKeeping(t, major)
			place := filepath.Join(k.bucket, "acme", "main", "snapshots", "initdb")
			redoubt(t, "snapshot", "initdb", "-c", k.config).want(t, exitUsage, "--data-dir is missing")
			redoubt(t, "snapshot", "initdb", "-c", k.config, "--data-dir", k.Data).want(t, exitInconclusive, "not proven yet")
			if _, err := os.Stat(filepath.Join(place, "backup_manifest")); err == nil {
				t.Fatal("what is not proven looks like a snapshot")
			}
			redoubt(t, "snapshot", "initdb", "-c", k.config).want(t, exitInconclusive, "not proven yet")

			k.Start()
			k.Psql("CREATE TABLE t AS SELECT generate_series(1, 20000) AS i; CREATE INDEX ON t (i)")
			k.SwitchWAL()
			k.archive(t)
			redoubt(t, "snapshot", "initdb", "-c", k.config).want(t, exitClean, "proven")
			redoubt(t, "snapshot", "initdb", "-c", k.config).want(t, exitClean, "proven")
			k.Stop(pgtest.Fast)
			redoubt(t, "snapshot", "initdb", "-c", k.config, "--data-dir", k.Data).want(t, exitUsage, "another content")
			k.verifies(t, "initdb")
		})
	}
}

// verifies lets pg_verifybackup look at a snapshot, its WAL included.
func (k *keeping) verifies(t *testing.T, name string) {
	t.Helper()
	tool := pgtest.FindTool(k.Major, "pg_verifybackup")
	if tool == "" {
		t.Logf("PostgreSQL %d: no pg_verifybackup here; a manifest of its version is read by Redoubt only", k.Major)
		return
	}
	out, err := k.Run(tool, k.unpacked(t, name))
	if err != nil {
		t.Errorf("pg_verifybackup: %v\n%s", err, out)
	}
}
