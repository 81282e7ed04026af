package verify

import (
	"context"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// Timed is an official side that knows the past of its pages.
type Timed interface {
	// FetchAt is a block as it was at an LSN, nil if there was none.
	FetchAt(ctx context.Context, lsn pg.LSN, b pg.Block) ([]byte, error)
}

// Bounds on the questions about the past: blocks of a verification, and how
// many records of a block are looked at one by one.
const (
	maxTraced = 100
	maxLinear = 16
)

// divergence is where the official history of a block parts from the replayed one.
type divergence struct {
	lsn    pg.LSN // of the record, 0: not known
	why    string // why it is not known, or what it was found by
	before bool   // the two differed at the span's start
}

// traces asks the official side for the pages that differ as they were after
// each of their records, and says of each block which record is the first after
// which they differ.
func (r *run) traces(ctx context.Context, mm []mismatch, ev *evidence) error {
	t, ok := r.Official.(Timed)
	if !ok || !ev.known {
		return nil
	}
	ev.parted = make(map[pg.Block]divergence)
	for _, m := range mm {
		if r.traced >= maxTraced {
			return nil
		}
		h := ev.history[m.Block]
		if h == nil || h.cut || len(h.touches) == 0 || len(h.hashes) != len(h.touches) {
			continue
		}
		r.traced++
		d, err := r.trace(ctx, t, m.Block, h, ev.base[m.Block])
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			d = divergence{why: fmt.Sprintf("the pageserver could not be asked for the page's past: %v", err)}
		}
		ev.parted[m.Block] = d
	}
	return nil
}

// trace looks for the first record after which the histories of one block
// differ: one by one where there are few, else by bisecting, which finds a
// record before which they were equal and since which, as far as was asked,
// they differ.
func (r *run) trace(ctx context.Context, t Timed, b pg.Block, h *blockHistory, base []byte) (divergence, error) {
	asked := 0
	differs := func(i int) (bool, error) { // i: after that record; -1: at the span's start
		lsn, want := r.out.Span.From, uint64(0)
		if i >= 0 {
			lsn, want = h.touches[i].End, h.hashes[i]
		} else if base != nil {
			want = r.hashOf(b, base)
		}
		asked++
		p, err := t.FetchAt(ctx, lsn, b)
		if err != nil {
			return false, err
		}
		got := uint64(0)
		if p != nil {
			got = r.hashOf(b, p)
		}
		return got != want, nil
	}
	last := len(h.touches) - 1
	if bad, err := differs(last); err != nil || !bad {
		return divergence{why: "the two pages differ only in what no record accounts for"}, err
	}
	if bad, err := differs(-1); err != nil || bad {
		return divergence{before: true, why: fmt.Sprintf("the official page differed from the base's at the span's start %s already", r.out.Span.From)}, err
	}
	good, bad := -1, last
	for bad-good > 1 {
		mid := good + (bad-good)/2
		if last < maxLinear {
			mid = good + 1
		}
		d, err := differs(mid)
		if err != nil {
			return divergence{}, err
		}
		if d {
			bad = mid
		} else {
			good = mid
		}
		if d && last < maxLinear {
			break
		}
	}
	return divergence{lsn: h.touches[bad].LSN, why: fmt.Sprintf("Asked for the page at %d LSNs, the official side has what the WAL says up to %s and something else after the record at %s.",
		asked, max(r.out.Span.From, endBefore(h, bad)), h.touches[bad].LSN)}, nil
}

// endBefore is the end of the record before the i-th, 0 for the first.
func endBefore(h *blockHistory, i int) pg.LSN {
	if i == 0 {
		return 0
	}
	return h.touches[i-1].End
}

func (r *run) hashOf(b pg.Block, p []byte) uint64 {
	var buf [pg.BlockSize]byte
	return normalHash(r.lastingly(b, p), b.Fork, b.Number, buf[:])
}

// addDivergence adds what was found to a discrepancy.
func (ev *evidence) addDivergence(b pg.Block, d *finding.Discrepancy) {
	p, ok := ev.parted[b]
	switch {
	case !ok || d.Severity == finding.Benign:
	case p.lsn != 0:
		d.FirstDivergentLSN, d.FirstDivergentReason = &p.lsn, ""
		d.Explanation = joinSentences(d.Explanation, p.why)
	case p.before:
		d.FirstDivergentReason = p.why
	}
}
