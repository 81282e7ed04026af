package verify_test

import (
	"cmp"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"redoubt/internal/demo"
	"redoubt/internal/finding"
	"redoubt/internal/official/pageserver"
	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pageservertest"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay"
	"redoubt/verify"
)

// pageSide is a timeline at an LSN as verify wants it.
type pageSide struct{ *pageserver.Side }

var (
	_ verify.Sparse = pageSide{}
	_ verify.Timed  = pageSide{}
)

func (s pageSide) Meta(context.Context) (verify.Meta, error) {
	return verify.Meta{Redo: s.LSN(), TLI: 1, Running: true, Unsummed: true, MapsStamped: true}, nil
}

const (
	neonTenant   = "1f359dd625e519a1a4e8d7509690f6fc"
	neonTimeline = "c1b4b2d3e4f5061728394a5b6c7d8e9f"
)

// pageWorld is a stand-in for a pageserver, which serves a history, and its WAL.
type pageWorld struct {
	*pageservertest.Server        // nil: location is of a real one
	location               string // of a real one
	timeline               string // "": neonTimeline
	wal                    replay.WALSource
	start                  pg.LSN
	ends                   []pg.LSN // of all records, ascending
}

// servePages serves what follows a base, from first on, where that is not start.
func servePages(t *testing.T, base pageservertest.Base, src replay.WALSource, start, first, end pg.LSN, layout wire.Layout) *pageWorld {
	t.Helper()
	h, err := pageservertest.NewHistory(context.Background(), base, start, src, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h.First, h.Last = first, end
	s, err := pageservertest.Start(pageservertest.Config{Tenant: neonTenant, Timelines: map[string]*pageservertest.History{neonTimeline: h}, Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = h.Close()
	})
	return &pageWorld{Server: s, wal: src, start: start, ends: recordEnds(t, src, max(start, first), end)}
}

// recordEnds are the LSNs at which records end.
func recordEnds(t *testing.T, src replay.WALSource, start, end pg.LSN) (out []pg.LSN) {
	t.Helper()
	st, err := src.Open(context.Background(), start)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	r := wal.NewReader(st.ReadPages, wal.Config{Start: start, SegmentSize: src.SegmentSize(), Dialect: replay.DialectOf(src)})
	var rec wal.Record
	for r.Next(&rec) == nil && rec.End <= end {
		out = append(out, rec.End)
	}
	if len(out) < 100 {
		t.Fatalf("%d records from %s to %s", len(out), start, end)
	}
	return out
}

// side is the timeline at an LSN.
func (w *pageWorld) side(t *testing.T, lsn pg.LSN) pageSide {
	t.Helper()
	target, err := pageserver.Parse(w.place())
	if err != nil {
		t.Fatal(err)
	}
	if w.Server != nil {
		target.Options = pageserver.Options{PagesPerSecond: -1, Timeout: 20 * time.Second, Attempts: 3, Pause: time.Millisecond}
	}
	s := pageSide{pageserver.At(pageserver.New(target), lsn, nil)}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// place is the location of the timeline.
func (w *pageWorld) place() string {
	if w.Server == nil {
		return w.location
	}
	return w.Location(cmp.Or(w.timeline, neonTimeline))
}

// night verifies one span.
func (w *pageWorld) night(t *testing.T, from, to pg.LSN, change ...func(*verify.Options)) (*finding.Verification, error) {
	t.Helper()
	base, official := w.side(t, from), w.side(t, to)
	defer func() { _, _ = base.Close(), official.Close() }()
	o := verify.Options{Base: base, Official: official, WAL: w.wal, AcceptUnproven: true}
	o.Native.Workers, o.Native.Memory, o.Native.Scratch = 2, 256<<20, t.TempDir()
	for _, c := range change {
		c(&o)
	}
	return verify.Run(context.Background(), o)
}

// span is a random one between two places where records end.
func (w *pageWorld) span(rng *rand.Rand, most int) (from, to pg.LSN) {
	i := rng.IntN(len(w.ends) - 1)
	j := i + 1 + rng.IntN(min(len(w.ends)-i-1, most))
	return w.ends[i], w.ends[j]
}

// neonWorld serves real WAL of Neon's PostgreSQL 15.
func neonWorld(t *testing.T, layout wire.Layout) *pageWorld {
	t.Helper()
	data, segment := pgtest.NeonSegment(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, pgtest.NeonSegmentName), segment, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(context.Background(), filepath.Join(data, "initdb.tar.zst"), snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	src := replay.InDialect(dirWAL{dir, pg.DefaultSegmentSize}, wal.Neon)
	return servePages(t, s, src, 0x14AEC08, 0, 0x1FFFF98, layout)
}

// stockWorld serves the demo's WAL, of PostgreSQL 17, from a base backup on.
func stockWorld(t *testing.T, layout wire.Layout) *pageWorld {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bucket")
	if _, err := demo.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	tl := filepath.Join(dir, "acme", "main")
	base, src := openSnap(t, filepath.Join(tl, "snapshots", "nightly-1")), openWAL(t, filepath.Join(tl, "wal"), 1)
	m, err := base.Meta(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	first, err := verify.ConsistentAt(context.Background(), m, src)
	if err != nil {
		t.Fatal(err)
	}
	last, err := openSnap(t, filepath.Join(tl, "snapshots", "nightly-3")).Meta(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return servePages(t, base, src, m.Redo, first, last.Redo, layout)
}

// eachPageWorld runs a test over WAL of stock PostgreSQL, and over that of Neon.
func eachPageWorld(t *testing.T, layout wire.Layout, test func(*testing.T, *pageWorld)) {
	t.Run("PostgreSQL 17", func(t *testing.T) { test(t, stockWorld(t, layout)) })
	t.Run("Neon 15", func(t *testing.T) { test(t, neonWorld(t, layout)) })
}

// nights are how many spans a healthy server is verified over.
func nights(few int) int {
	if os.Getenv("REDOUBT_PROVE") != "" {
		return 100
	}
	return few
}

// TestPageserverNights: spans between random LSNs, both sides from a
// pageserver: not one finding, and nothing that could not be checked.
func TestPageserverNights(t *testing.T) {
	eachPageWorld(t, wire.Layout{Shards: 3, Stripe: 16}, testNights)
}

func testNights(t *testing.T, w *pageWorld) {
	rng := rand.New(rand.NewPCG(7, 15))
	var compared, untouched, skipped int64
	few := 6
	if w.Server == nil {
		few = 2
	}
	for i := range nights(few) {
		from, to := w.span(rng, len(w.ends))
		sample := []float64{0, 0.1, 1}[i%3]
		v, err := w.night(t, from, to, func(o *verify.Options) { o.Untouched, o.Seed = sample, int64(i) })
		if err != nil || v.Verdict != finding.Clean {
			t.Errorf("[%s, %s), %g of the untouched blocks: %s, error %v", from, to, sample, describe(v), err)
			continue
		}
		compared += v.Coverage.BlocksCompared
		untouched += v.Coverage.BlocksUntouchedCompared
		skipped += v.Coverage.BlocksSkipped
	}
	t.Logf("%d blocks compared, %d of them untouched, %d not looked at", compared, untouched, skipped)
	if w.Server == nil {
		return
	}
	t.Logf("pages by shard %v", w.PerShard())
	if len(w.PerShard()) != 3 || untouched == 0 || skipped == 0 {
		t.Error("not all shards were read, or no untouched block was compared, or none was left out")
	}
	if l := w.Leases(); len(l) == 0 || slices.Contains(l, 0) {
		t.Error("no LSN was leased")
	}
}
