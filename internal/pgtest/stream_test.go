package pgtest

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestStreamBackup(t *testing.T) {
	forMajors(t, func(t *testing.T, major int) {
		c := Server(t, major, WALSegmentMiB(1))
		c.Exec("CREATE TABLESPACE side LOCATION '"+c.Dir("spc")+"'", "CREATE TABLE a (i int) TABLESPACE side", "INSERT INTO a VALUES (1)")
		dir, calls := filepath.Join(t.TempDir(), "b"), 0
		b := c.StreamBackup(dir, 5<<20, func() {
			calls++
			c.Exec("INSERT INTO a VALUES (2)")
		})
		if b.Start == 0 || b.Stop <= b.Start || calls != 2 {
			t.Fatalf("backup from %s to %s, %d calls midway", b.Start, b.Stop, calls)
		}
		oid := c.Query("SELECT oid FROM pg_tablespace WHERE spcname = 'side'")
		if len(tarEntries(t, filepath.Join(dir, oid+".tar"))) == 0 {
			t.Error("the tablespace's archive is empty")
		}
		entries := tarEntries(t, filepath.Join(dir, "base.tar"))
		for _, want := range []string{"backup_label", "tablespace_map", "global/pg_control", "PG_VERSION"} {
			if !entries[want] {
				t.Errorf("base.tar has no %s", want)
			}
		}
		m, err := os.ReadFile(filepath.Join(dir, "backup_manifest"))
		if err != nil || !json.Valid(m) {
			t.Errorf("manifest: %v, %.80q", err, m)
		}
	})
}

func tarEntries(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	found := map[string]bool{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = true
	}
}
