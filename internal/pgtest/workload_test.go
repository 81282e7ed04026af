package pgtest

import (
	"path/filepath"
	"strconv"
	"testing"
)

// TestMixedSurvives runs the workload with crashes, and PostgreSQL recovers
// the same rows from the backup in the middle and the WAL.
func TestMixedSurvives(t *testing.T) {
	LeaveToProve(t)
	forMajors(t, func(t *testing.T, major int) {
		c := Server(t, major, WALSegmentMiB(1))
		Mixed{Seed: 1, Crashes: 1, Tablespace: true, Rounds: 1}.Run(c)
		scratch := t.TempDir()
		b := c.BaseBackupDuring(filepath.Join(scratch, "backup"), func(copied bool) {
			if !copied {
				Mixed{Seed: 2, Clients: 2, Operations: 10}.Run(c)
			}
		})
		Mixed{Seed: 3, Operations: 12, Crashes: 1}.Run(c)
		const count = "SELECT sum(balance)::text || ' ' || (SELECT count(*) FROM history) || ' ' || (SELECT sum(length(body)) FROM document) FROM account"
		want := c.Query(count)
		if n, err := strconv.Atoi(c.Query("SELECT next_multixact_id FROM pg_control_checkpoint()")); err != nil || n < 2 {
			t.Errorf("multixacts: next is %d, %v", n, err)
		}
		c.Stop(Fast)
		wal := filepath.Join(scratch, "wal")
		checkUnbroken(t, c.CollectWAL(wal), c.SegmentSize)
		if got := c.Restore(b, wal).Query(count); got != want {
			t.Errorf("recovered %s, want %s", got, want)
		}
	})
}
