package verify_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
)

// TestAcrossTheBase is about what began before the base and ended in a crash
// behind it: a relation of a transaction that was running is nobody's, that of
// a prepared one is somebody's. Hints set behind the base are logged as images
// whose LSN the primary may or may not have stored.
func TestAcrossTheBase(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			c := pgtest.Server(t, major)
			h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")}
			c.Exec("CREATE TABLE hinted AS SELECT i, repeat('x', 100) FROM generate_series(1, 500) i")
			hinted := c.RelationPath("postgres", "hinted")
			running, kept := begin(t, c, "lingers"), begin(t, c, "kept", "PREPARE TRANSACTION 'kept'")
			c.BaseBackup(h.base)
			c.Exec("SELECT count(*) FROM hinted", "CHECKPOINT", "CREATE TABLE more (i int)", "SELECT txid_current()", "CHECKPOINT")
			c.Stop(pgtest.Immediate)
			c.Start()
			c.Exec("INSERT INTO more VALUES (1)")
			c.Stop(pgtest.Fast)
			c.CollectWAL(h.wal)
			wantClean(t, mustVerify(t, h.options()))
			hints(t, h, hinted)
			for _, path := range []string{running, kept} {
				pgtest.ChangeBlock(t, c.Data, path, 0, func(p []byte) {
					page.Page(p)[8100] ^= 0x55
					page.Page(p).SetChecksum(page.Page(p).ComputeChecksum(0))
				})
			}
			v := mustVerify(t, h.options())
			if len(v.Discrepancies) != 1 || v.Discrepancies[0].File != kept || v.Coverage.RelationsSkipped["orphan"] != 1 {
				t.Errorf("want one discrepancy in %s and none in %s: %s", kept, running, describe(v))
			}
		})
	}
}

// begin makes a table in a transaction of its own, which stays open, and
// returns the path of its file.
func begin(t *testing.T, c *pgtest.Cluster, table string, then ...string) (path string) {
	t.Helper()
	conn := c.Connect("postgres")
	for _, sql := range []string{"BEGIN", "CREATE TABLE " + table + " AS SELECT i, repeat('y', 100) FROM generate_series(1, 300) i"} {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.QueryRow(context.Background(), "SELECT pg_relation_filepath('"+table+"')").Scan(&path); err != nil {
		t.Fatal(err)
	}
	for _, sql := range then {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// hints proves the path of FPI_FOR_HINT: the LSN of before is as good as that
// of the record, and no other is.
func hints(t *testing.T, h history, path string) {
	t.Helper()
	v := mustVerify(t, h.options())
	b := pg.Block{Number: 2}
	if _, err := fmt.Sscanf(path, "base/%d/%d", &b.DB, &b.Rel); err != nil {
		t.Fatal(err)
	}
	b.Spc = pg.DefaultTablespaceOID
	recs, err := native.History(context.Background(), dirWAL{h.wal, h.SegmentSize}, v.Span, map[pg.Block]bool{b: true})
	if err != nil || len(recs[b]) != 1 || recs[b][0].OpName(h.Major) != "FPI_FOR_HINT" {
		t.Fatalf("records of %s: %+v (%v), want one FPI_FOR_HINT", b, recs[b], err)
	}
	file := filepath.Join(h.Data, path)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := pageAt(h.base, b).LSN()
	for _, c := range []struct {
		lsn  pg.LSN
		kind finding.Kind
	}{{before, ""}, {before - 8, finding.PhantomWrite}, {recs[b][0].End - 8, finding.PhantomWrite}} {
		pgtest.ChangeBlock(t, h.Data, path, b.Number, func(p []byte) {
			page.Page(p).SetLSN(c.lsn)
			page.Page(p).SetChecksum(page.Page(p).ComputeChecksum(b.Number))
		})
		v := mustVerify(t, h.options())
		switch {
		case c.kind == "":
			wantClean(t, v)
		case len(v.Discrepancies) != 1 || v.Discrepancies[0].Kind != c.kind || !strings.Contains(v.Discrepancies[0].Explanation, "official page"):
			t.Errorf("LSN %s: want one %s: %s", c.lsn, c.kind, describe(v))
		}
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
