package recovery_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/recovery"
	"redoubt/replay/server"
)

// TestFailover recovers over a promotion, to LSNs before and behind it, with a
// tablespace mapped to a directory of its own.
func TestFailover(t *testing.T) {
	t.Parallel()
	majors := []int{17}
	if os.Getenv("REDOUBT_PROVE") == "1" {
		majors = []int{15, 17}
	}
	for _, major := range majors {
		c := pgtest.Server(t, major, pgtest.WALSegmentMiB(1))
		fill := func(c *pgtest.Cluster) {
			c.Exec("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 2000) g", "INSERT INTO far SELECT generate_series(1, 2000)")
		}
		c.Exec("CREATE TABLE t (v int, w text)", "CREATE TABLESPACE away LOCATION '"+c.Dir("away")+"'", "CREATE TABLE far (v int) TABLESPACE away")
		fill(c)
		oid := pg.OID(0)
		for _, d := range c.Query("SELECT oid FROM pg_tablespace WHERE spcname = 'away'") {
			oid = oid*10 + pg.OID(d-'0')
		}
		dir := c.Dir("w")
		w := &world{cluster: c, walDir: filepath.Join(dir, "wal"), backup: c.BaseBackup(filepath.Join(dir, "base"))}
		fill(c)
		c.Checkpoint()
		fill(c)
		before := c.LSN()
		s := c.Standby(w.backup)
		fill(c)
		s.AwaitReplay(c.LSN())
		c.Stop(pgtest.Immediate)
		s.Promote()
		early := s.LSN()
		fill(s)
		s.Checkpoint()
		fill(s)
		s.SwitchWAL()
		fill(s)
		s.Stop(pgtest.Fast)
		s.CollectWAL(w.walDir)
		for _, to := range []pg.LSN{before, early, 0} {
			cfg := w.config(t)
			cfg.To = to
			sameCut(t, cfg)
			r, away := c.Beside(), filepath.Join(c.Beside().Dir("x"), "away")
			rep, err := recovery.ToDirectory(context.Background(), cfg, recovery.Directory{Path: r.Data, Tablespaces: map[pg.OID]string{oid: away}})
			must(t, err)
			if to, err := os.Readlink(filepath.Join(r.Data, "pg_tblspc", "0")); err == nil {
				t.Errorf("there is a link to %s for no tablespace", to)
			}
			if found, err := os.ReadDir(away); err != nil || len(found) != 1 {
				t.Errorf("the mapped tablespace has %v: %v", found, err)
			}
			c.Own(away)
			if to == early { // somebody makes the first start at once
				_, err := server.Finish(context.Background(), server.Config{Bins: server.Bins{Dir: c.Bin}, Scratch: c.Dir("scratch")},
					server.Recovery{Data: r.Data, Major: major, Spaces: []string{away}, Last: rep.Redone})
				must(t, err)
			}
			r.Adopt()
			conf := []string{"hot_standby = off", "recovery_target_timeline = 'latest'"}
			if to != 0 {
				conf = append(conf, "recovery_target_lsn = '"+to.String()+"'", "recovery_target_inclusive = off")
			}
			want := c.Restore(w.backup, w.walDir, conf...)
			t.Logf("PostgreSQL %d to %s: native %s to %s, tail to %s, TLI %d", major, rep.To, rep.Start, rep.Redo, rep.End, rep.TLI)
			for _, d := range r.Digest().Differences(want.Digest()) {
				t.Errorf("PostgreSQL %d to %s: %s", major, rep.To, d)
			}
			want.Stop(pgtest.Immediate)
			r.Amcheck()
			r.Stop(pgtest.Fast)
		}
	}
}

// sameCut holds a target that is cut back to its checkpoint against what
// FindTarget finds for the end of that checkpoint's record.
func sameCut(t *testing.T, cfg recovery.Config) {
	t.Helper()
	ctx := context.Background()
	meta, err := cfg.Base.Meta(ctx)
	must(t, err)
	found, err := recovery.FindTarget(ctx, cfg.WAL, recovery.Wanted{Meta: meta, To: cfg.To, LastSegment: cfg.LastSegment})
	must(t, err)
	if !found.Native() {
		t.Fatalf("no checkpoint up to %s", found.End)
	}
	cut := found.AtCheckpoint(cfg.WAL.SegmentSize())
	want, err := recovery.FindTarget(ctx, cfg.WAL, recovery.Wanted{Meta: meta, To: cut.End})
	must(t, err)
	if !reflect.DeepEqual(cut, want) {
		t.Errorf("%s cut back to its checkpoint is\n%+v, want\n%+v", found.To, cut, want)
	}
}

// TestStandbyBase recovers from a base backup that was taken from a standby,
// and from the data directory of one that was shut down.
func TestStandbyBase(t *testing.T) {
	t.Parallel()
	c := pgtest.Server(t, 17, pgtest.WALSegmentMiB(1))
	fill := func() { c.Exec("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 2000) g") }
	c.Exec("CREATE TABLE t (v int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, w int, x text)", "ALTER TABLE t DROP COLUMN v")
	dir := c.Dir("w")
	s := c.Standby(c.BaseBackup(filepath.Join(dir, "first")))
	fill()
	c.Checkpoint()
	s.AwaitReplay(c.LSN())
	s.Exec("CHECKPOINT") // a restartpoint
	fill()
	s.AwaitReplay(c.LSN())
	online := s.BaseBackup(filepath.Join(dir, "online"))
	fill()
	c.Checkpoint()
	fill()
	s.AwaitReplay(c.LSN())
	stopped := filepath.Join(dir, "stopped")
	s.CleanCopy(stopped)
	fill()
	middle := c.LSN()
	fill()
	c.Checkpoint()
	fill()
	c.Stop(pgtest.Immediate)
	c.CollectWAL(filepath.Join(dir, "wal"))
	for _, b := range []pgtest.Backup{online, {Dir: stopped}} {
		w := &world{cluster: c, walDir: filepath.Join(dir, "wal"), backup: b}
		must(t, os.RemoveAll(filepath.Join(b.Dir, "standby.signal")))
		for _, to := range []pg.LSN{middle, 0} {
			cfg := w.config(t)
			cfg.To = to
			w.compare(t, cfg)
		}
	}
}
