package verify_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
)

// rareRecords are what TestRare must see.
var rareRecords = []string{
	"XLOG FPW_CHANGE", "XLOG RESTORE_POINT", "CLOG ZEROPAGE", "CLOG TRUNCATE", "MultiXact ZERO_OFF_PAGE", "MultiXact ZERO_MEM_PAGE", "MultiXact TRUNCATE_ID",
	"CommitTs ZEROPAGE", "CommitTs TRUNCATE", "ReplicationOrigin SET", "ReplicationOrigin DROP", "LogicalMessage MESSAGE", "Btree INSERT_META",
	"XLOG CHECKPOINT_SHUTDOWN", "Heap2 LOCK_UPDATED", "Hash VACUUM_ONE_PAGE", "Gist DELETE", "Gist PAGE_REUSE", "SPGist VACUUM_ROOT",
}

// TestRare verifies a cluster that wrote records which others seldom write. It
// uses up two million transaction ids: where not all is to be proven it leaves
// that to TestWrapAround, which wants the same records.
func TestRare(t *testing.T) {
	pgtest.LeaveToProve(t)
	for _, major := range majors {
		s := settings{major, true, true, true}
		t.Run(s.String(), func(t *testing.T) {
			w := pgtest.Rare{XIDs: 1 << 20, Multis: 70_000}
			h := live(t, major, w.Run, append(s.options(), pgtest.CompressArchive("zst"))...)
			h.prove(t).want(t, rareRecords...)
		})
	}
}

// TestWrapAround verifies a cluster whose transaction ids, multixacts and
// members come round, and whose SLRUs are then truncated. It wants pg_resetwal,
// which only Debian's servers bring.
func TestWrapAround(t *testing.T) {
	for _, major := range wrapMajors() {
		s := settings{major, true, true, true}
		t.Run(s.String(), func(t *testing.T) {
			c := pgtest.Server(t, major, append(s.options(), pgtest.CompressArchive("zst"))...)
			c.NearWrap(30_000, 3000, 4000)
			h := liveOn(c, pgtest.Rare{XIDs: 50_000, Multis: 5000}.Run)
			h.prove(t).want(t, rareRecords...)
			// The counters of transaction ids go on in a new epoch, the others from the start.
			if at := lastCheckPoint(t, h.Data); at.NextXID>>32 != 1 || at.NextMulti > 1<<16 || at.NextMultiOffset > 1<<16 {
				t.Errorf("the next ids are %d, %d and %d: not all came round", at.NextXID, at.NextMulti, at.NextMultiOffset)
			}
		})
	}
}

// wrapMajors are those that CI has pg_resetwal of, or all that there is one of.
func wrapMajors() []int {
	if !pgtest.Prove() {
		return []int{15}
	}
	return slices.DeleteFunc(slices.Clone(pgtest.Majors), func(major int) bool { return pgtest.FindTool(major, "pg_resetwal") == "" })
}

// lastCheckPoint is that of a stopped cluster.
func lastCheckPoint(t *testing.T, dir string) datadir.CheckPoint {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, datadir.ControlPath))
	if err != nil {
		t.Fatal(err)
	}
	c, err := datadir.ParseControl(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c.CheckPoint
}

// TestHashBitmap verifies a hash index of so many overflow pages that it needs
// a second bitmap of them: 2,000 keys with 7,350 rows each.
func TestHashBitmap(t *testing.T) {
	pgtest.LeaveToProve(t)
	s := settings{17, false, true, false}
	t.Run(s.String(), func(t *testing.T) {
		c := pgtest.Server(t, s.major, append(s.options(), pgtest.CompressArchive("zst"), pgtest.Conf("maintenance_work_mem", "256MB"), pgtest.Conf("max_wal_size", "4GB"))...)
		c.Exec("CREATE TABLE many AS SELECT i % 2000 k FROM generate_series(1, 14700000) i", "ANALYZE many")
		h := liveOn(c, func(c *pgtest.Cluster) {
			c.Exec("CREATE EXTENSION pageinspect", "CREATE INDEX many_k ON many USING hash (k)")
			if maps := c.Query("SELECT nmaps FROM hash_metapage_info(get_raw_page('many_k', 0))"); maps == "1" {
				t.Error("the index has only one bitmap page")
			}
			c.Exec("DELETE FROM many WHERE k = 7", "VACUUM many", "INSERT INTO many SELECT 8 FROM generate_series(1, 1000)")
		})
		h.prove(t).want(t, "Hash ADD_OVFL_PAGE", "Hash SQUEEZE_PAGE")
	})
}
