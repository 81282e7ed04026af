package verify_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/official/pageserver"
	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pageservertest"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
	"redoubt/verify"
)

// touched are the main fork blocks that a span's WAL touches and leaves, and the
// records that do, of blocks with several that set the page's LSN.
func (w *pageWorld) touched(t *testing.T, from, to pg.LSN) (blocks []pg.Block, recs map[pg.Block][]native.Touch) {
	t.Helper()
	span := pg.Range{From: from, To: to}
	e := native.New(native.Config{Scratch: t.TempDir(), NameForks: true}, w.wal, native.Span{Range: span})
	defer func() { _ = e.Close() }()
	if _, err := e.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := make(map[pg.Block]bool)
	for _, f := range e.TouchedForks() {
		if f.Fork == pg.MainFork {
			e.EachTouched(f, func(n pg.BlockNumber) { all[pg.Block{RelFork: f, Number: n}] = true })
		}
	}
	recs, err := native.History(t.Context(), w.wal, span, all)
	if err != nil {
		t.Fatal(err)
	}
	sizes, err := w.side(t, to).Sizes(t.Context(), e.TouchedForks()) // some were cut off or dropped
	if err != nil {
		t.Fatal(err)
	}
	for b, r := range recs {
		if b.Number < sizes[b.RelFork] && len(r) >= 4 && !slices.ContainsFunc(r, func(t native.Touch) bool { return !t.SetsLSN || t.MaySetLSN || t.OnlyHints() }) {
			blocks = append(blocks, b)
		}
	}
	slices.SortFunc(blocks, pg.Block.Compare)
	return blocks, recs
}

// spoilItem changes the last byte of the first item that has storage, which is
// data of a row or of an index entry.
func spoilItem(p page.Page) {
	for n := 1; n <= p.NumItems(); n++ {
		if item := p.Item(n); len(item) > 0 {
			item[len(item)-1] ^= 0x5A
			return
		}
	}
}

// TestPageserverMutations plants wrong pages into what a pageserver serves: all are
// found, at their block, and nothing else; and the record from which on a page
// is wrong is named exactly.
func TestPageserverMutations(t *testing.T) {
	pgtest.PutOff(t)
	eachPageWorld(t, wire.Layout{}, testPageMutations)
}

func testPageMutations(t *testing.T, w *pageWorld) {
	from, to := w.ends[len(w.ends)/3], w.ends[len(w.ends)*2/3]
	blocks, recs := w.touched(t, from, to)
	rng := rand.New(rand.NewPCG(3, 15))
	rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	if len(blocks) < 12 {
		t.Fatalf("%d blocks have four records", len(blocks))
	}
	wrongSince := make(map[pg.Block]pg.LSN) // the record from which on the page is wrong
	kinds := make(map[pg.Block]finding.Kind)
	older := make(map[pg.Block]pg.LSN)
	for i, b := range blocks[:min(len(blocks), 3*nights(2), 99)] {
		r := recs[b]
		at := 1 + rng.IntN(len(r)-1)
		wrongSince[b] = r[at].LSN
		switch i % 3 {
		case 0: // bytes of it are wrong from a record on
			kinds[b] = finding.Unexplained
		case 1: // all later records are missing
			kinds[b], older[b] = finding.LostWrite, r[at-1].End
		case 2:
			kinds[b] = finding.ZeroedPage
		}
	}
	reached := func(at pg.LSN, b pg.Block) bool { // the record that wrongs it ended
		i := slices.IndexFunc(recs[b], func(r native.Touch) bool { return r.LSN == wrongSince[b] })
		return i >= 0 && at >= recs[b][i].End
	}
	w.Plant(pageservertest.Plant{
		Page: func(at pg.LSN, b pg.Block, p []byte) {
			switch {
			case !reached(at, b):
			case kinds[b] == finding.Unexplained:
				spoilItem(p)
			case kinds[b] == finding.ZeroedPage:
				clear(p)
			}
		},
		Version: func(at pg.LSN, b pg.Block) pg.LSN {
			if older[b] != 0 && reached(at, b) {
				return older[b]
			}
			return 0
		},
	})
	v, err := w.night(t, from, to)
	if err != nil || v.Verdict != finding.Discrepancies {
		t.Fatalf("%s, error %v", describe(v), err)
	}
	found := make(map[pg.Block]bool)
	exact := 0
	for _, d := range v.Discrepancies {
		if d.Relation == nil || d.Block == nil {
			t.Errorf("nothing was planted at %+v", d)
			continue
		}
		b := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: d.Relation.Tablespace, DB: d.Relation.Database, Rel: d.Relation.RelFileNode}, Fork: d.Relation.Fork}, Number: pg.BlockNumber(*d.Block)}
		found[b] = true
		if kinds[b] != d.Kind {
			t.Errorf("%s: %s, planted as %q: %s", b, d.Kind, kinds[b], d.Explanation)
		}
		switch {
		case d.FirstDivergentLSN == nil:
			t.Errorf("%s: no first record: %s", b, d.FirstDivergentReason)
		case *d.FirstDivergentLSN != wrongSince[b]:
			t.Errorf("%s: wrong since %s, planted at %s: %s", b, *d.FirstDivergentLSN, wrongSince[b], d.Explanation)
		default:
			exact++
		}
	}
	for b, k := range kinds {
		if !found[b] {
			t.Errorf("%s: %s was not found", b, k)
		}
	}
	t.Logf("%d of %d found, %d with the very record since which the page is wrong", len(found), len(kinds), exact)
}

// TestPageserverOtherMutations: sizes, relations and SLRUs that a pageserver has wrong.
func TestPageserverOtherMutations(t *testing.T) {
	pgtest.PutOff(t)
	eachPageWorld(t, wire.Layout{}, testPageOtherMutations)
}

func testPageOtherMutations(t *testing.T, w *pageWorld) {
	from, to := w.ends[10], w.ends[len(w.ends)-1] // with commits; in the middle all is one transaction
	blocks, _ := w.touched(t, from, to)
	f := blocks[len(blocks)/2].RelFork
	only := func(what string, at pg.LSN, p pageservertest.Plant, want func(*finding.Discrepancy) bool) {
		t.Helper()
		w.Plant(p)
		v, err := w.night(t, from, to)
		if err != nil || v.Verdict != finding.Discrepancies || len(v.Discrepancies) != 1 || !want(&v.Discrepancies[0]) {
			t.Errorf("%s: %s, error %v", what, describe(v), err)
		}
	}
	of := func(k finding.Kind) func(*finding.Discrepancy) bool {
		return func(d *finding.Discrepancy) bool { return d.Kind == k && d.Relation != nil && forkOf(d) == f }
	}
	only("missing relation", to, pageservertest.Plant{Missing: func(at pg.LSN, g pg.RelFork) bool { return at >= to && g == f }}, of(finding.MissingRelation))
	only("short relation", to, pageservertest.Plant{Size: func(at pg.LSN, g pg.RelFork, n pg.BlockNumber) pg.BlockNumber {
		if at >= to && g == f {
			return n - 1
		}
		return n
	}}, of(finding.SizeMismatch))
	only("pg_xact", to, pageservertest.Plant{Segment: func(at pg.LSN, path string, b []byte) {
		if at >= to && path == "pg_xact/0000" {
			b[100] ^= 0x03
		}
	}}, func(d *finding.Discrepancy) bool { return d.Kind == finding.SLRUMismatch && d.File == "pg_xact/0000" })
	only("pg_xact that base backups leave out", to, pageservertest.Plant{LazySLRUs: true, Segment: func(at pg.LSN, path string, b []byte) {
		if at >= to && path == "pg_xact/0000" {
			b[100] ^= 0x03
		}
	}}, func(d *finding.Discrepancy) bool { return d.Kind == finding.SLRUMismatch && d.File == "pg_xact/0000" })
	only("relation map", to, pageservertest.Plant{File: func(at pg.LSN, path string, b []byte) []byte {
		if at >= to && path == "base/5/pg_filenode.map" {
			b = slices.Clone(b)
			b[12] ^= 1
		}
		return b
	}}, func(d *finding.Discrepancy) bool { return d.File == "base/5/pg_filenode.map" })
	w.Plant(pageservertest.Plant{LazySLRUs: true})
	if v, err := w.night(t, from, to); err != nil || v.Verdict != finding.Clean || v.Coverage.SLRUPagesCompared == 0 {
		t.Errorf("without SLRUs in base backups: %s, error %v", describe(v), err)
	}
}

func forkOf(d *finding.Discrepancy) pg.RelFork {
	return pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: d.Relation.Tablespace, DB: d.Relation.Database, Rel: d.Relation.RelFileNode}, Fork: d.Relation.Fork}
}

// TestPageserverUnreadable: a server that cannot answer leaves a span inconclusive,
// with the reason: neither clean nor a finding.
func TestPageserverUnreadable(t *testing.T) {
	eachPageWorld(t, wire.Layout{Shards: 2, Stripe: 16}, testPageUnreadable)
}

func testPageUnreadable(t *testing.T, w *pageWorld) {
	from, to := w.ends[len(w.ends)/4], w.ends[len(w.ends)/3]
	noControl := func(_ pg.LSN, path string, b []byte) []byte {
		if path == datadir.ControlPath {
			return nil
		}
		return b
	}
	var flips atomic.Int64
	for _, c := range []struct {
		name   string
		plant  pageservertest.Plant
		reason pageserver.Reason
		words  string
	}{
		{"history collected", pageservertest.Plant{Collected: to + 8}, pageserver.LeaseLost, "garbage collection has passed the LSN"},
		{"tenant detached", pageservertest.Plant{NoTenant: true}, pageserver.NoTenant, "not found"},
		{"timeline deleted", pageservertest.Plant{NoTimeline: true}, pageserver.NoTimeline, "was not found"},
		{"no lease", pageservertest.Plant{NoLease: true}, pageserver.LeaseLost, "grants no lease"},
		{"lease too short to be renewed", pageservertest.Plant{LeaseLength: time.Millisecond, Delay: 5 * time.Millisecond}, pageserver.LeaseLost, ""},
		{"no pg_control", pageservertest.Plant{File: noControl}, pageserver.Protocol, "has no global/pg_control"},
		{"two answers to one question", pageservertest.Plant{Page: func(at pg.LSN, _ pg.Block, p []byte) {
			if at >= to {
				p[8000] = byte(flips.Add(1))
			}
		}}, "", "is not the same twice"},
	} {
		w.Plant(c.plant)
		v, err := w.night(t, from, to)
		var why *pageserver.Error
		switch {
		case v.Verdict != finding.Inconclusive || len(v.Discrepancies) > 0:
			t.Errorf("%s: %s, error %v", c.name, describe(v), err)
		case c.reason != "" && (!errors.As(err, &why) || why.Reason != c.reason):
			t.Errorf("%s: error %v, want reason %q", c.name, err, c.reason)
		case !strings.Contains(strings.Join(v.Reasons, "\n"), c.words):
			t.Errorf("%s: reasons %q, want %q in them", c.name, v.Reasons, c.words)
		}
	}
	w.Plant(pageservertest.Plant{ConnectionsEnd: 40})
	if v, err := w.night(t, from, to); err != nil || v.Verdict != finding.Clean {
		t.Errorf("connections that end after 40 answers: %s, error %v", describe(v), err)
	}
	w.Plant(pageservertest.Plant{})
	if v, err := w.night(t, from, to+4); v.Verdict == finding.Clean || err == nil {
		t.Errorf("to the middle of a record: %s, error %v", describe(v), err)
	}
}

// TestPageserverUntouched: with a sample of the untouched blocks, relations that the
// span's WAL does not name are looked at, too.
func TestPageserverUntouched(t *testing.T) {
	pgtest.LeaveToProve(t)
	eachPageWorld(t, wire.Layout{Shards: 2, Stripe: 16}, testPageUntouched)
}

func testPageUntouched(t *testing.T, w *pageWorld) {
	at := len(w.ends) / 2
	from, to := w.ends[at], w.ends[at+200]
	e := native.New(native.Config{Scratch: t.TempDir(), NameForks: true}, w.wal, native.Span{Range: pg.Range{From: from, To: to}})
	defer func() { _ = e.Close() }()
	if _, err := e.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	quiet := pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: pg.DefaultTablespaceOID, DB: 5, Rel: 2600}} // pg_aggregate
	if slices.Contains(e.TouchedForks(), quiet) {
		t.Fatalf("the WAL names %s", quiet)
	}
	all := func(o *verify.Options) { o.Untouched = 1 }
	night := func(p pageservertest.Plant) *finding.Verification {
		w.Plant(p)
		v, err := w.night(t, from, to, all)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := night(pageservertest.Plant{})
	if v.Verdict != finding.Clean || v.Coverage.Relations < 500 || v.Coverage.BlocksUntouchedCompared < 1000 {
		t.Errorf("%d relations: %s", v.Coverage.Relations, describe(v))
	}
	t.Logf("%d relations, %d untouched blocks compared, %d not looked at", v.Coverage.Relations, v.Coverage.BlocksUntouchedCompared, v.Coverage.BlocksSkipped)
	one := func(what string, v *finding.Verification, kind finding.Kind) {
		t.Helper()
		if len(v.Discrepancies) != 1 || v.Discrepancies[0].Kind != kind || forkOf(&v.Discrepancies[0]) != quiet {
			t.Errorf("%s: %s", what, describe(v))
		}
	}
	one("a relation gone", night(pageservertest.Plant{Missing: func(at pg.LSN, f pg.RelFork) bool { return at >= to && f == quiet }}), finding.MissingRelation)
	one("a relation shorter", night(pageservertest.Plant{Size: func(at pg.LSN, f pg.RelFork, n pg.BlockNumber) pg.BlockNumber {
		if at >= to && f == quiet {
			return n - 1
		}
		return n
	}}), finding.SizeMismatch)
	one("bytes of it", night(pageservertest.Plant{Page: func(at pg.LSN, b pg.Block, p []byte) {
		if at >= to && b.RelFork == quiet && b.Number == 1 {
			spoilItem(p)
		}
	}}), finding.BitRot)
	v = night(pageservertest.Plant{Missing: func(_ pg.LSN, f pg.RelFork) bool { return f == quiet }})
	if v.Verdict != finding.Inconclusive || !strings.Contains(strings.Join(v.Reasons, "\n"), "lacks 1 relations that its own pg_class names, "+quiet.String()) {
		t.Errorf("a relation that is gone from the start: %s", describe(v))
	}
}

// TestPageserverMessages cuts, garbles and shortens the i-th answer of a server: a
// span may be clean then only where a new connection said the same once more.
func TestPageserverMessages(t *testing.T) { eachPageWorld(t, wire.Layout{}, testPageMessages) }

func testPageMessages(t *testing.T, w *pageWorld) {
	at := len(w.ends) / 2
	from, to := w.ends[at], w.ends[at+400]
	w.Plant(pageservertest.Plant{})
	if v, err := w.night(t, from, to); err != nil || v.Verdict != finding.Clean {
		t.Fatalf("before anything was planted: %s, error %v", describe(v), err)
	}
	n := w.Sent()
	rng := rand.New(rand.NewPCG(1, 5))
	outcomes := make(map[string]int)
	for _, fault := range []struct {
		name  string
		clean bool // it may be
		do    func([]byte) []byte
	}{
		{"cut", true, func([]byte) []byte { return nil }},
		{"short", false, func(b []byte) []byte { return b[:rng.IntN(len(b))] }},
		{"long", false, func(b []byte) []byte { return append(b, 0) }},
		{"other header", false, func(b []byte) []byte { b[rng.IntN(25)] ^= 1 << rng.IntN(8); return b }},
		{"empty", false, func([]byte) []byte { return []byte{} }},
	} {
		step := max(1, n/nights(6))
		for i := rng.IntN(step); i < n; i += step {
			w.Plant(pageservertest.Plant{Message: func(k int, b []byte) []byte {
				if k == i {
					return fault.do(b)
				}
				return b
			}})
			v, err := w.night(t, from, to)
			outcomes[fmt.Sprintf("%s: %s", fault.name, v.Verdict)]++
			if v.Verdict == finding.Clean && !fault.clean || v.Verdict == finding.Discrepancies || v.Verdict == finding.Clean && err != nil {
				t.Errorf("answer %d of %d %s: %s, error %v", i, n, fault.name, describe(v), err)
			}
		}
	}
	t.Logf("%v", outcomes)
}

// TestPageserverMaps: a pageserver sets the LSN of a visibility map's page when
// it clears bits, which PostgreSQL does not; that is no finding, and a wrong bit is.
func TestPageserverMaps(t *testing.T) {
	pgtest.PutOff(t)
	eachPageWorld(t, wire.Layout{}, testPageMaps)
}

func testPageMaps(t *testing.T, w *pageWorld) {
	all := pg.Range{From: w.start, To: w.ends[len(w.ends)-1]}
	e := native.New(native.Config{Scratch: t.TempDir()}, w.wal, native.Span{Range: all})
	defer func() { _ = e.Close() }()
	if _, err := e.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	maps := make(map[pg.Block]bool)
	for _, f := range e.TouchedForks() {
		if f.Fork == pg.VMFork {
			e.EachTouched(f, func(n pg.BlockNumber) { maps[pg.Block{RelFork: f, Number: n}] = true })
		}
	}
	recs, err := native.History(t.Context(), w.wal, all, maps)
	if err != nil {
		t.Fatal(err)
	}
	var stamped atomic.Int64
	stamp := func(at pg.LSN, b pg.Block, p []byte) {
		for _, r := range recs[b] {
			if !r.SetsLSN && r.End <= at && r.End > page.Page(p).LSN() && !page.Page(p).IsNew() {
				page.Page(p).SetLSN(r.End)
				stamped.Add(1)
			}
		}
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for range nights(3) {
		from, to := w.span(rng, len(w.ends))
		w.Plant(pageservertest.Plant{Page: stamp})
		if v, err := w.night(t, from, to); err != nil || v.Verdict != finding.Clean {
			t.Errorf("[%s, %s): %s, error %v", from, to, describe(v), err)
		}
	}
	from, to := w.span(rng, len(w.ends))
	var mu sync.Mutex
	wrong := make(map[pg.Block]bool)
	w.Plant(pageservertest.Plant{Page: func(at pg.LSN, b pg.Block, p []byte) {
		stamp(at, b, p)
		if at >= to && b.Fork == pg.VMFork && !page.Page(p).IsNew() {
			p[100] ^= 0x03
			mu.Lock()
			wrong[b] = true
			mu.Unlock()
		}
	}})
	v, err := w.night(t, from, to)
	mu.Lock()
	defer mu.Unlock()
	if err != nil || len(v.Discrepancies) != len(wrong) || v.Verdict == finding.Inconclusive || len(wrong) > 0 && v.Verdict != finding.Discrepancies {
		t.Errorf("wrong bits in %d map pages: %s, error %v", len(wrong), describe(v), err)
	}
	t.Logf("%d times the LSN of a map page was set by a clearing record; wrong bits in %d map pages", stamped.Load(), len(wrong))
}
