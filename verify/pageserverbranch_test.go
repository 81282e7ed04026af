package verify_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/archive"
	"redoubt/internal/finding"
	"redoubt/internal/pageservertest"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
	"redoubt/verify"
)

// neonBranch is a timeline that leaves neonTimeline.
const neonBranch = "d1b4b2d3e4f5061728394a5b6c7d8e9f"

// forked is a timeline and a branch of it, as two servers of stock PostgreSQL
// wrote them that went on from the same stopped data directory: their WAL is
// the same up to LSN at, the end of a record, and another from there on. A bucket has both in
// Neon's layout: of the branch what begins at the LSN.
type forked struct {
	main, branch *pageWorld
	at           pg.LSN
}

func newForked(t *testing.T, major int) forked {
	t.Helper()
	c := pgtest.Server(t, major, pgtest.Checksums(major%2 == 1), pgtest.NoArchive(), pgtest.WALSegmentMiB(1),
		pgtest.Conf("wal_keep_size", "1GB"), pgtest.Conf("max_prepared_transactions", "5"))
	c.Exec("CREATE TABLE kept AS SELECT i, repeat('k', 100) pad FROM generate_series(1, 2000) i",
		"CREATE TABLE hot (id int PRIMARY KEY, v int, pad text) WITH (fillfactor = 90)",
		"INSERT INTO hot SELECT i, i % 100, repeat('h', 60) FROM generate_series(1, 3000) i", "CREATE TABLE goes AS SELECT 1 one", "CREATE TABLE held (i int)")
	base := filepath.Join(c.Dir("copies"), "base")
	c.CleanCopy(base)
	live := func(c *pgtest.Cluster, round int) {
		c.Exec(fmt.Sprintf("UPDATE hot SET v = v + 1 WHERE id %% 5 = %d", round),
			fmt.Sprintf("INSERT INTO hot SELECT i, 0, 'n' FROM generate_series(%d, %d) i", 10000*round, 10000*round+300),
			fmt.Sprintf("CREATE TABLE made%d AS SELECT i FROM generate_series(1, 500) i", round),
			fmt.Sprintf("DELETE FROM hot WHERE id %% 17 = %d", round), "VACUUM hot", fmt.Sprintf("UPDATE hot SET v = v + 7 WHERE id %% 7 = %d", round),
			fmt.Sprintf("BEGIN; INSERT INTO held SELECT generate_series(1, 50); PREPARE TRANSACTION 'p%d'", round))
	}
	c.Start()
	live(c, 1)
	other := c.Beside()
	c.CleanCopy(other.Data)
	c.Start()
	live(c, 2)
	c.Exec("DROP TABLE goes")
	c.Stop(pgtest.Fast)
	other.Adopt("max_prepared_transactions = 5", "wal_keep_size = '1GB'")
	live(other, 3)
	other.Exec("TRUNCATE kept", "INSERT INTO kept SELECT i, 'b' FROM generate_series(1, 100) i", "COMMIT PREPARED 'p1'")
	other.Stop(pgtest.Fast)

	walMain, walOther := c.Dir("wal"), c.Dir("wal2")
	c.CollectWAL(walMain)
	other.CollectWAL(walOther)
	m, err := dirSnap{base}.Meta(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ends, others := recordEnds(t, dirWAL{walMain, 1 << 20}, m.Redo, 1<<62), recordEnds(t, dirWAL{walOther, 1 << 20}, m.Redo, 1<<62)
	f := forked{at: forkOfWAL(t, walMain, walOther, ends, others)}

	bucket := c.Dir("bucket")
	layNeon(t, walMain, filepath.Join(bucket, neonTenant, neonTimeline), m.Redo)
	layNeon(t, walOther, filepath.Join(bucket, neonTenant, neonBranch), f.at)
	source := func(id string) *archive.Source { return neonWAL(t, bucket, id, f.at) }
	histories := map[string]*pageservertest.History{}
	for id, last := range map[string]pg.LSN{neonTimeline: ends[len(ends)-1], neonBranch: others[len(others)-1]} {
		h, err := pageservertest.NewHistory(t.Context(), dirSnap{base}, m.Redo, source(id), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		h.Last, histories[id] = last, h
	}
	s, err := pageservertest.Start(pageservertest.Config{Tenant: neonTenant, Timelines: histories})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	f.main = &pageWorld{Server: s, wal: source(neonTimeline), start: m.Redo, ends: ends}
	f.branch = &pageWorld{Server: s, timeline: neonBranch, wal: source(neonBranch), start: m.Redo, ends: others}
	return f
}

// forkOfWAL is the last LSN at which a record ends in both of two histories
// whose WAL is the same up to it.
func forkOfWAL(t *testing.T, a, b string, ends, others []pg.LSN) pg.LSN {
	t.Helper()
	same := pg.LSN(0)
	for n := pg.SegmentOf(ends[0], 1<<20); same == 0; n++ {
		one, err := os.ReadFile(filepath.Join(a, pg.SegmentName(1, n, 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(b, pg.SegmentName(1, n, 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range one {
			if one[i] != two[i] {
				same = n.Start(1<<20) + pg.LSN(i)
				break
			}
		}
	}
	at := pg.LSN(0)
	for _, end := range ends {
		if end <= same && slices.Contains(others, end) {
			at = end
		}
	}
	if at <= ends[0] {
		t.Fatalf("the histories part at %s already", same)
	}
	return at
}

// layNeon puts the segments of a directory into a timeline's own, as
// safekeepers do: nothing of what was before the LSN at which it begins.
func layNeon(t *testing.T, from, to string, begins pg.LSN) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := pgtest.SegmentsIn(from, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	first := pg.SegmentName(1, pg.SegmentOf(begins, 1<<20), 1<<20)
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if name < first {
			continue
		}
		if name == first {
			clear(data[:uint64(begins)%(1<<20)])
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// neonWAL is a timeline's WAL in a bucket of Neon's layout, the branch's after
// its ancestor's.
func neonWAL(t *testing.T, bucket, id string, at pg.LSN) *archive.Source {
	t.Helper()
	store, err := storage.Open(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	a, err := archive.Open(t.Context(), store, archive.Neon, archive.Options{Branch: func(_ context.Context, _, timeline string) (*archive.Branch, error) {
		if timeline == neonBranch {
			return &archive.Branch{Timeline: neonTimeline, LSN: at}, nil
		}
		return nil, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	tl, err := a.Timeline(t.Context(), neonTenant, id)
	if err != nil {
		t.Fatal(err)
	}
	src, err := tl.Source(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// TestPageserverBranches: WAL of stock servers, which leave one timeline for
// another. Pages of the branch are what its ancestor's pages at the LSN where it leaves
// it, or before, and the WAL lead to.
func TestPageserverBranches(t *testing.T) {
	pgtest.LeaveToProve(t)
	majors := []int{18}
	if pgtest.Prove() {
		majors = []int{14, 15, 16, 17, 18}
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			f := newForked(t, major)
			testBranches(t, f)
			testPageMutations(t, f.branch) // in a span across the LSN where it leaves its ancestor
		})
	}
}

func testBranches(t *testing.T, f forked) {
	i := slices.Index(f.branch.ends, f.at)
	before, after := f.branch.ends[:i*9/10], f.branch.ends[i+1:]
	rng := rand.New(rand.NewPCG(7, 18))
	pick := func(of []pg.LSN) pg.LSN { return of[rng.IntN(len(of))] }
	last := after[len(after)-1]
	ancestors := func(from pg.LSN) func(*verify.Options) {
		return func(o *verify.Options) { o.Base = f.main.side(t, from) }
	}
	for n := range nights(2) {
		for _, c := range []struct {
			name     string
			from, to pg.LSN
			ancestor bool
		}{
			{"from the ancestor, where the branch leaves it", f.at, pick(after), true},
			{"from the ancestor, before", pick(before), pick(after), true},
			{"from the branch itself, before", pick(before), last, false},
			{"from where it begins", f.at, last, false},
			{"up to where it begins", pick(before), f.at, true},
		} {
			change := []func(*verify.Options){func(o *verify.Options) { o.Untouched, o.Seed = 0.2, int64(n) }}
			if c.ancestor {
				change = append(change, ancestors(c.from))
			}
			v, err := f.branch.night(t, c.from, c.to, change...)
			if err != nil || v.Verdict != finding.Clean || v.Coverage.BlocksCompared == 0 {
				t.Errorf("%s, [%s, %s): %s, error %v", c.name, c.from, c.to, describe(v), err)
			}
		}
	}
	// The ancestor as it is later is no base of the branch.
	i = slices.Index(f.main.ends, f.at)
	for _, from := range []pg.LSN{f.main.ends[i+1], f.main.ends[len(f.main.ends)*9/10]} {
		if v, err := f.branch.night(t, from, last, ancestors(from)); err == nil && v.Verdict == finding.Clean {
			t.Errorf("from the ancestor at %s, behind where the branch leaves it: %s", from, describe(v))
		}
	}
	// What happened to the ancestor later must not be seen in the branch.
	f.branch.Plant(pageservertest.Plant{Page: func(at pg.LSN, b pg.Block, p []byte) {
		if at > f.at && b.Number == 0 && b.Fork == pg.MainFork && b.Rel >= 16384 {
			spoilItem(p)
		}
	}})
	v, err := f.branch.night(t, before[len(before)/2], last, ancestors(before[len(before)/2]))
	if err != nil || v.Verdict != finding.Discrepancies {
		t.Errorf("pages that are wrong from the branch on: %s, error %v", describe(v), err)
	}
	for _, d := range v.Discrepancies {
		if d.Block == nil || *d.Block != 0 || d.Relation.RelFileNode < 16384 {
			t.Errorf("not planted: %+v", d)
		}
	}
	f.branch.Plant(pageservertest.Plant{})
	t.Logf("records up to the branch at %s: %d, of the branch %d, of its ancestor from there on %d", f.at, i, len(after), len(f.main.ends)-i)
}
