package server

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/demo"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
)

// difference is what a comparison of the two engines counts and finds.
type difference struct {
	blocks, touched, tainted, holes, slrus, maps int
	found                                        []string
}

func (d *difference) failf(format string, args ...any) {
	d.found = append(d.found, fmt.Sprintf(format, args...))
}

// compareEngines holds what the server left against what the native engine
// made: every block of every fork but those of unlogged relations, byte by
// byte but for the checksum; sizes, SLRU pages and relation maps.
func compareEngines(t *testing.T, n replayed, s *Result) *difference {
	t.Helper()
	d := &difference{}
	left := newDump()
	must(t, s.Walk(context.Background(), left))
	unlogged := map[pg.RelFileLocator]bool{}
	for f := range left.rels {
		if f.Fork == pg.InitFork {
			unlogged[f.RelFileLocator] = true
		}
	}
	seen := map[pg.RelFork]bool{}
	for _, f := range n.Forks() {
		seen[f.RelFork] = true
		if unlogged[f.RelFileLocator] && f.Fork != pg.InitFork {
			continue
		}
		got, ok := left.rels[f.RelFork]
		if size := pg.BlockNumber(len(got) / pg.BlockSize); !ok || size != f.Size {
			d.failf("%s: the server has %d blocks (there: %t), the native engine %d", f.RelFork, size, ok, f.Size)
			continue
		}
		for b := range f.Size {
			d.block(t, n, f, b, got[int(b)*pg.BlockSize:][:pg.BlockSize])
		}
	}
	for f := range left.rels {
		if !seen[f] && (!unlogged[f.RelFileLocator] || f.Fork == pg.InitFork) {
			d.failf("%s: only the server has it, with %d blocks", f, len(left.rels[f])/pg.BlockSize)
		}
	}
	d.compareSLRUs(t, n, left)
	for _, k := range n.RelMaps() {
		d.maps++
		if !bytes.Equal(n.RelMap(k.Spc, k.DB), left.maps[k]) {
			d.failf("relation map %v differs", k)
		}
	}
	if len(left.maps) != d.maps {
		d.failf("%d relation maps, the native engine has %d", len(left.maps), d.maps)
	}
	return d
}

func (d *difference) block(t *testing.T, n replayed, f native.Fork, b pg.BlockNumber, got []byte) {
	p, want := n.page(t, f, b)
	d.blocks++
	if p.Touched {
		d.touched++
	}
	if p.Tainted {
		d.tainted++
		return
	}
	got, want = slices.Clone(got), slices.Clone(want)
	if n.noCIDs && page.KindOf(got, f.Fork) == page.KindHeap {
		got, want = withoutCIDs(got), withoutCIDs(want)
	}
	clearChecksum(got)
	clearChecksum(want)
	if bytes.Equal(got, want) {
		return
	}
	if f.Fork != pg.VMFork { // there it is the map
		clearHole(got)
		clearHole(want)
	}
	if bytes.Equal(got, want) {
		d.holes++
		return
	}
	d.failf("%s block %d differs at %v; last record %s %s at %s; LSN %s on the server, %s natively", f.RelFork, b, page.Differences(got, want),
		p.Last.Rmgr, p.Last.OpName(s2major(n)), p.Last.LSN, page.Page(got).LSN(), page.Page(want).LSN())
}

func s2major(n replayed) int { return n.base.control.Major() }

func clearChecksum(p []byte) { p[8], p[9] = 0, 0 }

// clearHole zeroes what lies between pd_lower and pd_upper.
func clearHole(p []byte) {
	lower, upper := int(p[12])|int(p[13])<<8, int(p[14])|int(p[15])<<8
	if lower >= 24 && lower <= upper && upper <= len(p) {
		clear(p[lower:upper])
	}
}

func (d *difference) compareSLRUs(t *testing.T, n replayed, left *dump) {
	want := map[pg.SLRUPage][]byte{}
	for p, b := range n.base.slrus {
		if !n.SLRURemoved(p.SLRU) {
			want[p] = b
		}
	}
	for s := range pg.SLRU(pg.NumSLRUs) {
		for _, no := range n.SLRUPages(s) {
			p := pg.SLRUPage{SLRU: s, Page: no}
			b, _, _, err := n.SLRUPage(p, make([]byte, pg.BlockSize))
			must(t, err)
			want[p] = slices.Clone(b)
		}
	}
	zero := make([]byte, pg.BlockSize)
	for p, b := range want {
		d.slrus++
		if got := left.slrus[p]; !n.SLRUTruncated(p) && !bytes.Equal(got, b) {
			d.failf("%v differs at %v (there: %t)", p, page.Differences(got, b), got != nil)
		}
	}
	for p, b := range left.slrus {
		if want[p] == nil && !n.SLRUTruncated(p) && !bytes.Equal(b, zero) {
			d.failf("%v: only the server has it", p)
		}
	}
}

func (d *difference) report(t *testing.T, what string) {
	t.Helper()
	t.Logf("%s: %d blocks (%d touched, %d tainted, %d differ in the hole), %d SLRU pages, %d maps equal", what, d.blocks, d.touched, d.tainted, d.holes, d.slrus, d.maps)
	if len(d.found) > 0 {
		slices.Sort(d.found)
		t.Errorf("%s: %d differences, the first:\n%s", what, len(d.found), strings.Join(d.found[:min(len(d.found), 12)], "\n"))
	}
}

// ends are the LSNs at which a workload is compared: the end of its WAL, and
// some within, at starts of records.
func (w *world) ends(t *testing.T, seed uint64) []pg.LSN {
	t.Helper()
	n := 3
	if os.Getenv("REDOUBT_PROVE") == "1" {
		n = 20
	}
	var starts []pg.LSN
	s, err := w.wal.Open(context.Background(), w.start)
	must(t, err)
	r := wal.NewReader(s.ReadPages, wal.Config{Start: w.start, SegmentSize: w.wal.SegmentSize()})
	var rec wal.Record
	end := pg.LSN(0)
	for r.Next(&rec) == nil {
		end = rec.End
		if rec.LSN >= w.first {
			starts = append(starts, rec.LSN)
		}
	}
	must(t, s.Close())
	out := []pg.LSN{end}
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range n {
		out = append(out, starts[rnd.IntN(len(starts))])
	}
	return out
}

// differential compares the engines on a workload at its end and within.
func differential(t *testing.T, w *world, seed uint64) {
	t.Helper()
	for _, to := range w.ends(t, seed) {
		res := w.serve(t, to)
		compareEngines(t, w.native(t, to), res).report(t, fmt.Sprintf("%d up to %s in %.1f s", w.major, to, res.Took.Seconds()))
	}
}

func TestMixed(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			w := history(t, major, func(c *pgtest.Cluster) {
				pgtest.Mixed{Seed: 1, Clients: 2, Operations: 40, Crashes: 1, Tablespace: true}.Run(c)
			}, pgtest.Conf("track_commit_timestamp", "on"), pgtest.Checksums(major == 17))
			differential(t, w, 1)
		})
	}
}

func TestPgbench(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			w := history(t, major, func(c *pgtest.Cluster) {
				c.Pgbench("-i", "-s", "2", "-q", "postgres")
				c.Pgbench("-c", "2", "-t", "400", "-n", "postgres")
				c.Exec("VACUUM")
			}, pgtest.Checksums(major == 15), pgtest.FullPageWrites(major == 15))
			differential(t, w, 2)
		})
	}
}

// TestIndexes is every index method of PostgreSQL itself, under inserts,
// updates, deletes, vacuum and a crash.
func TestIndexes(t *testing.T) {
	majors := []int{17}
	if pgtest.Prove() {
		majors = pgtest.Majors
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			w := history(t, major, func(c *pgtest.Cluster) {
				c.Exec("CREATE TABLE x (id int, t text, a int[], p point, r int4range)",
					"CREATE INDEX ON x USING hash (t)", "CREATE INDEX ON x USING gin (a)", "CREATE INDEX ON x USING gist (p)",
					"CREATE INDEX ON x USING spgist (t)", "CREATE INDEX ON x USING spgist (p)", "CREATE INDEX ON x USING gist (r)",
					"CREATE INDEX ON x USING brin (id) WITH (pages_per_range = 2, autosummarize = off)", "CREATE INDEX ON x (id, t)")
				for i := range 4 {
					c.Exec(fmt.Sprintf("INSERT INTO x SELECT i, md5((i / 3)::text), ARRAY[i, i %% 50, i %% 7], point(i %% 97, i %% 89), int4range(i, i + i %% 30) FROM generate_series(%d, %d) i", i*1500, i*1500+1499),
						"UPDATE x SET t = t || 'u', a = a || id, p = point(p[1], id) WHERE id % 5 = 0", "DELETE FROM x WHERE id % 7 = 3", "VACUUM x",
						"SELECT brin_summarize_new_values(oid::regclass) FROM pg_class WHERE relname LIKE 'x_id_idx%' AND relam = 3580")
					if i == 1 {
						c.Restart(pgtest.Immediate)
					}
				}
			}, pgtest.FullPageWrites(major == 15))
			differential(t, w, 5)
		})
	}
}

// TestDemo is the WAL that ships with the repository.
func TestDemo(t *testing.T) {
	c := pgtest.Server(t, 17, pgtest.NoStart()) // for its programs, where its user can run them
	dir := t.TempDir()
	fixture, err := demo.Unpack(dir)
	must(t, err)
	for _, tl := range fixture.Timelines[:1] {
		t.Run(tl.Tenant+" "+tl.Timeline, func(t *testing.T) {
			w := &world{major: 17, bins: Bins{Dir: c.Bin}, scratch: c.Dir("scratch-" + tl.Timeline), online: true}
			top := filepath.Join(dir, tl.Tenant, tl.Timeline)
			w.open(t, filepath.Join(top, "snapshots", tl.Snapshots[0].Name), filepath.Join(top, "wal"))
			w.start, w.first = tl.Snapshots[0].Start, tl.Snapshots[0].Stop
			differential(t, w, 3)
		})
	}
}

// TestCleanBase starts from a directory that was stopped cleanly, with a
// tablespace in it, and goes over one that the span makes and a promotion.
func TestCleanBase(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			c := pgtest.Server(t, major, pgtest.WALSegmentMiB(1))
			old, young := c.Dir("old"), c.Dir("young")
			c.Exec("CREATE TABLESPACE old LOCATION '"+old+"'", "CREATE TABLE a TABLESPACE old AS SELECT i, i::text AS v FROM generate_series(1, 3000) i")
			dir := c.Dir("w")
			c.CleanCopy(filepath.Join(dir, "base"))
			moveTablespace(t, filepath.Join(dir, "base"), old, filepath.Join(dir, "old"))
			c.Start()
			c.Exec("UPDATE a SET i = i + 1", "CREATE TABLESPACE young LOCATION '"+young+"'",
				"CREATE TABLE b TABLESPACE young AS SELECT i, i::text AS v FROM generate_series(1, 3000) i", "CREATE DATABASE d TABLESPACE young")
			promote(t, c)
			c.Exec("UPDATE b SET i = i + 1", "DROP TABLE a", "DROP TABLESPACE old", "CREATE INDEX ON b (i)")
			c.Stop(pgtest.Fast)
			c.CollectWAL(filepath.Join(dir, "wal"))
			marker := filepath.Join(young, "untouched")
			must(t, os.WriteFile(marker, nil, 0o600))
			before := listing(t, young)
			w := &world{major: major, bins: Bins{Dir: c.Bin}, scratch: c.Dir("scratch"), cluster: c}
			w.open(t, filepath.Join(dir, "base"), filepath.Join(dir, "wal"))
			info, err := w.base.(*snapshot.Snapshot).Peek(context.Background())
			must(t, err)
			w.start, w.first = info.Redo, info.Redo
			differential(t, w, 4)
			if log := w.serve(t, w.ends(t, 4)[0]).Log; !strings.Contains(log, "selected new timeline ID: 3") {
				t.Errorf("the server did not follow the promotion:\n%s", log)
			}
			if now := listing(t, young); now != before {
				t.Errorf("the primary's tablespace was changed:\n%s\nbefore:\n%s", now, before)
			}
		})
	}
}

// moveTablespace copies a tablespace and turns the link of a copied directory to the copy.
func moveTablespace(t *testing.T, base, from, to string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(from)))
	links, err := filepath.Glob(filepath.Join(base, "pg_tblspc", "*"))
	must(t, err)
	for _, l := range links {
		must(t, os.Remove(l))
		must(t, os.Symlink(to, l))
	}
}

// promote makes the cluster begin a new timeline, as after a failover.
func promote(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	c.Stop(pgtest.Fast)
	must(t, c.AppendConf("restore_command = 'false'"))
	signal := filepath.Join(c.Data, "recovery.signal")
	must(t, os.WriteFile(signal, nil, 0o666))
	must(t, os.Chmod(signal, 0o666))
	c.Start()
	for range 200 {
		if c.Query("SELECT pg_is_in_recovery()") == "f" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the cluster is not promoted")
}

// listing describes what is below a directory, times of change included.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, p, st.Mode(), st.Size(), st.ModTime())
		}
		return err
	}))
	return b.String()
}
