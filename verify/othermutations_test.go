package verify_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
)

// tables whose files are damaged as a whole.
var tables = []string{"away", "stays", "short", "cold", "goes", "shrinks", "reverted", "hot", "map0", "map1", "map2", "map3", "map4", "map5"}

func (w *world) path(table string, suffix ...string) string {
	return filepath.Join(w.Data, w.files[table]) + strings.Join(suffix, "")
}

// inCopy is a file of the data directory in one of its copies.
func (w *world) inCopy(dir, path string) []byte {
	w.t.Helper()
	rel, _ := filepath.Rel(w.Data, path)
	raw, err := os.ReadFile(filepath.Join(dir, rel))
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func blockOf(raw []byte, n int) []byte { return raw[n*pg.BlockSize : (n+1)*pg.BlockSize] }

// wholeFiles damages files as a whole: truncated, grown, deleted, resurrected.
func (w *world) wholeFiles(sum *score, want map[place]planted) {
	bad := func(path, name string, kind finding.Kind, blame finding.Blame, words string, change func(raw []byte) []byte) {
		w.change(path, change)
		rel, _ := filepath.Rel(w.Data, path)
		want[place{rel, -1}] = planted{name, outcome{kind, blame, words}}
	}
	good := func(path string, change func(raw []byte) []byte) {
		w.change(path, change)
		sum.good++
	}
	gone := func([]byte) []byte { return nil }
	stray := filepath.Join(filepath.Dir(w.path("away")), "999999")
	bad(w.path("away"), "deleted relation", finding.MissingRelation, finding.BlameOfficial, "has no file", gone)
	bad(w.path("map5"), "deleted relation, touched", finding.MissingRelation, finding.BlameOfficial, "has no file", gone)
	bad(w.path("map0", "_vm"), "deleted visibility map", finding.MissingRelation, finding.BlameOfficial, "has no file", gone)
	bad(w.path("short"), "truncated file", finding.SizeMismatch, finding.BlameOfficial, "are missing",
		func(raw []byte) []byte { return raw[:3*pg.BlockSize] })
	bad(w.path("stays"), "bytes behind the last block", finding.SizeMismatch, finding.BlameOfficial, "no whole number of blocks",
		func(raw []byte) []byte { return append(raw, "some bytes"...) })
	bad(w.path("cold"), "grown file", finding.SizeMismatch, finding.BlameUnknown, "no WAL wrote",
		func(raw []byte) []byte { return append(raw, blockOf(raw, 3)...) })
	bad(w.path("goes"), "resurrected relation", finding.ExtraRelation, finding.BlameOfficial, "a relation came back",
		func([]byte) []byte { return w.inCopy(w.mid, w.path("goes")) })
	bad(stray, "a file of nobody's", finding.ExtraRelation, finding.BlameOfficial, "no catalog, base or WAL knows",
		func([]byte) []byte { return w.inCopy(w.mid, w.path("goes")) })
	bad(w.path("shrinks"), "lost truncation", finding.SizeMismatch, finding.BlameOfficial, "the truncation was lost",
		func(raw []byte) []byte { return append(raw, w.inCopy(w.base, w.path("shrinks"))[len(raw):]...) })

	good(w.path("reverted"), func(raw []byte) []byte { return append(raw, make([]byte, 3*pg.BlockSize)...) })
	good(w.path("map1"), func(raw []byte) []byte { return append(raw, emptyPage()...) })
	good(w.path("hot", "_fsm"), func(raw []byte) []byte {
		raw[100]++
		return raw
	})
	good(w.path("cold", "_fsm"), gone)
	good(filepath.Join(filepath.Dir(w.path("away")), "999998"), func([]byte) []byte { return []byte{} })
	good(filepath.Join(w.Data, "pg_xact/0000"), func(raw []byte) []byte { return append(raw, make([]byte, pg.BlockSize)...) })
}

// emptyPage is initialised and was never written.
func emptyPage() page.Page {
	p := make(page.Page, pg.BlockSize)
	p.SetLower(page.HeaderSize)
	p.SetUpper(pg.BlockSize)
	p.SetSpecial(pg.BlockSize)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	return p
}

// checkpointLost takes a whole relation back to what the base, or the copy
// half way, has of it.
func (w *world) checkpointLost(want map[place]planted) {
	f := w.fork(w.files["reverted"], pg.MainFork)
	for n := range pg.BlockNumber(1000) {
		b := pg.Block{RelFork: f, Number: n}
		now, was := pageAt(w.Data, b), pageAt(w.mid, b)
		if now == nil {
			break
		}
		if was != nil && !was.IsNew() && was.LSN() != now.LSN() && w.knows(b, was.LSN()) {
			w.write(w.Data, b, was)
			want[place{w.files["reverted"], int64(n)}] = planted{"a checkpoint that was lost", outcome{finding.LostWrite, finding.BlameOfficial, "a lost write"}}
		}
	}
}

// staleMaps sets visibility bits that the WAL cleared, and clears one that it set.
func (w *world) staleMaps(want map[place]planted) {
	for i, table := range []string{"map2", "map3", "map4"} {
		b := pg.Block{RelFork: w.fork(w.files[table], pg.VMFork)}
		p := pageAt(w.Data, b)
		out := outcome{finding.Unexplained, finding.BlameOfficial, "the map is wrong"}
		if table == "map4" {
			out = outcome{finding.Unexplained, finding.BlameUnknown, "visibility bits of 1 heap block differ"}
		}
		for n := range 40 {
			bits := p.VMBits(n)
			if table == "map4" && bits != 0 {
				p[page.HeaderSize+n/4] &^= 3 << (n % 4 * 2)
				break
			}
			if heap := pageAt(w.Data, pg.Block{RelFork: w.fork(w.files[table], pg.MainFork), Number: pg.BlockNumber(n)}); table != "map4" && bits == 0 && heap != nil {
				p[page.HeaderSize+n/4] |= byte(1+2*(i%2)) << (n % 4 * 2)
				break
			}
		}
		if w.lastWhole(b) && table == "map4" {
			out.blame = finding.BlameOfficial
		}
		if !w.touched(b) {
			out.kind = finding.BitRot
		}
		if w.Checksums {
			p.SetChecksum(p.ComputeChecksum(0))
		}
		w.write(w.Data, b, p)
		want[place{datadir.RelPath(b.RelFork, 0, ""), 0}] = planted{"a stale map of " + table, out}
	}
}

var slrus = []string{"pg_xact/0000", "pg_multixact/offsets/0000", "pg_multixact/members/0000", "pg_commit_ts/0000"}

// slruBits flips a bit on the first page of each SLRU, to what not even the base says.
func (w *world) slruBits(want map[place]planted) {
	for _, s := range slrus {
		base := w.inCopy(w.base, filepath.Join(w.Data, s))
		w.change(filepath.Join(w.Data, s), func(raw []byte) []byte {
			for at := range min(len(raw), 8000) {
				if raw[at] != 0 && raw[at] != base[at] && raw[at]^4 != base[at] && raw[at]^4 != 0 {
					raw[at] ^= 4
					break
				}
			}
			return raw
		})
		want[place{s, 0}] = planted{"a bit of " + s, outcome{finding.SLRUMismatch, finding.BlameUnknown, "officially"}}
	}
	want[place{slrus[3], 0}] = planted{"a bit of " + slrus[3], outcome{finding.SLRUMismatch, finding.BlameUnknown, "commit timestamp"}}
}

// slruPagesLost takes the first page of each SLRU back to the base's, or away.
func (w *world) slruPagesLost(want map[place]planted, zero bool) {
	for _, s := range slrus {
		base := w.inCopy(w.base, filepath.Join(w.Data, s))
		words := "the base"
		w.change(filepath.Join(w.Data, s), func(raw []byte) []byte {
			if zero || bytes.Equal(base[:pg.BlockSize], make([]byte, pg.BlockSize)) {
				words = "all zeros"
				clear(raw[:pg.BlockSize])
				return raw
			}
			copy(raw, base[:pg.BlockSize])
			return raw
		})
		want[place{s, 0}] = planted{"a lost page of " + s, outcome{finding.SLRUMismatch, finding.BlameOfficial, words}}
	}
}

// slruFilesGone removes the first segment of the small ones.
func (w *world) slruFilesGone(want map[place]planted) {
	for _, s := range slrus[1:3] {
		w.change(filepath.Join(w.Data, s), func([]byte) []byte { return nil })
		want[place{s, 0}] = planted{"a lost segment " + s, outcome{finding.SLRUMismatch, finding.BlameOfficial, "lacks this page"}}
	}
}
