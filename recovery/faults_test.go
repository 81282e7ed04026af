package recovery_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
	"redoubt/recovery"
	"redoubt/replay/server"
)

// small is a world of one table, four checkpoints and a known moment.
type small struct {
	*world
	moment time.Time // between two commits
	rows   string    // of the table at that moment
	calm   string    // path of a table that nothing touches
}

func smallWorld(t *testing.T, major int) *small {
	t.Helper()
	s := &small{}
	fill := func(c *pgtest.Cluster) {
		c.Exec("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 2000) g")
	}
	s.world = live(t, major, func(c *pgtest.Cluster) {
		c.Exec("CREATE TABLE t (v int, w text)", "CREATE INDEX ON t (v)")
		fill(c)
		c.Exec("CREATE TABLE calm AS SELECT repeat('y', 100) FROM generate_series(1, 1000)", "VACUUM calm")
		s.calm = c.RelationPath("postgres", "calm")
		c.Checkpoint()
	}, fill, func(c *pgtest.Cluster) {
		for range 3 {
			fill(c)
			c.Checkpoint()
		}
		fill(c)
		s.rows = c.Query("SELECT count(*) FROM t")
		time.Sleep(20 * time.Millisecond)
		var err error
		s.moment, err = time.Parse("2006-01-02 15:04:05.999999-07", c.Query("SELECT clock_timestamp()::text"))
		must(t, err)
		time.Sleep(20 * time.Millisecond)
		fill(c)
		c.SwitchWAL()
		fill(c)
		c.SwitchWAL()
		fill(c)
	}, pgtest.WALSegmentMiB(1))
	return s
}

// TestSmall is all that one small world is enough for.
func TestSmall(t *testing.T) {
	t.Parallel()
	w := smallWorld(t, 15)
	t.Run("Faults", func(t *testing.T) { faults(t, w) })
	t.Run("Plain", func(t *testing.T) { plain(t, w) })
	t.Run("Directory", func(t *testing.T) { directories(t, w) })
	t.Run("Durable", func(t *testing.T) { durable(t, w) })
}

// unfinished wants a directory on which no server starts.
func unfinished(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, datadir.ControlPath)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s looks finished: %v", dir, err)
	}
}

// faults damages what a recovery reads, and asks for what cannot be had.
func faults(t *testing.T, w *small) {
	ctx := context.Background()
	fails := func(t *testing.T, cfg recovery.Config, as any, say string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "data")
		_, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: dir})
		if err == nil || !errors.As(err, as) || !strings.Contains(err.Error(), say) {
			t.Errorf("%v\nwant a %T that says %q", err, as, say)
		}
		unfinished(t, dir)
	}
	var input *recovery.InputError
	var walErr *recovery.WALError

	t.Run("target before the base is consistent", func(t *testing.T) {
		cfg := w.config(t)
		cfg.To = w.backup.Start + 8
		fails(t, cfg, &input, w.backup.Stop.String())
		cfg.To = w.backup.Start - 8
		fails(t, cfg, &input, w.backup.Start.String())
	})
	t.Run("target behind the WAL", func(t *testing.T) {
		cfg := w.config(t)
		cfg.To = 0x7FFFFFFF
		fails(t, cfg, &walErr, "7FFFFFFF is the target")
		cfg.To, cfg.ToTime = 0, time.Now().Add(time.Hour)
		fails(t, cfg, &walErr, "no commit after")
	})
	t.Run("moment", func(t *testing.T) {
		cfg := w.config(t)
		cfg.ToTime = w.moment
		got, rep := w.recovered(t, cfg)
		if n := got.Query("SELECT count(*) FROM t"); n != w.rows || rep.LastCommit.After(w.moment) || rep.To == 0 || !rep.Native() {
			t.Errorf("%s rows, want %s; %+v", n, w.rows, rep.Target)
		}
		got.Stop(pgtest.Immediate)
	})
	t.Run("WAL missing in the middle", func(t *testing.T) {
		other := w.copied(t)
		names, err := pgtest.SegmentsIn(other.walDir, w.cluster.SegmentSize)
		must(t, err)
		must(t, os.Remove(filepath.Join(other.walDir, names[len(names)-2])))
		fails(t, other.config(t), &walErr, "later segments are there")
	})
	t.Run("damage in the middle", func(t *testing.T) {
		other := w.copied(t)
		cfg := w.config(t)
		all := records(t, &cfg, w.backup.Stop)
		at := all[len(all)/2]
		seg := pg.SegmentOf(at, w.cluster.SegmentSize)
		spoil(t, filepath.Join(other.walDir, pg.SegmentName(1, seg, w.cluster.SegmentSize)), int64(at-seg.Start(w.cluster.SegmentSize))+20)
		fails(t, other.config(t), &walErr, "later segments are there")
	})
	t.Run("rotten page that no WAL touches", func(t *testing.T) {
		other := w.copied(t)
		spoil(t, filepath.Join(other.backup.Dir, w.calm), 8192+4000)
		rep, err := recovery.ToDirectory(ctx, other.config(t), recovery.Directory{Path: filepath.Join(t.TempDir(), "data")})
		must(t, err)
		if rep.DamagedPages != 1 {
			t.Errorf("%d damaged pages: %v", rep.DamagedPages, rep.Damaged)
		}
	})
	t.Run("WAL ends in the middle of a record", func(t *testing.T) {
		other := w.copied(t)
		cfg := w.config(t)
		all := records(t, &cfg, w.backup.Stop)
		last := all[len(all)-200]
		cut(t, other, last+24)
		if rep := other.compare(t, other.config(t)); rep.End > last || rep.To != rep.End {
			t.Errorf("recovered to %s, end %s; the record at %s is torn", rep.To, rep.End, last)
		}
	})
	t.Run("tail damaged since", func(t *testing.T) {
		r := w.cluster.Beside()
		rep, err := recovery.ToDirectory(ctx, w.config(t), recovery.Directory{Path: r.Data})
		must(t, err)
		seg := pg.SegmentOf(rep.Last, w.cluster.SegmentSize)
		spoil(t, filepath.Join(r.Data, "pg_wal", pg.SegmentName(1, seg, w.cluster.SegmentSize)), int64(rep.Last-seg.Start(w.cluster.SegmentSize))+20)
		err = r.TryAdopt()
		if err == nil || !strings.Contains(err.Error(), "recovery ended before configured recovery target was reached") {
			t.Errorf("the server started on a tail without its last record: %v", err)
		}
	})
}

// plain lets PostgreSQL do all of it, at once.
func plain(t *testing.T, w *small) {
	ctx := context.Background()
	cfg := w.config(t)
	all := records(t, &cfg, w.backup.Stop)
	cfg.To, cfg.Plain = all[len(all)*3/4], true
	r := w.cluster.Beside()
	rep, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: r.Data})
	must(t, err)
	how := server.Config{Bins: server.Bins{Dir: w.cluster.Bin}, Scratch: w.cluster.Beside().Dir("scratch")}
	_, err = server.Finish(ctx, how, server.Recovery{Data: r.Data, Major: 15, Last: rep.Redone})
	must(t, err)
	if _, err := os.Stat(filepath.Join(r.Data, "recovery.signal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server has not recovered: %v", err)
	}
	r.Adopt()
	want := w.cluster.Restore(w.backup, w.walDir, "hot_standby = off", "recovery_target_lsn = '"+cfg.To.String()+"'", "recovery_target_inclusive = off")
	for _, d := range r.Digest().Differences(want.Digest()) {
		t.Error(d)
	}
	if rep.Native() {
		t.Errorf("%+v: the native engine has done something", rep.Target)
	}

	// One whose tail is damaged gets nowhere.
	r = w.cluster.Beside()
	rep, err = recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: r.Data})
	must(t, err)
	seg := pg.SegmentOf(rep.Last, w.cluster.SegmentSize)
	spoil(t, filepath.Join(r.Data, "pg_wal", pg.SegmentName(1, seg, w.cluster.SegmentSize)), int64(rep.Last-seg.Start(w.cluster.SegmentSize))+20)
	var failed *server.Failure
	if _, err := server.Finish(ctx, how, server.Recovery{Data: r.Data, Major: 15, Last: rep.Redone}); !errors.As(err, &failed) {
		t.Errorf("%v, want a failure", err)
	}
}

// directories recovers into directories that are none of ours, that another
// recovery works on, and that one has left in any state.
func directories(t *testing.T, w *small) {
	into := func(ctx context.Context, cfg recovery.Config, dir string) error {
		_, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: dir})
		return err
	}
	refused := func(err error, say string) {
		t.Helper()
		var input *recovery.InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), say) {
			t.Errorf("%v, want a refusal that says %q", err, say)
		}
	}
	foreign := t.TempDir()
	must(t, os.WriteFile(filepath.Join(foreign, "notes"), []byte("mine"), 0o600))
	refused(into(context.Background(), w.config(t), foreign), "is not empty")

	r := w.cluster.Beside()
	for calls := 1; ; calls *= 3 { // later and later
		ctx, cancel := context.WithCancel(context.Background())
		cfg := w.config(t)
		n := 0
		cfg.Stage = func(string, int64, int64) {
			if n++; n == 1 {
				refused(into(context.Background(), w.config(t), r.Data), "under way")
			}
			if n == calls {
				cancel()
			}
		}
		err := into(ctx, cfg, r.Data)
		cancel()
		if err == nil && n < calls {
			break
		}
		if err == nil { // cancelled when nothing waited for anything any more
			r = w.cluster.Beside()
			continue
		}
		unfinished(t, r.Data)
		cfg = w.config(t)
		cfg.To = w.backup.Stop + 8
		refused(into(context.Background(), cfg, r.Data), "another recovery")
	}
	refused(into(context.Background(), w.config(t), r.Data), "is not empty")
	r.Adopt()
	r.Amcheck()
}

// copied is the world with a base and an archive of its own.
func (s *small) copied(t *testing.T) *world {
	t.Helper()
	w, dir := *s.world, s.cluster.Beside().Dir("copy")
	w.walDir, w.backup.Dir = filepath.Join(dir, "wal"), filepath.Join(dir, "base")
	must(t, os.CopyFS(w.walDir, os.DirFS(s.walDir)))
	must(t, os.CopyFS(w.backup.Dir, os.DirFS(s.backup.Dir)))
	must(t, os.Chmod(w.backup.Dir, 0o700))
	return &w
}

// spoil flips a bit of a file.
func spoil(t *testing.T, name string, at int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	b[at] ^= 1
	must(t, os.WriteFile(name, b, 0o600))
}

// cut ends the archive at an LSN, as a copy of the segment being written would.
func cut(t *testing.T, w *world, at pg.LSN) {
	t.Helper()
	size := w.cluster.SegmentSize
	names, err := pgtest.SegmentsIn(w.walDir, size)
	must(t, err)
	for _, name := range names {
		_, seg, err := pg.ParseSegmentName(name, size)
		must(t, err)
		path := filepath.Join(w.walDir, name)
		switch {
		case seg > pg.SegmentOf(at, size):
			must(t, os.Remove(path))
		case seg == pg.SegmentOf(at, size):
			must(t, os.Truncate(path, int64(at-seg.Start(size))))
			must(t, os.Truncate(path, size))
		}
	}
}
