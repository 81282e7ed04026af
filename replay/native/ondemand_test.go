package native

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay"
)

// All that the other tests of this package play, of nothing but what a filter
// lets through, is replayed on demand, too: the result is the same.

var _ replay.BasePages = (*memory)(nil)

// Close fits replay.BasePages.
func (m *memory) Close() error { return nil }

// Page fits replay.BasePages.
func (m *memory) Page(f pg.RelFork, n pg.BlockNumber, p []byte) (bool, error) {
	from, ok := m.pages[pg.Block{RelFork: f, Number: n}]
	return ok && n < m.sizes[f] && copy(p, from) == pg.BlockSize, nil
}

// SLRUPage fits replay.BasePages.
func (m *memory) SLRUPage(s pg.SLRUPage, p []byte) (bool, error) {
	content, off := m.files[datadir.SLRUPath(s)], int(s.Page%pg.SLRUPagesPerSegment)*pg.BlockSize
	return off+pg.BlockSize <= len(content) && copy(p, content[off:]) == pg.BlockSize, nil
}

// outline shows a visitor all but pages.
func (m *memory) outline(v datadir.Visitor) error {
	for f, size := range m.sizes {
		if err := v.EndRelation(datadir.RelFile{RelFork: f, Path: datadir.RelPath(f, 0, "")}, int64(size)*pg.BlockSize); err != nil {
			return err
		}
	}
	for path, content := range m.files {
		if err := v.File(path, content); err != nil {
			return err
		}
	}
	return nil
}

// demanding is an engine that was shown the base's outline.
func demanding(t testing.TB, cfg Config, src replay.WALSource, span Span, base *memory, settings Base) *Engine {
	t.Helper()
	cfg.Scratch, cfg.Progress = t.TempDir(), nil
	e := New(cfg, src, span)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := base.outline(e); err != nil {
		t.Fatal(err)
	}
	e.SetBase(settings)
	return e
}

// playOnDemand plays without a Scan what was played with one.
func playOnDemand(t testing.TB, cfg Config, src replay.WALSource, span Span, base *memory, want *Result) {
	t.Helper()
	settings, err := base.settings()
	if err != nil {
		t.Fatal(err)
	}
	_, res, err := demanding(t, cfg, src, span, base, settings).ReplayOnDemand(context.Background(), base)
	if err != nil {
		t.Fatalf("on demand: %v", err)
	}
	sameMemory(t, "on demand", after(t, res, base), after(t, want, base))
	sameResult(t, res, want)
}

func (s *script) playOnDemand(cfg Config, base *memory, want *Result) {
	s.t.Helper()
	if base == nil {
		base = newMemory()
	}
	e := demanding(s.t, cfg, nil, Span{Range: pg.Range{From: 0x10000, To: 0x90000000}}, base, Base{CommitTs: true})
	res, err := e.replayOnDemand(context.Background(), base, (&Scanned{}).learning(s.feed), func(*batch) {})
	if err != nil {
		s.t.Fatalf("on demand: %v", err)
	}
	sameResult(s.t, res, want)
}

// sameResult compares what records touched, and the sizes of all forks.
func sameResult(t testing.TB, got, want *Result) {
	t.Helper()
	if g, w := fmt.Sprint(got.Forks()), fmt.Sprint(want.Forks()); g != w {
		t.Errorf("on demand: forks %s, want %s", g, w)
	}
	sameStates(t, "on demand", touchedStates(t, got), touchedStates(t, want))
	if got.MismatchCount != want.MismatchCount || got.ImagesChecked != want.ImagesChecked || got.BlocksReplayed != want.BlocksReplayed ||
		fmt.Sprint(got.UnknownRelUpdates, got.Mismatches) != fmt.Sprint(want.UnknownRelUpdates, want.Mismatches) {
		t.Errorf("on demand: %+v, want %+v", *got, *want)
	}
}

// touchedStates are the states of the blocks that records touched. Of an SLRU's
// sizes nobody asks, and a page is kept of the base before an image replaces
// it where its database is copied.
func touchedStates(t testing.TB, res *Result) map[pg.Block]pageState {
	t.Helper()
	out := states(t, res)
	for b, s := range out {
		if !s.touched {
			delete(out, b)
			continue
		}
		s.inBase = false
		if _, slru := slruOf(b.RelFork); slru {
			s.baseBlocks, s.size, s.created = 0, 0, false
		}
		out[b] = s
	}
	return out
}

// TestOnDemandLearns: what a replay on demand says of the WAL and of what it
// touches is what a Scan says, for blocks that are still there.
func TestOnDemandLearns(t *testing.T) {
	w := demoSpan(t)
	scan := New(Config{}, w.wal, Span{Range: w.span})
	want, err := scan.Scan(t.Context())
	must(t, err)
	settings, err := w.base.settings()
	must(t, err)
	e := demanding(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base, settings)
	got, res, err := e.ReplayOnDemand(t.Context(), w.base)
	must(t, err)
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *want) {
		t.Errorf("learned %+v, want %+v", *got, *want)
	}
	for _, f := range res.Forks() {
		for n := range f.Size {
			if p, err := res.Page(f.RelFork, n, make([]byte, pg.BlockSize)); err != nil || p.Touched != e.Touched(f.RelFork, n) || p.Touched && !scan.Touched(f.RelFork, n) {
				t.Fatalf("%s block %d: %v; touched %t, %t, scan %t", f.RelFork, n, err, p.Touched, e.Touched(f.RelFork, n), scan.Touched(f.RelFork, n))
			}
		}
	}
}

// failing is a base of which the n-th page cannot be read.
type failing struct {
	*memory
	n atomic.Int64
}

var errUnreadable = errors.New("the disk says no")

func (f *failing) Page(fork pg.RelFork, n pg.BlockNumber, p []byte) (bool, error) {
	if f.n.Add(-1) == 0 {
		return false, errUnreadable
	}
	return f.memory.Page(fork, n, p)
}

func (f *failing) SLRUPage(s pg.SLRUPage, p []byte) (bool, error) {
	if f.n.Add(-1) == 0 {
		return false, errUnreadable
	}
	return f.memory.SLRUPage(s, p)
}

// TestOnDemandUnreadable: a page that cannot be read ends the replay, whichever it is.
func TestOnDemandUnreadable(t *testing.T) {
	w := demoSpan(t)
	settings, err := w.base.settings()
	must(t, err)
	for n := int64(1); ; n = n*3 + 1 {
		base := &failing{memory: w.base}
		base.n.Store(n)
		_, _, err := demanding(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base, settings).ReplayOnDemand(t.Context(), base)
		if err == nil && base.n.Load() > 0 {
			return // there are not that many
		}
		if !errors.Is(err, errUnreadable) || !strings.Contains(err.Error(), "of the base") {
			t.Fatalf("page %d: %v", n, err)
		}
	}
}
