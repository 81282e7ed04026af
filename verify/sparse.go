package verify

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// Sparse is a Snapshot that its server gives out block by block, so that only
// what is wanted is read of it: what the span's WAL touches and, as far as
// Options.Untouched says, other blocks of all relations. Its Walk streams what
// is no relation.
type Sparse interface {
	Snapshot
	// WalkOnly streams what is no relation, then what is wanted of relations.
	WalkOnly(ctx context.Context, want datadir.Selection, v datadir.Visitor) error
	// Sizes returns the blocks of those of the forks that exist.
	Sizes(ctx context.Context, forks []pg.RelFork) (map[pg.RelFork]pg.BlockNumber, error)
	// DatabaseBlocks is how many blocks the relations of a database have.
	DatabaseBlocks(ctx context.Context, db pg.OID) (int64, error)
	// Keeps says whether the side has an SLRU at all.
	Keeps(pg.SLRU) bool
}

// maxBeyond is how many blocks behind the end of what replay leaves are looked
// at, to tell whether they are empty.
const maxBeyond = 1 << 15

// sparse says whether a side is read block by block.
func sparse(s Snapshot) bool {
	_, ok := s.(Sparse)
	return ok
}

// sparseFits refuses what cannot be done with sides that are read block by block.
func (r *run) sparseFits() error {
	for _, s := range []Snapshot{r.Base, r.Official} {
		if sparse(s) && (r.Engine != EngineNative || r.Confirm) {
			return inputErrorf("%s is read block by block; a PostgreSQL as second engine needs a whole data directory: leave --engine and --confirm out", s.Name())
		}
	}
	if sparse(r.Base) && !sparse(r.Official) {
		return inputErrorf("the base %s is read block by block, so that nothing is known of most of %s: take a pageserver as the official side, too, or a base backup as the base",
			r.Base.Name(), r.Official.Name())
	}
	return nil
}

// sparseSpan refuses a span whose end is no place between two records, where
// the base is read block by block and nobody but the caller chose the LSNs.
func (r *run) sparseSpan(s *native.Scanned) error {
	if sparse(r.Official) && s.End > r.out.Span.To {
		return inputErrorf("--to %s lies within a record that ends at %s: take that, or another LSN at which a record ends", r.out.Span.To, s.End)
	}
	return nil
}

// readBase streams the base, all of it or what is wanted.
func (r *run) readBase(ctx context.Context, v datadir.Visitor) error {
	s, ok := r.Base.(Sparse)
	if !ok {
		return r.Base.Walk(ctx, v)
	}
	if r.a.CopiesDatabases() {
		return &inconclusive{fmt.Sprintf("the span copies a database file by file, and %s cannot list the files of the original", r.Base.Name())}
	}
	want := datadir.Selection{Forks: r.a.TouchedForks(), Blocks: r.baseBlocks, SLRUs: r.a.TouchedSLRUs(), MayLack: true}
	if r.Untouched > 0 && r.Rel == nil {
		want.More = func() ([]pg.RelFork, error) { return r.catalogued(ctx) }
	}
	return s.WalkOnly(ctx, want, v)
}

// baseBlocks are the blocks of a base that redo builds on, or that are
// compared although no WAL touches them.
func (r *run) baseBlocks(f pg.RelFork, size pg.BlockNumber) iter.Seq[pg.BlockNumber] {
	return r.some(f, size, r.a.Needs)
}

// some are, ascending, touched blocks that want says, and untouched ones that
// are in the sample.
func (r *run) some(f pg.RelFork, size pg.BlockNumber, want func(pg.RelFork, pg.BlockNumber) bool) iter.Seq[pg.BlockNumber] {
	return func(yield func(pg.BlockNumber) bool) {
		next := pg.BlockNumber(0)
		untouched := func(end pg.BlockNumber) bool {
			for ; r.Untouched > 0 && next < end; next++ {
				if r.sampled(f, next) && !yield(next) {
					return false
				}
			}
			return true
		}
		var touched []pg.BlockNumber
		r.a.EachTouched(f, func(b pg.BlockNumber) {
			if b < size {
				touched = append(touched, b)
			}
		})
		for _, b := range touched {
			if !untouched(b) || want(f, b) && !yield(b) {
				return
			}
			next = b + 1
		}
		untouched(size)
	}
}

// sampled says whether a block that no WAL touches is read at both ends.
func (r *run) sampled(f pg.RelFork, b pg.BlockNumber) bool {
	return (r.wanted == nil || r.wanted(f, b)) && chosen(f, b, r.Seed, r.Untouched)
}

// readOfficial streams the official side, all of it or what is wanted.
func (r *run) readOfficial(ctx context.Context, v datadir.Visitor) error {
	s, ok := r.Official.(Sparse)
	if !ok {
		return r.Official.Walk(ctx, v)
	}
	forks := r.a.TouchedForks()
	for _, f := range r.ra.Forks() {
		if !slices.Contains([]pg.ForkNumber{pg.MainFork, pg.VMFork, pg.InitFork}, f.Fork) || !sparse(r.Base) && !f.Created && !r.a.TouchesFork(f.RelFork) && r.Untouched == 0 {
			continue
		}
		forks = append(forks, f.RelFork)
	}
	slices.SortFunc(forks, pg.RelFork.Compare)
	r.asked = make(map[pg.RelFork]bool)
	for _, f := range forks {
		r.asked[f] = true
	}
	err := s.WalkOnly(ctx, datadir.Selection{Forks: slices.Compact(forks), Blocks: r.officialBlocks, SLRUs: r.a.TouchedSLRUs()}, v)
	if err != nil {
		return err
	}
	return r.countUnread(ctx, s)
}

// officialBlocks are the blocks of an official fork that replay has something
// to say of, those behind its end included.
func (r *run) officialBlocks(f pg.RelFork, size pg.BlockNumber) iter.Seq[pg.BlockNumber] {
	return func(yield func(pg.BlockNumber) bool) {
		fork, _ := r.replayedFork(f)
		read := int64(0)
		give := func(b pg.BlockNumber) bool {
			read++
			return yield(b)
		}
		within := min(size, fork.BaseBlocks)
		for b := range r.some(f, within, func(pg.RelFork, pg.BlockNumber) bool { return true }) {
			if !give(b) {
				return
			}
		}
		for b := within; b < size; b++ { // made by the span, or not known to it
			if b-within >= maxBeyond && b >= fork.Size {
				r.tally.add(f, forkTally{beyond: 1}) // nothing shows that they are empty
				break
			}
			if !give(b) {
				return
			}
		}
		r.tally.add(f, forkTally{skipped: int64(size) - read})
		if f.DB != 0 {
			r.known += int64(size)
		}
	}
}

// countUnread counts the blocks of relations that nothing was asked about.
func (r *run) countUnread(ctx context.Context, s Sparse) error {
	total := int64(0)
	for _, k := range r.ra.RelMaps() {
		if k.DB == 0 {
			continue // the pageserver counts no shared relations
		}
		n, err := s.DatabaseBlocks(ctx, k.DB)
		if err != nil {
			return err
		}
		total += n
	}
	r.out.Coverage.BlocksSkipped += max(total-r.known, 0)
	return nil
}

// lastingly is a page without an LSN that says nothing.
func (r *run) lastingly(b pg.Block, p page.Page) page.Page {
	if !r.official.MapsStamped || b.Fork != pg.VMFork || len(p) != pg.BlockSize {
		return p
	}
	p = slices.Clone(p)
	p.SetLSN(0)
	return p
}

// reread reads the official pages that differ once more. A server that gives
// out two pages for one block at one LSN proves nothing about either.
func (r *run) reread(ctx context.Context) error {
	if !sparse(r.Official) {
		return nil
	}
	first := make(map[pg.Block]int64)
	var blocks []pg.Block
	for _, m := range r.tally.mismatches {
		first[m.Block] = m.official
		blocks = append(blocks, m.Block)
	}
	slices.SortFunc(blocks, pg.Block.Compare)
	changed := 0
	var which pg.Block
	err := r.Official.Fetch(ctx, blocks, func(b pg.Block, p []byte) error {
		before, err := r.spool.get(first[b])
		if err == nil && !bytes.Equal(r.lastingly(b, before), r.lastingly(b, p)) {
			changed, which = changed+1, b
		}
		delete(first, b)
		return err
	})
	if err != nil {
		return fmt.Errorf("read official pages that differ again: %w", err)
	}
	if changed+len(first) > 0 {
		for b := range first {
			which = b
		}
		return &inconclusive{fmt.Sprintf("%s gave other pages when %d of those that differ were read again, %s among them: what it says of one LSN is not the same twice",
			r.Official.Name(), changed+len(first), which)}
	}
	return nil
}
