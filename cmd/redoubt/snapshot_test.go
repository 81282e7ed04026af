package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pgtest"
)

// keeping is a cluster whose WAL is in a bucket of the layout redoubt, as
// acme/main, with a configuration that keeps snapshots there.
type keeping struct {
	*pgtest.Cluster
	bucket, config string
	official       string            // where work leaves a base backup
	unpackedTo     map[string]string // by snapshot
	held           pgtest.Digest     // what the cluster holds
}

func newKeeping(t *testing.T, major int, opts ...pgtest.Option) *keeping {
	c := pgtest.Server(t, major, append([]pgtest.Option{pgtest.WALSegmentMiB(1), pgtest.NoStart()}, opts...)...)
	k := &keeping{Cluster: c, bucket: t.TempDir(), official: filepath.Join(c.Dir("end"), "base"), unpackedTo: map[string]string{}}
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
	if dir := k.unpackedTo[name]; dir != "" {
		return dir
	}
	from := filepath.Join(k.bucket, "acme", "main", "snapshots", name)
	dir := k.Dir("unpacked-" + name)
	k.unpackedTo[name] = dir
	d, err := zstd.NewReader(nil)
	must(t, err)
	defer d.Close()
	content, err := d.DecodeAll(read(t, filepath.Join(from, "base.tar.zst")), nil)
	must(t, err)
	tar, manifest := filepath.Join(k.Dir("tar-"+name), name+".tar"), filepath.Join(dir, "backup_manifest")
	must(t, os.WriteFile(tar, content, 0o644))
	must(t, os.WriteFile(manifest, read(t, filepath.Join(from, "backup_manifest")), 0o644))
	_, err = k.Run("/bin/tar", "-xf", tar, "-C", dir)
	must(t, err)
	return dir
}

// TestSnapshotInitdb keeps what initdb made, before there is any WAL, and
// proves it once there is.
func TestSnapshotInitdb(t *testing.T) {
	for _, major := range []int{15} {
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
	tool, args := verifier(k.Major), []string{k.unpacked(t, name)}
	if tool == "" && k.Major < 17 { // version 1 of the manifest is the same for 13 to 16; WAL is not
		tool, args = verifier(15), append(args, "--no-parse-wal")
	}
	if tool == "" {
		t.Logf("PostgreSQL %d: no pg_verifybackup here; a manifest of its version is read by Redoubt only", k.Major)
		return
	}
	out, err := k.Run(tool, args...)
	if err != nil {
		t.Errorf("pg_verifybackup: %v\n%s", err, out)
	}
	t.Logf("PostgreSQL %d: %s %q: %s", k.Major, tool, args[1:], strings.TrimSpace(out))
}

// verifier is pg_verifybackup of any build of a major version there is, else "".
func verifier(major int) string {
	for _, in := range pgtest.Builds(major) {
		if tool := filepath.Join(in.Bin, "pg_verifybackup"); exists(tool) {
			return tool
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestSnapshotCreate makes snapshots in the middle of a workload, with a
// transaction prepared across their checkpoint. pg_verifybackup accepts them,
// spans to and from them verify clean, one that is damaged is found, and
// PostgreSQL goes on from one to just what the cluster holds.
func TestSnapshotCreate(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			k := newKeeping(t, major, pgtest.Conf("max_prepared_transactions", "10"))
			redoubt(t, "snapshot", "initdb", "-c", k.config, "--data-dir", k.Data).want(t, exitInconclusive)
			k.Start()
			at, between := k.work(t)
			redoubt(t, "snapshot", "initdb", "-c", k.config).want(t, exitClean)
			made := k.create(t, "--at", at)
			if made.Redo == 0 || made.State != "made" || made.Base != "initdb" {
				t.Errorf("made %+v", made)
			}
			if again := k.create(t, "--at", at, "--base", "initdb"); again.State != "already there" || again.Name != made.Name {
				t.Errorf("again %+v", again)
			}
			later := k.create(t)
			if later.Base != made.Name || later.Name <= made.Name {
				t.Errorf("later %+v, behind %+v", later, made)
			}
			if nothing := k.create(t); nothing.State != "already there" || nothing.Name != later.Name {
				t.Errorf("when there is nothing newer: %+v", nothing)
			}
			k.verifies(t, made.Name)
			k.spans(t, "initdb", made.Name, later.Name)
			k.startsOn(t, made.Name)
			k.spares(t, later)
			k.sparesUnverified(t, between, made, later)
		})
	}
}

// work lets the cluster live, takes a backup and ends it without a word. It
// returns an LSN behind a checkpoint that was made under load, and one behind
// the next checkpoint, before the backup.
func (k *keeping) work(t *testing.T) (at, between string) {
	t.Helper()
	mixed := pgtest.Mixed{Clients: 2, Rounds: 1, Seed: uint64(k.Major)}
	mixed.Run(k.Cluster)
	k.Exec("CREATE TABLESPACE away LOCATION '" + k.Dir("away") + "'")
	k.Exec("CREATE TABLE kept (v text PRIMARY KEY) TABLESPACE away", "INSERT INTO kept SELECT generate_series(1, 1000)", "BEGIN; INSERT INTO kept VALUES ('across'); PREPARE TRANSACTION 'stay_across'")
	k.Checkpoint()
	mixed.Seed += 100
	mixed.Run(k.Cluster)
	at = k.Query("SELECT pg_current_wal_lsn()")
	k.Exec("COMMIT PREPARED 'stay_across'")
	k.Checkpoint()
	between = k.Query("SELECT pg_current_wal_lsn()")
	mixed.Seed += 100
	mixed.Run(k.Cluster)
	k.BaseBackup(k.official)
	k.Stop(pgtest.Immediate)
	k.CompleteArchive()
	k.archive(t)
	return at, between
}

// create runs snapshot create.
func (k *keeping) create(t *testing.T, args ...string) snapshotResult {
	t.Helper()
	o := redoubt(t, append([]string{"snapshot", "create", "-c", k.config, "--format", "json"}, args...)...)
	o.want(t, exitClean)
	if t.Failed() {
		t.FailNow()
	}
	return parse[snapshotResult](t, o.stdout)
}

// spans verifies from each snapshot to the next, and to the backup at the end.
func (k *keeping) spans(t *testing.T, names ...string) {
	t.Helper()
	var at []string
	for _, name := range names {
		at = append(at, filepath.Join(k.bucket, "acme", "main", "snapshots", name))
	}
	at = append(at, k.official)
	verify := func(base, official string) outcome {
		return redoubt(t, "verify", "--base", base, "--official", official, "--wal", k.bucket, "--cluster", "acme/main", "--format", "json")
	}
	for i := 1; i < len(at); i++ {
		o := verify(at[i-1], at[i])
		o.want(t, exitClean)
		v := o.verification(t)
		t.Logf("PostgreSQL %d: %s to %s: %s, %d blocks compared", k.Major, filepath.Base(at[i-1]), filepath.Base(at[i]), v.Span, v.Coverage.BlocksCompared)
	}
	victim := "base/5/1259" // pg_class of postgres
	if k.Major < 15 {
		victim = "global/1260" // there that database has no OID of its own; pg_authid
	}
	broken := changed(t, at[1], false, victim, func(b []byte) []byte {
		b[len(b)-100] ^= 0x40
		return b
	})
	verify(at[0], broken).want(t, exitFindings, victim)
	manifest := changed(t, at[1], true, victim, func(b []byte) []byte {
		b[len(b)-100] ^= 0x40
		return b
	})
	verify(at[0], manifest).want(t, exitFindings, "backup_manifest")
}

// startsOn lets PostgreSQL go on from a snapshot to the end of the archive,
// and holds what it has then against the cluster itself.
func (k *keeping) startsOn(t *testing.T, name string) {
	t.Helper()
	r := k.Beside()
	link(t, k.unpacked(t, name), r.Data)
	must(t, os.Chmod(r.Data, 0o700))
	wal := filepath.Join(k.Dir("wal"), "wal")
	must(t, os.CopyFS(wal, os.DirFS(filepath.Join(k.bucket, "acme", "main", "wal"))))
	must(t, os.WriteFile(filepath.Join(r.Data, "recovery.signal"), nil, 0o600))
	r.Adopt("restore_command = 'cp "+wal+"/%f %p'", "recovery_target_timeline = latest")
	k.Start()
	k.holds(t, r)
}

// holds wants a server to hold what the cluster holds, which runs.
func (k *keeping) holds(t *testing.T, r *pgtest.Cluster) {
	t.Helper()
	if k.held == nil {
		k.held = k.Digest()
	}
	for _, d := range r.Digest().Differences(k.held) {
		if !strings.Contains(d, "_seq: ") { // replay is ahead by what nextval logs in advance (SEQ_LOG_VALS)
			t.Error(d)
		}
	}
	r.Amcheck()
	r.Stop(pgtest.Fast)
}

// TestSnapshotTwoMakers: makers that know nothing of each other make one snapshot.
func TestSnapshotTwoMakers(t *testing.T) {
	t.Parallel()
	bucket, to := pristine(t), t.TempDir()
	done := make(chan outcome)
	for range 2 {
		go func() {
			done <- finish(t, command(t, "snapshot", "create", "--wal", bucket, "--tenant", "acme", "--timeline", "main", "--to", to,
				"--base", filepath.Join(bucket, "acme", "main", "snapshots", "nightly-1")))
		}()
	}
	for range 2 {
		o := <-done
		o.want(t, exitClean)
	}
	if found, err := snapshot.List(t.Context(), to, snapshot.Options{}); err != nil || len(found) != 1 || found[0].Err != nil {
		t.Errorf("%+v, %v", found, err)
	}
}
