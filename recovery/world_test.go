package recovery_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"redoubt/internal/archive"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
	"redoubt/recovery"
	"redoubt/replay"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a cluster that lived, its base backup and its WAL.
type world struct {
	cluster *pgtest.Cluster // stopped
	backup  pgtest.Backup
	walDir  string
	configs int
	made    func(dir string, rep *recovery.Report) // if set: told of what is recovered, before a server starts on it
}

// live makes a world: work before and during the backup, and after it.
func live(t *testing.T, major int, before, during, after func(*pgtest.Cluster), opts ...pgtest.Option) *world {
	t.Helper()
	c := pgtest.Server(t, major, opts...)
	before(c)
	dir := c.Dir("w")
	w := &world{cluster: c, walDir: filepath.Join(dir, "wal")}
	w.backup = c.BaseBackupDuring(filepath.Join(dir, "base"), func(bool) { during(c) })
	after(c)
	c.Stop(pgtest.Immediate)
	c.CollectWAL(w.walDir)
	return w
}

// config is a recovery of the world, whose parts end with the test. Every other
// one reads the base's pages on demand.
func (w *world) config(t testing.TB) recovery.Config {
	t.Helper()
	ctx := context.Background()
	s, err := snapshot.Open(ctx, w.backup.Dir, snapshot.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	store, err := storage.Open(ctx, w.walDir)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	a, err := archive.Open(ctx, store, archive.Plain, archive.Options{})
	must(t, err)
	tl, err := a.Timeline(ctx, "default", "main")
	must(t, err)
	src, err := tl.Source(ctx, 0)
	must(t, err)
	stock, err := src.Stock(ctx)
	must(t, err)
	var base recovery.Base = side{s}
	if w.configs++; w.configs%2 == 1 {
		base = demanded{side{s}}
	}
	cfg := recovery.Config{Base: base, WAL: src, LastSegment: stock.Last, Scratch: t.TempDir(), Workers: 2}
	for tli, content := range stock.Histories {
		cfg.Histories = append(cfg.Histories, recovery.HistoryFile{TLI: tli, Content: content})
	}
	return cfg
}

// side is a snapshot as recovery wants it.
type side struct{ *snapshot.Snapshot }

func (s side) Name() string { return "base" }

// demanded is a side whose pages can be read in any order.
type demanded struct{ side }

// OnDemand fits replay.OnDemand.
func (d demanded) OnDemand(ctx context.Context, v datadir.Visitor) (replay.BasePages, error) {
	p, err := d.Snapshot.OnDemand(ctx, v)
	if p == nil || err != nil {
		return nil, err
	}
	return p, nil
}

func (s side) Meta(ctx context.Context) (recovery.Meta, error) {
	i, err := s.Peek(ctx)
	return recovery.Meta{
		Redo: i.Redo, Checkpoint: i.Checkpoint, TLI: i.StartTLI, Consistent: i.Consistent,
		Online: i.Online || i.Consistent != i.Redo,
	}, err
}

func (s side) Tablespaces() []pg.OID { return s.Info().Tablespaces }

// records lists where the records from an LSN on start.
func records(t testing.TB, cfg *recovery.Config, from pg.LSN) (starts []pg.LSN) {
	t.Helper()
	s, err := cfg.WAL.Open(context.Background(), from)
	must(t, err)
	defer func() { must(t, s.Close()) }()
	r := wal.NewReader(s.ReadPages, wal.Config{Start: from, SegmentSize: cfg.WAL.SegmentSize()})
	for {
		var rec wal.Record
		if err := r.Next(&rec); err != nil {
			return starts
		}
		starts = append(starts, rec.LSN)
	}
}

// some draws n of the LSNs.
func some(rnd *rand.Rand, all []pg.LSN, n int) (out []pg.LSN) {
	for range n {
		out = append(out, all[rnd.IntN(len(all))])
	}
	return out
}

// recovered recovers into a new directory and starts a server on it.
func (w *world) recovered(t *testing.T, cfg recovery.Config) (*pgtest.Cluster, *recovery.Report) {
	t.Helper()
	r := w.cluster.Beside()
	rep, err := recovery.ToDirectory(context.Background(), cfg, recovery.Directory{Path: r.Data})
	must(t, err)
	if w.made != nil {
		w.made(r.Data, rep)
	}
	r.Adopt()
	return r, rep
}
