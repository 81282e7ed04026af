package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/pg"
)

func forMajors(t *testing.T, f func(t *testing.T, major int)) {
	for _, m := range Thorough() {
		t.Run(fmt.Sprint(m), func(t *testing.T) { f(t, m) })
	}
}

func TestServerStartsCrashesAndRecovers(t *testing.T) {
	forMajors(t, func(t *testing.T, major int) {
		c := Server(t, major, WALSegmentMiB(1), Checksums(false))
		c.Exec("CREATE TABLE a (i int)", "INSERT INTO a SELECT generate_series(1, 1000)", "CHECKPOINT",
			"SET synchronous_commit = on; INSERT INTO a SELECT generate_series(1, 1000)")
		for _, crash := range []func(){c.Kill, func() { c.Stop(Immediate) }} {
			crash()
			if c.Running() {
				t.Fatal("server runs after a crash")
			}
			c.Start()
			if got := c.Query("SELECT count(*) FROM a"); got != "2000" {
				t.Fatalf("rows after recovery: %s", got)
			}
		}
		if got := c.Query("SHOW data_checksums"); got != "off" {
			t.Fatalf("data_checksums = %s", got)
		}
	})
}

// TestBackupAndWALRestore is this package's own proof: PostgreSQL recovers
// from what BaseBackup and CollectWAL gave us, to the end of the WAL.
func TestBackupAndWALRestore(t *testing.T) {
	forMajors(t, func(t *testing.T, major int) {
		c := Server(t, major, WALSegmentMiB(1))
		spc := c.Dir("spc")
		c.Exec("CREATE TABLESPACE side LOCATION '"+spc+"'", "CREATE TABLE a (i int)", "CREATE TABLE b (i int) TABLESPACE side")
		insert := func(bool) {
			c.Exec("INSERT INTO a SELECT generate_series(1, 5000)", "INSERT INTO b SELECT generate_series(1, 5000)")
		}
		insert(false)
		scratch := t.TempDir()
		b := c.BaseBackupDuring(filepath.Join(scratch, "backup"), insert)
		if b.Start >= b.Stop {
			t.Fatalf("backup from %s to %s", b.Start, b.Stop)
		}
		insert(false)
		c.Stop(Fast)
		wal := filepath.Join(scratch, "wal")
		names := c.CollectWAL(wal)
		checkUnbroken(t, names, c.SegmentSize)

		r := c.Restore(b, wal)
		for _, table := range []string{"a", "b"} {
			if got := r.Query("SELECT count(*) FROM " + table); got != "20000" {
				t.Errorf("rows of %s after recovery: %s", table, got)
			}
		}
	})
}

// checkUnbroken fails the test if a segment is missing between the first and the last.
func checkUnbroken(t *testing.T, names []string, size int64) {
	t.Helper()
	if len(names) < 3 {
		t.Fatalf("segments: %v", names)
	}
	for i := 1; i < len(names); i++ {
		_, a, err1 := pg.ParseSegmentName(names[i-1], size)
		_, b, err2 := pg.ParseSegmentName(names[i], size)
		if err1 != nil || err2 != nil || b != a+1 {
			t.Fatalf("segments %s and %s do not follow each other", names[i-1], names[i])
		}
	}
}

func TestChangeBlock(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 3*pg.BlockSize), 0o600); err != nil {
		t.Fatal(err)
	}
	ChangeBlock(t, dir, "f", 1, func(p []byte) { p[5] = 7 })
	if ReadBlock(t, dir, "f", 1)[5] != 7 || ReadBlock(t, dir, "f", 0)[5] != 0 || ReadBlock(t, dir, "f", 2)[5] != 0 {
		t.Error("the change is not where it belongs")
	}
}

func TestCompressedArchive(t *testing.T) {
	c := Server(t, 17, WALSegmentMiB(1), CompressArchive("zst"))
	name := c.SwitchWAL()
	if _, err := os.Stat(filepath.Join(c.Archive, name+".zst")); err != nil {
		t.Fatal(err)
	}
	c.SwitchWAL()
	c.Stop(Fast)
	checkUnbroken(t, c.CollectWAL(t.TempDir()), c.SegmentSize)
}
