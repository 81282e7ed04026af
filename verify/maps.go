package verify

import (
	"context"
	"fmt"
	"slices"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
)

// maxMapBits is how many bits of a visibility map page are held against the
// heap pages that they speak of.
const maxMapBits = 64

// checkMaps holds bits that only the official visibility map has against the
// official heap pages: one that is not all-visible by itself proves the map
// wrong, for PostgreSQL never sets the one without the other.
func (r *run) checkMaps(ctx context.Context, mm []mismatch, ev *evidence) error {
	owner := make(map[pg.Block]pg.Block) // heap block to map page
	var heaps []pg.Block
	for _, m := range mm {
		if m.Fork != pg.VMFork {
			continue
		}
		official, err := r.spool.get(m.official)
		if err != nil {
			return err
		}
		replayed, err := r.spool.get(m.replayed)
		if err != nil {
			return err
		}
		if replayed == nil {
			replayed = ev.base[m.Block]
		}
		for _, n := range onlyIn(official, replayed, m.Number) {
			heap := pg.Block{RelFork: pg.RelFork{RelFileLocator: m.RelFileLocator}, Number: n}
			if !r.b.Touched(heap.RelFork, n) {
				owner[heap] = m.Block
				heaps = append(heaps, heap)
			}
		}
	}
	if len(heaps) == 0 {
		return nil
	}
	ev.liars = make(map[pg.Block]pg.BlockNumber)
	err := r.Official.Fetch(ctx, heaps, func(b pg.Block, p []byte) error {
		if page.Page(p).Flags()&page.AllVisible == 0 {
			ev.liars[owner[b]] = b.Number
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read heap pages of the official side: %w", err)
	}
	return nil
}

// onlyIn lists the first heap blocks with a bit that only page a of the map has.
func onlyIn(a, b page.Page, number pg.BlockNumber) []pg.BlockNumber {
	var out []pg.BlockNumber
	if len(a) != pg.BlockSize || len(b) != pg.BlockSize {
		return nil
	}
	first := uint64(number) * page.VMBlocksPerPage
	for i := 0; i < page.VMBlocksPerPage && len(out) < maxMapBits; i++ {
		if n := first + uint64(i); a.VMBits(i)&^b.VMBits(i) != 0 && n < uint64(pg.InvalidBlock) {
			out = append(out, pg.BlockNumber(n))
		}
	}
	return out
}

// blameMap blames the official side for a map that its own heap contradicts.
func (ev *evidence) blameMap(b pg.Block, d *finding.Discrepancy) {
	heap, wrong := ev.liars[b]
	if !wrong || d.Severity != finding.Critical {
		return
	}
	d.Blame = finding.BlameOfficial
	d.Explanation = joinSentences(d.Explanation, fmt.Sprintf(
		"The official heap page %d, which the map calls all-visible, does not say so itself: the map is wrong, and index-only scans may return wrong rows.", heap))
}

// checkClaims looks at heap pages that an official visibility map calls
// all-visible where replay cannot know: each must say so itself. One that does
// not, and is otherwise what the WAL says, proves the map wrong.
func (r *run) checkClaims(ctx context.Context) error {
	var heaps []pg.Block
	for f, ns := range r.tally.claims {
		for _, n := range ns {
			heaps = append(heaps, pg.Block{RelFork: f, Number: n})
		}
	}
	if len(heaps) == 0 {
		return nil
	}
	slices.SortFunc(heaps, pg.Block.Compare)
	differs := make(map[pg.Block]bool)
	for _, m := range r.tally.mismatches {
		differs[m.Block] = true
	}
	wrong := make(map[pg.Block][]pg.BlockNumber) // heap blocks by map page
	err := r.Official.Fetch(ctx, heaps, func(b pg.Block, p []byte) error {
		if page.Page(p).Flags()&page.AllVisible == 0 && !r.b.Touched(b.RelFork, b.Number) && !differs[b] {
			vm := pg.Block{RelFork: pg.RelFork{RelFileLocator: b.RelFileLocator, Fork: pg.VMFork}, Number: b.Number / page.VMBlocksPerPage}
			wrong[vm] = append(wrong[vm], b.Number)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read heap pages of the official side again: %w", err)
	}
	for vm, ns := range wrong {
		r.add(r.wrongMap(vm, ns))
	}
	return nil
}

func (r *run) wrongMap(vm pg.Block, heaps []pg.BlockNumber) finding.Discrepancy {
	n := int64(vm.Number)
	rel := finding.RelationOf(vm.RelFork)
	slices.Sort(heaps)
	return finding.Discrepancy{
		Relation: &rel, Block: &n,
		File:   datadir.RelPath(vm.RelFork, uint32(n/pg.BlocksPerFile), r.versionDir()),
		Offset: n % pg.BlocksPerFile * pg.BlockSize,
		Kind:   finding.Unexplained, Severity: finding.Critical, Blame: finding.BlameOfficial,
		Explanation: fmt.Sprintf("The visibility map calls %d heap pages all-visible that do not say so themselves, the first of them %d: the map is wrong, and index-only scans may return wrong rows.",
			len(heaps), heaps[0]),
	}
}
