package verify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
)

// place is where a finding is: a file and a block, -1 for the whole file.
type place struct {
	file  string
	block int64
}

// planted is what a verification must find, and no more.
type planted struct {
	name string
	outcome
}

// score counts what a cluster's corruptions were found as.
type score struct {
	found   map[string]int // "kind, blame"
	good    int
	planted map[string]int // page mutations by name
}

func newScore() *score { return &score{found: make(map[string]int), planted: make(map[string]int)} }

func (s *score) total() int {
	n := 0
	for _, c := range s.found {
		n += c
	}
	return n
}

func (s *score) String() string {
	var lines []string
	for k, n := range s.found {
		lines = append(lines, fmt.Sprintf("%s %d", k, n))
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d corruptions found (%s), %d benign changes passed over", s.total(), strings.Join(lines, "; "), s.good)
}

// TestMutations damages a cluster in every way that the contract has a kind
// for, many at once: each must be found at its place, as its kind and with its
// blame, and nothing else must be; benign changes must not be found.
func TestMutations(t *testing.T) {
	settings := pick([]worldSetting{{15, true, false}, {17, false, true}},
		[]worldSetting{{15, true, false}, {15, false, true}, {17, true, true}, {17, false, false}})
	bad, good, planted := 0, 0, make(map[string]int)
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			w, sum := newWorld(t, s), newScore()
			for range pick(1, 12) { // of all page mutations
				w.pages(sum)
			}
			w.others(sum)
			t.Log(sum)
			bad, good = bad+sum.total(), good+sum.good
			for name, n := range sum.planted {
				planted[name] += n
			}
		})
	}
	t.Logf("%d corruptions, %d benign changes in all", bad, good)
	if !t.Failed() && !t.Skipped() && bad > 0 && (bad < 75*len(settings) || good < 35*len(settings)) {
		t.Errorf("%d corruptions and %d benign changes are too few to prove anything", bad, good)
	}
	for _, mu := range slices.Concat(benignChanges, pageCorruptions) {
		if !t.Failed() && !t.Skipped() && bad > 0 && planted[mu.name] == 0 {
			t.Errorf("there was no page to plant %q on", mu.name)
		}
	}
}

// perRound is how often each page mutation is planted in a round.
const perRound = 3

// pages plants each page mutation at blocks of its own.
func (w *world) pages(sum *score) {
	w.t.Helper()
	want := make(map[place]planted)
	w.rng.Shuffle(len(w.blocks), func(i, j int) { w.blocks[i], w.blocks[j] = w.blocks[j], w.blocks[i] })
	for _, mu := range slices.Concat(benignChanges, pageCorruptions) {
		n := 0
		for _, b := range w.blocks {
			if n == perRound {
				break
			}
			out, ok := w.mutate(b, mu)
			if !ok {
				continue
			}
			n++
			sum.planted[mu.name]++
			if out.kind == "" {
				sum.good++
			} else {
				want[place{datadir.RelPath(b.RelFork, 0, ""), int64(b.Number)}] = planted{mu.name, out}
			}
		}
	}
	w.check(sum, want)
}

// others plants everything else, in few batches.
func (w *world) others(sum *score) {
	w.t.Helper()
	want := make(map[place]planted)
	w.wholeFiles(sum, want)
	w.staleMaps(want)
	w.slruBits(want)
	w.check(sum, want)

	want = make(map[place]planted)
	w.checkpointLost(want)
	w.slruPagesLost(want, false)
	w.check(sum, want)

	want = make(map[place]planted)
	w.baseIsWrong(want)
	w.slruPagesLost(want, true)
	w.check(sum, want)

	want = make(map[place]planted)
	w.walIsWrong(want)
	w.slruFilesGone(want)
	w.check(sum, want)

	w.walEnds(sum)
}

// mutate tries one mutation on one block.
func (w *world) mutate(b pg.Block, mu mutation) (outcome, bool) {
	m := mutated{w: w, block: b, page: pageAt(w.Data, b), base: pageAt(w.base, b), mid: pageAt(w.mid, b)}
	if w.used[b] || m.page == nil || m.page.IsNew() {
		return outcome{}, false
	}
	before := string(m.page)
	m.kind = page.KindOf(m.page, pg.MainFork)
	out, ok := mu.apply(&m)
	if !ok || string(m.page) == before {
		return outcome{}, false
	}
	if w.Checksums && !m.stale {
		m.page.SetChecksum(m.page.ComputeChecksum(b.Number))
	}
	w.used[b] = true
	w.write(w.Data, b, m.page)
	return out, true
}

// check verifies, compares what was found with what was planted and puts
// everything back.
func (w *world) check(sum *score, want map[place]planted) {
	w.t.Helper()
	w.compare(sum, mustVerify(w.t, w.options()), want)
	w.restore()
}

func (w *world) compare(sum *score, v *finding.Verification, want map[place]planted) {
	w.t.Helper()
	if len(want) > 0 && v.Verdict != finding.Discrepancies {
		w.t.Errorf("verdict %s: %s", v.Verdict, describe(v))
	}
	seen := make(map[place]bool)
	for _, d := range v.Discrepancies {
		p := place{d.File, -1}
		if d.Block != nil {
			p.block = *d.Block
		}
		mu, expected := want[p]
		switch {
		case !expected:
			w.t.Errorf("%v: nothing was planted, found %s, blame %s: %s", p, d.Kind, d.Blame, d.Explanation)
		case seen[p]:
			w.t.Errorf("%v: %q was found twice: %s", p, mu.name, d.Explanation)
		case mu.kind != d.Kind || mu.blame != d.Blame || !strings.Contains(d.Explanation, mu.words):
			w.t.Errorf("%v: %q was found as %s, blame %s, want %s, blame %s, %q: %s", p, mu.name, d.Kind, d.Blame, mu.kind, mu.blame, mu.words, d.Explanation)
		default:
			sum.found[fmt.Sprintf("%s, %s", d.Kind, d.Blame)]++
		}
		seen[p] = true
	}
	for p, mu := range want {
		if !seen[p] {
			w.t.Errorf("%v: %q was not found", p, mu.name)
		}
	}
}

// candidates lists the blocks of user relations on the official side.
func candidates(t *testing.T, dir string) []pg.Block {
	t.Helper()
	var out []pg.Block
	err := filepath.WalkDir(filepath.Join(dir, "base"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		f, ok := datadir.ParseRelPath(filepath.ToSlash(rel))
		st, err := e.Info()
		if err != nil || !ok || f.Fork != pg.MainFork || f.Rel < 16384 {
			return err
		}
		for b := range st.Size() / pg.BlockSize {
			out = append(out, pg.Block{RelFork: f.RelFork, Number: pg.BlockNumber(b)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pageAt reads a page of a data directory, nil if it is not there.
func pageAt(dir string, b pg.Block) page.Page {
	f, err := os.Open(filepath.Join(dir, datadir.RelPath(b.RelFork, 0, "")))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	p := make(page.Page, pg.BlockSize)
	if _, err := f.ReadAt(p, int64(b.Number)*pg.BlockSize); err != nil {
		return nil
	}
	return p
}
