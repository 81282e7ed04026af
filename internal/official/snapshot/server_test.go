package snapshot

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
)

// cluster makes a server with what a backup can hold: two databases, a
// tablespace, all forks, unlogged and large relations.
func cluster(t *testing.T, in pgtest.Install) *pgtest.Cluster {
	t.Helper()
	c := pgtest.New(t, in, pgtest.WALSegmentMiB(1), pgtest.Conf("wal_log_hints", "on"))
	space := c.Dir("space")
	c.Exec("CREATE TABLESPACE ts LOCATION '"+space+"'", "CREATE DATABASE other TABLESPACE ts")
	c.Exec("CREATE TABLE t (a int PRIMARY KEY, b text)", "INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g",
		"CREATE TABLE s (a int) TABLESPACE ts", "INSERT INTO s SELECT g FROM generate_series(1, 5000) g",
		"CREATE UNLOGGED TABLE u (a int)", "INSERT INTO u VALUES (1)", "CREATE SEQUENCE q", "SELECT nextval('q')", "VACUUM")
	c.ExecIn("other", "CREATE TABLE o (a int)", "INSERT INTO o SELECT generate_series(1, 3000)")
	c.Checkpoint()
	return c
}

// permanent picks what two backups of an idle server must have in common.
func permanent(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for p, b := range files {
		if c := datadir.Classify(p).Class; c == datadir.Relation || c == datadir.SLRUSegment || c == datadir.RelationMap {
			out[p] = b
		}
	}
	return out
}

// TestPgBasebackup reads what pg_basebackup 15 writes, in each of its formats.
func TestPgBasebackup(t *testing.T) {
	const major = 15
	tool := pgtest.Tool(t, major, "pg_basebackup")
	// The server that comes with the tool: it knows the same compressions.
	c := cluster(t, pgtest.Install{Major: major, Bin: filepath.Dir(tool)})
	out := c.Dir("backups")
	run := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		dir := filepath.Join(out, name)
		msg, err := c.Run(tool, append([]string{"-D", dir, "--no-sync", "-c", "fast"}, args...)...)
		if err != nil && strings.Contains(err.Error(), "this build does not support") {
			pgtest.SkipProof(t, "pg_basebackup %v: %v", args, err)
		}
		if err != nil {
			t.Fatalf("pg_basebackup %v: %v\n%s", args, err, msg)
		}
		return dir
	}
	moved := filepath.Join(out, "moved")
	plain := run(t, "plain", "-Fp", "-X", "none", "--tablespace-mapping="+c.Query("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'ts'")+"="+moved)
	s, pc := mustRead(t, plain)
	sameFiles(t, pc.files, expected(t, plain))
	checkOnline(t, c, s)

	forms := map[string][]string{
		"tar":         {"-Ft", "-X", "fetch", "--manifest-checksums=SHA512"},
		"gzip":        {"-Ft", "-X", "stream", "-z", "--manifest-checksums=SHA256"},
		"client-zstd": {"-Ft", "-X", "none", "--compress=client-zstd:1"},
		"server-zstd": {"-Ft", "-X", "none", "--compress=server-zstd:1", "--manifest-checksums=NONE"},
		"server-lz4":  {"-Ft", "-X", "none", "--compress=server-lz4", "--no-manifest"},
	}
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), run(t, name, forms[name]...), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			i, err := s.Peek(t.Context())
			if err != nil || i.HasControl || !i.Online || (i.EndLSN == 0) == s.Manifest() {
				t.Fatalf("peek: %+v, %v", i, err)
			}
			tc := newCollector()
			if err := s.Walk(t.Context(), tc); err != nil || len(s.Problems()) > 0 {
				t.Fatal(err, s.Problems())
			}
			sameFiles(t, permanent(tc.files), permanent(pc.files))
			checkOnline(t, c, s)
		})
	}
	list, err := List(t.Context(), out, Options{})
	if err != nil || len(list) == 0 || list[0].Name != "plain" || list[len(list)-1].Err != nil {
		t.Errorf("list: %d backups, %v", len(list), err)
	}
	t.Run("bucket", func(t *testing.T) { inBucket(t, filepath.Join(out, "client-zstd")) })
	t.Run("verifybackup", func(t *testing.T) { againstVerifyBackup(t, c, plain) })
	t.Run("stdout", func(t *testing.T) { toStdout(t, c, tool) })
}

// checkOnline holds what was found against the server and the label.
func checkOnline(t *testing.T, c *pgtest.Cluster, s *Snapshot) {
	t.Helper()
	i := s.Info()
	id := c.Query("SELECT system_identifier FROM pg_control_system()")
	oid := c.Query("SELECT oid FROM pg_tablespace WHERE spcname = 'ts'")
	if !i.Known || !i.Online || i.FromStandby || !i.HasControl || i.Major != c.Major || fmt.Sprint(i.SystemIdentifier) != id ||
		i.SegmentSize != c.SegmentSize || i.Checksums != c.Checksums || !i.WALLogHints || fmt.Sprint(i.Tablespaces) != "["+oid+"]" {
		t.Errorf("%+v", i)
	}
	if i.Redo == 0 || i.Checkpoint < i.Redo || i.StartTLI != 1 || i.EndLSN != 0 && i.EndLSN <= i.Redo || i.Consistent != 0 {
		t.Errorf("redo %s, checkpoint %s, end %s", i.Redo, i.Checkpoint, i.EndLSN)
	}
}

// inBucket reads a backup through internal/storage.
func inBucket(t *testing.T, dir string) {
	ctx := t.Context()
	b, err := openBucket(ctx, "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	_, want := mustRead(t, dir)
	s, err := openTree(ctx, b, "", "bucket", &Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	got := newCollector()
	if err := s.Walk(ctx, got); err != nil || len(s.Problems()) > 0 {
		t.Fatal(err, s.Problems())
	}
	sameFiles(t, got.files, want.files)
}

// againstVerifyBackup damages a backup and compares what is found with what pg_verifybackup finds.
func againstVerifyBackup(t *testing.T, c *pgtest.Cluster, plain string) {
	tool := pgtest.Tool(t, c.Major, "pg_verifybackup")
	path := c.Query("SELECT pg_relation_filepath('t')")
	other := c.Query("SELECT pg_relation_filepath('s')")
	index := c.Query("SELECT pg_relation_filepath('t_pkey')")
	for _, err := range []error{
		flipAt(filepath.Join(plain, path), 100000), flipAt(filepath.Join(plain, other), 8192),
		os.Truncate(filepath.Join(plain, index), 16384), os.Remove(filepath.Join(plain, path+"_fsm")),
		os.WriteFile(filepath.Join(plain, "base", "5", "99999"), nil, 0o644), flipAt(filepath.Join(plain, "pg_ident.conf"), 3),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(tool, "--no-parse-wal", plain).CombinedOutput()
	if err == nil {
		t.Fatal("pg_verifybackup finds nothing")
	}
	var want []string
	for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(string(out), -1) {
		if m[1] != plain && !slices.Contains(want, m[1]) && !strings.HasPrefix(m[1], "/") {
			want = append(want, m[1])
		}
	}
	slices.Sort(want)
	s, _, err := read(t, plain)
	if err != nil {
		t.Fatal(err)
	}
	if got := problemPaths(s); !slices.Equal(got, want) || len(want) != 6 {
		t.Errorf("problems with %q, pg_verifybackup's are %q\n%s", got, want, out)
	}
}

// toStdout: pg_basebackup puts the manifest into the tar, behind all files.
func toStdout(t *testing.T, c *pgtest.Cluster, tool string) {
	c.Exec("DROP DATABASE other", "DROP TABLE s", "DROP TABLESPACE ts") // only clusters without one can go there
	for _, sum := range []string{"CRC32C", "SHA256"} {
		to := filepath.Join(t.TempDir(), "b.tar")
		cmd := exec.Command(tool, "-h", c.Socket, "-p", fmt.Sprint(c.Port), "-U", "postgres", "-D", "-", "-Ft", "-X", "none", "-c", "fast", "--manifest-checksums="+sum)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		write(t, to, out)
		s, _, err := read(t, to)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Manifest() || len(s.Problems()) > 0 || s.Info().EndLSN == 0 {
			t.Errorf("%s: manifest %t, %v", sum, s.Manifest(), s.Problems())
		}
	}
}

// TestServerBackups reads, for each version, a stopped cluster, and a backup
// by the low-level API, taken while the server writes, as directory and as tars.
func TestServerBackups(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			in, err := pgtest.Find(major)
			if err != nil {
				pgtest.SkipProof(t, "%v", err)
			}
			c := cluster(t, in)
			out := t.TempDir()
			b := c.BaseBackupDuring(filepath.Join(out, "online"), func(bool) { c.Exec("UPDATE t SET b = b || 'y' WHERE a % 7 = 0") })
			s, oc := mustRead(t, b.Dir)
			sameFiles(t, oc.files, expected(t, b.Dir))
			checkOnline(t, c, s)
			if i := s.Info(); i.Redo != b.Start || i.Label.Label != "pgtest" {
				t.Errorf("starts at %s, the label says %s", i.Redo, b.Start)
			}
			suffixes := compressions[:4] // bzip2 in Go is slow; small ones are read elsewhere
			if major == 15 {
				suffixes = compressions[1:2] // its tars are TestPgBasebackup's
			}
			for _, suffix := range suffixes {
				to := filepath.Join(out, "online"+suffix)
				tarDereferenced(t, b.Dir, to)
				s, tc := mustRead(t, to)
				sameFiles(t, tc.files, oc.files)
				checkOnline(t, c, s)
			}
			checkpoint := stopped(t, c, out)
			list, err := List(t.Context(), out, Options{})
			if err != nil || len(list) != len(suffixes)+2 || list[len(list)-1].Info.Redo != checkpoint {
				t.Errorf("list: %d, %v", len(list), err)
			}
		})
	}
}

// stopped reads a cluster that was stopped, in place and copied.
func stopped(t *testing.T, c *pgtest.Cluster, out string) pg.LSN {
	t.Helper()
	if _, _, err := readOnce(t, c.Data); err == nil || !strings.Contains(err.Error(), "stop the server") {
		t.Errorf("a running server's directory: %v", err)
	}
	c.CleanCopy(filepath.Join(out, "clean"))
	s, got := mustRead(t, filepath.Join(out, "clean"))
	sameFiles(t, got.files, expected(t, c.Data))
	i := s.Info()
	if i.Online || i.Redo == 0 || i.Redo != i.Consistent || i.Control.State != datadir.ShutDown || i.Major != c.Major {
		t.Errorf("%+v", i)
	}
	c.Start()
	c.Exec("UPDATE t SET b = 'z' WHERE a = 1")
	c.Kill()
	if _, _, err := readOnce(t, c.Data); err == nil || !strings.Contains(err.Error(), "not stopped cleanly") {
		t.Errorf("a crashed server's directory: %v", err)
	}
	return i.Redo
}

// tarDereferenced packs a directory with what its tablespace links lead to.
func tarDereferenced(t *testing.T, dir, to string) {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "x.tar")
	if out, err := exec.Command("tar", "--dereference", "-cf", plain, "-C", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v %s", err, out)
	}
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, compress(t, b, to))
}
