package verify

import (
	"context"
	"fmt"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// conclude makes of what could not be accounted for what it is: discrepancies,
// or blocks that were not caught.
func (r *run) conclude(ctx context.Context) error {
	m := r.moving
	found := make(map[pg.Block]bool)
	var suspects []*pending
	for _, p := range m.pending {
		t := r.tally.fork(p.RelFork)
		wrong, err := r.conclusive(p)
		switch {
		case err != nil:
			return err
		case p.outcome == accounted && !p.memory, wrong && !p.memory:
			t.compared++
		case p.outcome == nobodys && !p.memory:
			t.compared++
			t.beyond++
		case p.outcome == unaccounted && !wrong, p.outcome == tooNew, p.outcome == noRedo, p.outcome == byCopy:
			t.uncaught[p.outcome]++
		}
		if wrong {
			suspects = append(suspects, p)
		}
	}
	slices.SortStableFunc(suspects, func(a, b *pending) int { return a.Compare(b.Block) })
	if err := r.compareMemory(ctx, suspects); err != nil {
		return err
	}
	for _, p := range suspects {
		if found[p.Block] {
			continue
		}
		found[p.Block] = true
		m.stops[p.Block] = p.stopLSN
		r.tally.mismatches = append(r.tally.mismatches, mismatch{
			Block: p.Block, official: p.official, replayed: p.stop, touched: p.touched, checksum: p.checksum && !p.memory,
		})
	}
	return nil
}

// conclusive says whether a page that no version accounts for is evidence: one
// that was not merely met while it was written. It is if it was the same in two reads, if
// its checksum says that it is whole, or if it comes from memory.
func (r *run) conclusive(p *pending) (bool, error) {
	if p.outcome != unaccounted || p.official < 0 {
		return false, nil
	}
	if p.memory || p.same > 0 {
		return true, nil
	}
	b, err := r.spool.get(p.official)
	return p.checksum && !page.Page(b).IsNew() && page.Page(b).ChecksumOK(p.Number), err
}

// maxConfirmed is how many blocks are looked up in the server's memory.
const maxConfirmed = 100

// compareMemory says of blocks that are wrong on disk what they are in the
// server's memory, and the other way round.
func (r *run) compareMemory(ctx context.Context, suspects []*pending) error {
	m := r.moving
	var inMemory []*pending
	disk := make(map[pg.Block]*pending)
	for _, p := range suspects {
		if p.memory {
			if disk[p.Block] == nil {
				m.words[p.Block] = "This is the page in the server's memory; the one on disk is right."
			}
			continue
		}
		if disk[p.Block] = p; len(disk) > maxConfirmed {
			break
		}
		q := &pending{Block: p.Block, official: -1, memory: true, base: p.base, stop: -1}
		if err := r.readMemory(ctx, q); err != nil {
			return err
		}
		if q.official < 0 {
			m.words[p.Block] = "What the server has of it in memory is not known."
			continue
		}
		inMemory = append(inMemory, q)
	}
	if len(inMemory) == 0 {
		return nil
	}
	if err := r.advance(ctx); err != nil {
		return err
	}
	if err := r.follows(ctx, inMemory, 1); err != nil {
		return err
	}
	for _, q := range inMemory {
		why, err := r.memoryWords(q, disk[q.Block])
		if err != nil {
			return err
		}
		m.words[q.Block] = why
	}
	return nil
}

func (r *run) memoryWords(q, p *pending) (string, error) {
	if q.outcome == accounted {
		return "It is so on disk only: in the server's memory the block is right, so that its queries are answered rightly until it is read from disk again.", nil
	}
	a, err := r.spool.get(q.official)
	if err != nil {
		return "", err
	}
	b, err := r.spool.get(p.official)
	if err != nil {
		return "", err
	}
	if len(b) == pg.BlockSize && page.Page(a).LSN() == page.Page(b).LSN() && string(a[10:]) == string(b[10:]) {
		return "The server has the same page in memory: it answers queries with it.", nil
	}
	return "In the server's memory the block is wrong, too, in another way.", nil
}

// memoryToo compares all blocks as the server has them in memory, if asked.
func (r *run) memoryToo(ctx context.Context, s *officialSide) error {
	if !r.moving.opt.Memory {
		return nil
	}
	work := &workspace{}
	for _, f := range r.rb.Forks() {
		for b := pg.BlockNumber(0); b < f.Size; b++ {
			if r.wanted != nil && !r.wanted(f.RelFork, b) {
				continue
			}
			_, reached, err := r.moving.Position(ctx)
			if err != nil {
				return err
			}
			p, known, err := r.moving.Memory(ctx, pg.Block{RelFork: f.RelFork, Number: b})
			if err != nil {
				return err
			}
			if !known || p == nil {
				continue
			}
			c := r.newComparison(f.RelFork, false, work)
			c.memory, c.redo = true, reached
			if err := c.block(b, p); err != nil {
				return err
			}
			c.part = forkTally{} // it was counted on disk
			s.tally.merge(c)
		}
	}
	return nil
}

// notCaught counts the blocks of a moving side that could not be compared.
func (r *run) notCaught() (n int64) {
	for _, k := range r.out.Coverage.BlocksNotCaught {
		n += k
	}
	return n
}

// movingReasons says which blocks of a moving side could not be compared.
func (r *run) movingReasons(add func(string, ...any)) {
	if r.moving == nil {
		return
	}
	c := r.out.Coverage.BlocksNotCaught
	why := map[string]string{
		"too_new": fmt.Sprintf("are newer than the WAL at hand, which ends at %s", r.moving.end),
		"too_hot": "changed faster than they could be read whole",
		"no_redo": "were changed by records whose redo is not known, or failed",
		"copied":  "belong to databases that were created by file copy while the server was read",
	}
	for _, k := range []string{"too_new", "too_hot", "no_redo", "copied"} {
		if n := c[k]; n > 0 {
			add("%d blocks %s", n, why[k])
		}
	}
	for _, what := range r.moving.early {
		add("%s %s", what, why["too_new"])
	}
}

var uncaughtNames = map[outcome]string{unaccounted: "too_hot", tooNew: "too_new", noRedo: "no_redo", byCopy: "copied"}
