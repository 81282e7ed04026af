package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// imaged is a block after one record, as the server itself put it into the WAL.
type imaged struct {
	lsn, end pg.LSN
	page     page.Page
	hint     bool // the server may or may not have stored its LSN
}

// TestFirstDivergent plants lost writes and torn pages out of versions that
// wal_consistency_checking recorded, and wants the very record named that is
// the first to be missing.
func TestFirstDivergent(t *testing.T) {
	for _, s := range []settings{{15, true, true, true}, {17, false, true, true}} {
		t.Run(s.String(), func(t *testing.T) { firstDivergent(t, s) })
	}
}

func firstDivergent(t *testing.T, s settings) {
	c := pgtest.Server(t, s.major, s.options()...)
	h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")}
	c.Exec("CREATE TABLE a (id int PRIMARY KEY, v int, pad text)", "CREATE INDEX a_v ON a (v)",
		"INSERT INTO a SELECT i, i, repeat('x', 60) FROM generate_series(1, 3000) i",
		"CREATE TABLE b AS SELECT i, repeat('y', 60) pad FROM generate_series(1, 1500) i")
	c.BaseBackup(h.base)
	work := func(round int) {
		for i := range 40 {
			c.Exec(fmt.Sprintf("UPDATE a SET v = v + %d WHERE id %% 97 = %d", round, i),
				fmt.Sprintf("UPDATE b SET pad = repeat('%d', 60) WHERE i %% 41 = %d", round, i))
		}
		c.Exec("DELETE FROM a WHERE id % 50 = 7", "VACUUM a", "INSERT INTO a SELECT i, i, 'new' FROM generate_series(50001, 50300) i ON CONFLICT DO NOTHING", "CHECKPOINT")
	}
	work(1)
	mid := filepath.Join(c.Dir("copies"), "mid")
	c.BaseBackup(mid) // after a checkpoint: what is on disk now
	work(2)
	rels := map[string]pg.RelFork{}
	for _, name := range []string{"a", "a_v", "a_pkey", "b"} {
		f, _ := datadir.ParseRelPath(c.RelationPath("postgres", name))
		rels[name] = f.RelFork
	}
	c.Stop(pgtest.Fast)
	c.CollectWAL(h.wal)
	v := mustVerify(t, h.options())
	wantClean(t, v)

	versions := readVersions(t, h, v.Span, func(b pg.Block) bool { return b.Fork == pg.MainFork && b.Rel >= 16384 })
	want := plant(t, h, s, versions, rels["b"])
	before := len(want)
	plantCheckpoint(t, h, mid, rels["b"], versions, want)
	v = mustVerify(t, h.options())
	found := 0
	for _, d := range v.Discrepancies {
		if d.Relation == nil || d.Block == nil {
			t.Errorf("besides: %s", describe(v))
			continue
		}
		b := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: d.Relation.Tablespace, DB: d.Relation.Database, Rel: d.Relation.RelFileNode}, Fork: d.Relation.Fork}, Number: pg.BlockNumber(*d.Block)}
		w, ok := want[b]
		if !ok {
			t.Errorf("nothing was planted in %s: %s", b, d.Explanation)
			continue
		}
		found++
		if d.Kind != w.kind || d.FirstDivergentLSN == nil || *d.FirstDivergentLSN != w.lsn {
			t.Errorf("%s: %s, first divergent %v (%s), want %s of %s: %s", b, d.Kind, d.FirstDivergentLSN, d.FirstDivergentReason, w.kind, w.lsn, d.Explanation)
		}
		if len(d.Records) == 0 || len(d.Records) > 40 || d.RecordsTotal < int64(len(d.Records)) ||
			!slices.ContainsFunc(d.Records, func(r finding.BlockRecord) bool { return r.LSN == w.lsn }) {
			t.Errorf("%s: lists %d records of %d, not around %s", b, len(d.Records), d.RecordsTotal, w.lsn)
		}
	}
	if found != len(want) {
		t.Errorf("%d of %d found", found, len(want))
	}
	t.Logf("%d of %d named exactly, %d of them pages of a lost checkpoint", found, len(want), len(want)-before)
}

// missing is the first record missing from a planted page.
type missing struct {
	kind finding.Kind
	lsn  pg.LSN
}

// plant puts old versions and torn ones in the place of blocks, but not in those of spare.
func plant(t *testing.T, h history, s settings, versions map[pg.Block][]imaged, spare pg.RelFork) map[pg.Block]missing {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(s.major), 7))
	var blocks []pg.Block
	for b, vs := range versions {
		if b.RelFork != spare && len(vs) >= 6 && pageAt(h.Data, b) != nil {
			blocks = append(blocks, b)
		}
	}
	slices.SortFunc(blocks, pg.Block.Compare)
	rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	want := make(map[pg.Block]missing)
	for n, b := range blocks[:min(len(blocks), 60)] {
		vs := versions[b]
		i := rng.IntN(len(vs) - 2)
		j := i + 1 + rng.IntN(len(vs)-i-1)
		planted, first, kind := slices.Clone(vs[i].page), next(vs, i), finding.LostWrite
		if n%2 == 1 {
			cut := 512 * (1 + rng.IntN(15))
			from, to := cut, pg.BlockSize
			if n%4 == 1 { // the newer half comes first, with the header
				from, to = 0, cut
			}
			copy(planted[from:to], vs[j].page[from:to])
			kind, first = finding.TornPage, firstChange(vs, i, from, to, b)
			if first < 0 || first > j || oneOf(vs, b, planted) {
				continue // nothing is torn
			}
		}
		if first < 0 {
			continue
		}
		if s.checksums && kind != finding.TornPage {
			planted.SetChecksum(planted.ComputeChecksum(b.Number))
		}
		pgtest.ChangeBlock(t, h.Data, datadir.RelPath(b.RelFork, 0, ""), b.Number, func(p []byte) { copy(p, planted) })
		want[b] = missing{kind, vs[first].lsn}
	}
	return want
}

// next is the record after i that surely sets the LSN.
func next(vs []imaged, i int) int {
	for k := i + 1; k < len(vs); k++ {
		if !vs[k].hint {
			return k
		}
	}
	return -1
}

func normal(p page.Page, b pg.Block) []byte {
	out := make([]byte, pg.BlockSize)
	mask.Normalize(out, p, page.KindOf(p, b.Fork), b.Number)
	return out
}

// firstChange is the first record after i that changes what lies outside of
// [from, to), where the page keeps what version i has.
func firstChange(vs []imaged, i, from, to int, b pg.Block) int {
	old := normal(vs[i].page, b)
	for k := i + 1; k < len(vs); k++ {
		now := normal(vs[k].page, b)
		if !vs[k].hint && (!bytes.Equal(old[:from], now[:from]) || !bytes.Equal(old[to:], now[to:])) {
			return k
		}
	}
	return -1
}

// oneOf says that a page is a version as a whole.
func oneOf(vs []imaged, b pg.Block, p page.Page) bool {
	n := normal(p, b)
	return slices.ContainsFunc(vs, func(v imaged) bool { return bytes.Equal(normal(v.page, b), n) })
}

// plantCheckpoint puts a table back to what it was when another checkpoint ended.
func plantCheckpoint(t *testing.T, h history, mid string, rel pg.RelFork, versions map[pg.Block][]imaged, want map[pg.Block]missing) {
	t.Helper()
	for n := pg.BlockNumber(0); ; n++ {
		b := pg.Block{RelFork: rel, Number: n}
		old, now := pageAt(mid, b), pageAt(h.Data, b)
		if old == nil || now == nil {
			return
		}
		i := slices.IndexFunc(versions[b], func(v imaged) bool { return v.end > old.LSN() && !v.hint })
		if i < 0 || old.LSN() == now.LSN() || old.IsNew() {
			continue
		}
		pgtest.ChangeBlock(t, h.Data, datadir.RelPath(rel, 0, ""), n, func(p []byte) { copy(p, old) })
		want[b] = missing{finding.LostWrite, versions[b][i].lsn}
	}
}

// readVersions reads the images of a span's WAL: each is the block after its
// record, but for the LSN.
func readVersions(t *testing.T, h history, span pg.Range, wanted func(pg.Block) bool) map[pg.Block][]imaged {
	t.Helper()
	src := dirWAL{h.wal, h.SegmentSize}
	ws, err := src.Open(context.Background(), span.From)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	reader := wal.NewReader(ws.ReadPages, wal.Config{Start: span.From, SegmentSize: h.SegmentSize})
	out := make(map[pg.Block][]imaged)
	var r wal.Record
	for {
		if err := reader.Next(&r); err != nil || r.LSN >= span.To {
			return out
		}
		for i := range r.Blocks {
			ref := &r.Blocks[i]
			if !wanted(ref.Block) || !ref.HasImage {
				continue
			}
			p := make(page.Page, pg.BlockSize)
			if err := ref.Image.Restore(p); err != nil {
				t.Fatal(err)
			}
			p.SetLSN(r.End)
			out[ref.Block] = append(out[ref.Block], imaged{r.LSN, r.End, p, wal.OnlyHints(r.Rmgr, r.Info)})
		}
	}
}
