package verify_test

import (
	"fmt"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
)

// TestLostWritesOfThePrimary puts old versions of table and index pages, with
// checksums that are right, into a stopped server, which then writes to them.
// Official side and WAL agree to the byte; only the images in the WAL tell.
func TestLostWritesOfThePrimary(t *testing.T) {
	for i, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			opts := []pgtest.Option{pgtest.Autovacuum(false), pgtest.Checksums(i%2 == 0)}
			if i%2 == 1 {
				opts = append(opts, pgtest.Conf("wal_compression", "on"))
			}
			c := pgtest.Server(t, major, opts...)
			c.Exec("CREATE TABLE t (a int, b int) WITH (fillfactor = 50)", "CREATE INDEX t_b ON t (b) WITH (fillfactor = 50)",
				"INSERT INTO t SELECT i, i * 10 FROM generate_series(1, 4000) i", "VACUUM t")
			planted := map[string][]int64{c.RelationPath("postgres", "t"): {0, 3, 7}, c.RelationPath("postgres", "t_b"): {2, 5}}
			h := history{Cluster: c, base: c.Dir("backups") + "/base", wal: c.Dir("wal"), scratch: c.Dir("scratch")}
			c.BaseBackup(h.base)
			c.Stop(pgtest.Fast)
			old := map[string]page.Page{}
			key := func(path string, b int64) string { return fmt.Sprint(path, " ", b) }
			for path, blocks := range planted {
				for _, b := range blocks {
					old[key(path, b)] = pgtest.ReadBlock(t, c.Data, path, pg.BlockNumber(b))
				}
			}
			c.Start()
			c.Exec("UPDATE t SET a = -a WHERE a % 2 = 0", "INSERT INTO t SELECT i, i * 10 + 1 FROM generate_series(1, 4000, 9) i")
			c.Stop(pgtest.Fast)
			expected := map[string]pg.LSN{}
			for path, blocks := range planted {
				for _, b := range blocks {
					expected[key(path, b)] = page.Page(pgtest.ReadBlock(t, c.Data, path, pg.BlockNumber(b))).LSN()
					pgtest.ChangeBlock(t, c.Data, path, pg.BlockNumber(b), func(p []byte) { copy(p, old[key(path, b)]) })
				}
			}
			c.Start()
			c.Exec("SET enable_indexscan = off", "SET enable_bitmapscan = off", "DELETE FROM t WHERE a > 0 AND a % 5 = 0",
				"INSERT INTO t SELECT i, i * 10 + 2 FROM generate_series(1, 4000, 9) i")
			c.Stop(pgtest.Fast)
			c.CollectWAL(h.wal)

			v := mustVerify(t, h.options())
			if v.Verdict != finding.Discrepancies || len(v.Discrepancies) != 0 || len(v.Reasons) != 0 || v.Audit.LostWrites != 5 || v.CountingLostWrites() != 5 {
				t.Errorf("verdict %s, %+v:\n%s", v.Verdict, v.Audit, describe(v))
			}
			for _, l := range v.LostWrites {
				k := key(fmt.Sprintf("base/%d/%d", l.Relation.Database, l.Relation.RelFileNode), l.Block)
				want := map[string]string{"Heap": "public.t", "Heap2": "public.t", "Btree": "public.t_b"}[l.LastRecord.Rmgr]
				if old[k] == nil || l.ImageLSN != old[k].LSN() || l.ExpectedLSN != expected[k] || l.Relation.Name != want {
					t.Errorf("%s: %+v, want an image of %s where %s is expected", k, l, old[k].LSN(), expected[k])
				}
			}
		})
	}
}
