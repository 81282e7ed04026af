package native

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/archive"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
)

// TestProperties are those of replay on a server's WAL of all index methods:
// any number of workers is one worker, a span replayed over its own result
// changes nothing, and a span cut in two is the whole.
func TestProperties(t *testing.T) {
	for _, major := range []int{14, 15, 16, 17, 18} {
		if major != 17 && !pgtest.Prove() {
			continue
		}
		for _, images := range []bool{true, false} {
			if !images && !pgtest.Prove() {
				continue
			}
			t.Run(fmt.Sprintf("%d full_page_writes=%t", major, images), func(t *testing.T) { properties(t, serverSpan(t, major, images), images) })
		}
	}
}

func properties(t *testing.T, w *world, images bool) {
	one := play(t, Config{Workers: 1}, w.wal, Span{Range: w.span}, w.base)
	want := states(t, one)
	for _, workers := range []int{2, 3, 8} {
		sameStates(t, fmt.Sprintf("%d workers", workers), states(t, play(t, Config{Workers: workers}, w.wal, Span{Range: w.span}, w.base)), want)
	}
	for b, s := range want {
		if s.failed != "<nil>" || s.invalid != 0 || s.tainted {
			t.Errorf("%s: failed %s, invalid %s, tainted %t", b, s.failed, s.invalid, s.tainted)
		}
	}
	once := after(t, one, w.base)
	twice := after(t, play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, once), once)
	if !images {
		// Bits are cleared by records that carry no LSN of the map, also on a
		// map from the future; without its image nothing sets them again.
		for b := range twice.pages {
			if b.Fork == pg.VMFork {
				twice.pages[b] = once.pages[b]
			}
		}
	}
	sameMemory(t, "twice", twice, once)
	from := 0
	for w.starts[from] < w.stop {
		from++
	}
	for range 3 {
		w.cutAt(t, w.starts[from+rand.IntN(len(w.starts)-from)], once)
	}
	t.Logf("%d records, %d blocks replayed", len(w.starts), one.BlocksReplayed)
	if pgtest.Prove() {
		w.cutEverywhere(t, from, 500)
	}
}

// cutEverywhere cuts a span that ends n records behind the first one of
// consistency at each of these.
func (w *world) cutEverywhere(t *testing.T, first, n int) {
	short := *w
	short.span.To = w.starts[first+n]
	whole := after(t, play(t, Config{Workers: 2}, w.wal, Span{Range: short.span}, w.base), w.base)
	for _, cut := range w.starts[first : first+n] {
		short.cutAt(t, cut, whole)
	}
}

// cutAt replays the span in two parts, the second over what the first left.
func (w *world) cutAt(t *testing.T, cut pg.LSN, want *memory) {
	t.Helper()
	middle := after(t, play(t, Config{Workers: 2}, w.wal, Span{Range: pg.Range{From: w.span.From, To: cut}}, w.base), w.base)
	second := play(t, Config{Workers: 2}, w.wal, Span{Range: pg.Range{From: cut, To: w.span.To}, Clean: true}, middle)
	for b, s := range states(t, second) {
		if s.future != 0 || s.failed != "<nil>" || s.invalid != 0 {
			t.Errorf("from %s: %s: future %s, failed %s, invalid %s", cut, b, s.future, s.failed, s.invalid)
		}
	}
	sameMemory(t, "cut at "+cut.String(), after(t, second, middle), want)
}

// serverSpan is a base backup and the WAL behind it, up to a clean stop.
func serverSpan(t *testing.T, major int, images bool) *world {
	t.Helper()
	c := pgtest.Server(t, major, pgtest.WALSegmentMiB(4), pgtest.FullPageWrites(images), pgtest.Conf("track_commit_timestamp", "on"))
	dir := c.Dir("w")
	pgtest.Mixed{Seed: 5, Clients: 1, Rounds: 1}.Run(c) // what the base has
	b := c.BaseBackup(filepath.Join(dir, "base"))
	pgtest.Mixed{Seed: 6, Clients: 2, Operations: 25}.Run(c)
	c.Stop(pgtest.Fast)
	c.CollectWAL(filepath.Join(dir, "wal"))
	w := &world{base: newMemory(), stop: b.Stop}
	must(t, w.readBase(b.Dir))
	raw, err := os.ReadFile(filepath.Join(c.Data, datadir.ControlPath))
	must(t, err)
	control, err := datadir.ParseControl(raw)
	must(t, err)
	w.span = pg.Range{From: b.Start, To: control.CheckPointLSN}
	store, err := storage.Open(t.Context(), filepath.Join(dir, "wal"))
	must(t, err)
	defer func() { _ = store.Close() }()
	a, err := archive.Open(t.Context(), store, archive.Plain, archive.Options{})
	must(t, err)
	tl, err := a.Timeline(t.Context(), "default", "main")
	must(t, err)
	src, err := tl.Source(t.Context(), 1)
	must(t, err)
	first := pg.SegmentOf(w.span.From, c.SegmentSize)
	must(t, w.load(t.Context(), src, first, int(pg.SegmentOf(w.span.To, c.SegmentSize)-first)+1))
	must(t, w.findRecords())
	must(t, w.narrow())
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// narrow leaves of the base only the relations that the span touches.
func (w *world) narrow() error {
	e := New(Config{}, w.wal, Span{Range: w.span})
	defer func() { _ = e.Close() }()
	if _, err := e.Scan(context.Background()); err != nil {
		return err
	}
	gone := func(f pg.RelFork) bool { return e.touched[f] == nil && !e.keepDB[dbKey{f.Spc, f.DB}] }
	maps.DeleteFunc(w.base.pages, func(b pg.Block, _ []byte) bool { return gone(b.RelFork) })
	maps.DeleteFunc(w.base.sizes, func(f pg.RelFork, _ pg.BlockNumber) bool { return gone(f) })
	return nil
}
