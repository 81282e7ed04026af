package server

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"redoubt/internal/archive"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
	"redoubt/replay"
	"redoubt/replay/native"
)

// world is a base and the WAL behind it.
type world struct {
	major   int
	bins    Bins
	scratch string
	base    Base
	online  bool
	start   pg.LSN // of the base
	first   pg.LSN // from where it is consistent
	wal     replay.WALSource
	cluster *pgtest.Cluster
	dirs    [2]string // of base and WAL
}

// history lives a cluster: a base backup, a workload, a clean stop.
func history(t *testing.T, major int, work func(*pgtest.Cluster), opts ...pgtest.Option) *world {
	t.Helper()
	c := pgtest.Server(t, major, opts...)
	dir := c.Dir("w")
	b := c.BaseBackup(filepath.Join(dir, "base"))
	work(c)
	c.Stop(pgtest.Fast)
	c.CollectWAL(filepath.Join(dir, "wal"))
	w := &world{major: major, bins: Bins{Dir: c.Bin}, scratch: c.Dir("scratch"), start: b.Start, first: b.Stop, online: true, cluster: c}
	w.open(t, b.Dir, filepath.Join(dir, "wal"))
	return w
}

// open opens a base and an archive of plain segments.
func (w *world) open(t *testing.T, base, walDir string) {
	t.Helper()
	ctx := context.Background()
	w.dirs = [2]string{base, walDir}
	w.base = openBase(t, base)
	store, err := storage.Open(ctx, walDir)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	a, err := archive.Open(ctx, store, archive.Plain, archive.Options{Tenant: "t", Timeline: "main"})
	must(t, err)
	tl, err := a.Timeline(ctx, "t", "main")
	must(t, err)
	w.wal, err = tl.Source(ctx, 0)
	must(t, err)
}

func openBase(t *testing.T, dir string) *snapshot.Snapshot {
	t.Helper()
	s, err := snapshot.Open(context.Background(), dir, snapshot.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) config() Config { return Config{Bins: w.bins, Scratch: w.scratch} }

func (w *world) serve(t *testing.T, to pg.LSN) *Result {
	t.Helper()
	res, err := Run(context.Background(), w.config(), w.wal, w.base, Span{Range: pg.Range{From: w.start, To: to}, Major: w.major})
	must(t, err)
	t.Cleanup(func() { must(t, res.Close()) })
	if res.Failed != nil {
		t.Fatalf("up to %s: %v\n%s", to, res.Failed, res.Log)
	}
	return res
}

// replayed is what the native engine makes of the same span.
type replayed struct {
	*native.Result
	base   *dump
	noCIDs bool // its command ids are not compared
}

func (w *world) native(t *testing.T, to pg.LSN) replayed {
	t.Helper()
	ctx := context.Background()
	e := native.New(native.Config{Scratch: w.scratch, Workers: 2, DetectDialect: true}, w.wal, native.Span{Range: pg.Range{From: w.start, To: to}, Clean: !w.online})
	t.Cleanup(func() { must(t, e.Close()) })
	_, err := e.Scan(ctx)
	must(t, err)
	d := newDump()
	must(t, w.base.Walk(ctx, both{e, d}))
	e.SetBase(native.Base{Checksums: d.control.Checksums(), WALLogHints: d.control.WALLogHints, CommitTs: d.control.TrackCommitTimestamp})
	res, err := e.Replay(ctx)
	must(t, err)
	return replayed{Result: res, base: d}
}

// page is a block after the native replay.
func (r replayed) page(t *testing.T, f native.Fork, n pg.BlockNumber) (p native.Page, content []byte) {
	t.Helper()
	p, err := r.Page(f.RelFork, n, make([]byte, pg.BlockSize))
	must(t, err)
	switch {
	case p.Bytes != nil:
		return p, p.Bytes
	case n < f.BaseBlocks:
		return p, r.base.page(f.RelFork, n)
	}
	return p, make([]byte, pg.BlockSize)
}

// withoutCIDs is a heap page with command ids as stock redo leaves them.
func withoutCIDs(b []byte) page.Page {
	p := page.Page(bytes.Clone(b))
	for i := 1; i <= p.NumItems(); i++ {
		if t, ok := p.HeapTuple(i); ok {
			t.SetField3(0)
			t.SetInfomask(t.Infomask() &^ page.HeapComboCID)
		}
	}
	return p
}

// dump is a data directory in memory.
type dump struct {
	rels    map[pg.RelFork][]byte
	slrus   map[pg.SLRUPage][]byte
	maps    map[native.RelMapKey][]byte
	control datadir.Control
}

func newDump() *dump {
	return &dump{rels: map[pg.RelFork][]byte{}, slrus: map[pg.SLRUPage][]byte{}, maps: map[native.RelMapKey][]byte{}}
}

func (d *dump) page(f pg.RelFork, n pg.BlockNumber) []byte {
	at := int(n) * pg.BlockSize
	if b := d.rels[f]; at < len(b) {
		return b[at : at+pg.BlockSize]
	}
	return nil
}

func (d *dump) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if !wanted(f) {
		return nil
	}
	b := d.rels[f.RelFork]
	if end := int(first)*pg.BlockSize + len(pages); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[int(first)*pg.BlockSize:], pages)
	d.rels[f.RelFork] = b
	return nil
}

func (d *dump) EndRelation(f datadir.RelFile, _ int64) error {
	if wanted(f) {
		d.rels[f.RelFork] = append(d.rels[f.RelFork], nil...)
		if d.rels[f.RelFork] == nil {
			d.rels[f.RelFork] = []byte{}
		}
	}
	return nil
}

func (d *dump) File(path string, content []byte) (err error) {
	switch c := datadir.Classify(path); c.Class {
	case datadir.ControlFile:
		d.control, err = datadir.ParseControl(content)
	case datadir.SLRUSegment:
		for i := 0; i+pg.BlockSize <= len(content); i += pg.BlockSize {
			d.slrus[pg.SLRUPage{SLRU: c.SLRU, Page: c.First + uint32(i/pg.BlockSize)}] = bytes.Clone(content[i : i+pg.BlockSize])
		}
	case datadir.RelationMap:
		d.maps[native.RelMapKey{Spc: c.Spc, DB: c.DB}] = bytes.Clone(content)
	}
	return err
}

// both hands everything to two visitors.
type both [2]datadir.Visitor

func (b both) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if err := b[0].Blocks(f, first, pages); err != nil {
		return err
	}
	return b[1].Blocks(f, first, pages)
}

func (b both) EndRelation(f datadir.RelFile, size int64) error {
	if err := b[0].EndRelation(f, size); err != nil {
		return err
	}
	return b[1].EndRelation(f, size)
}

func (b both) File(path string, content []byte) error {
	if err := b[0].File(path, content); err != nil {
		return err
	}
	return b[1].File(path, content)
}
