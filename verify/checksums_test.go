package verify_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"redoubt/internal/pgtest"
)

// TestChecksumsSwitched: pg_checksums switches checksums off, or on, between
// base and official side. It leaves no WAL; off, pages keep the checksums of
// their last version; on, VISIBLE sets the LSN of heap pages.
func TestChecksumsSwitched(t *testing.T) {
	for _, on := range []bool{false, true}[:pick(1, 2)] {
		t.Run(fmt.Sprintf("on=%t", on), func(t *testing.T) {
			tool := pgtest.Tool(t, 15, "pg_checksums")
			c := pgtest.Server(t, 15, pgtest.Checksums(!on))
			h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")}
			for _, table := range []string{"changed", "vacuumed", "hinted"} {
				c.Exec("CREATE TABLE " + table + " AS SELECT i, repeat('c', 100) pad FROM generate_series(1, 3000) i")
			}
			c.BaseBackup(h.base)
			c.Exec("UPDATE changed SET pad = 'before' WHERE i % 10 = 0")
			c.Stop(pgtest.Fast)
			if _, err := c.Run(tool, map[bool]string{false: "--disable", true: "--enable"}[on], "--no-sync", "-D", c.Data); err != nil {
				t.Fatal(err)
			}
			c.Start()
			c.Exec("UPDATE changed SET pad = 'after' WHERE i % 7 = 0", "VACUUM vacuumed", "SELECT count(*) FROM hinted")
			c.Stop(pgtest.Fast)
			c.CollectWAL(h.wal)
			wantClean(t, mustVerify(t, h.options()))
		})
	}
}
