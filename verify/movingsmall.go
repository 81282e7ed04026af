package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// movingMaps compares the relation maps, as they are now, with what the WAL
// made of them before and after they were read.
func (r *run) movingMaps(ctx context.Context) error {
	m := r.moving
	wait := m.waits()
	for round := 0; ; round++ {
		before := m.ahead
		keys := slices.Concat(before.RelMaps(), r.rb.RelMaps())
		slices.SortFunc(keys, func(a, b native.RelMapKey) int { return cmp.Or(cmp.Compare(a.Spc, b.Spc), cmp.Compare(a.DB, b.DB)) })
		official := make(map[native.RelMapKey][]byte)
		want := make(map[native.RelMapKey][]byte)
		keys = slices.Compact(keys)
		for _, k := range keys {
			b, err := m.ReadFile(ctx, r.relMapPath(k))
			if err != nil {
				return fmt.Errorf("read relation maps of the official side: %w", err)
			}
			official[k], want[k] = b, before.RelMap(k.Spc, k.DB)
		}
		written, err := m.Inserted(ctx)
		if err != nil {
			return fmt.Errorf("read relation maps of the official side: %w", err)
		}
		last := round >= m.opt.Rounds
		if err := r.advanceTo(ctx, written, last); err != nil {
			return err
		}
		wrong := keys[:0]
		for _, k := range keys {
			if r.leftovers[k.DB] != "" || sameMap(want[k], official[k]) || sameMap(m.ahead.RelMap(k.Spc, k.DB), official[k]) {
				continue
			}
			if dropped, err := m.Dropped(ctx, k.DB); err != nil {
				return err
			} else if official[k] != nil || !dropped {
				wrong = append(wrong, k)
			}
		}
		if len(wrong) == 0 {
			return nil
		}
		if last && m.end < written {
			m.early = append(m.early, fmt.Sprintf("%d relation maps", len(wrong)))
			return nil
		}
		if last {
			for _, k := range wrong {
				a := m.ahead.RelMap(k.Spc, k.DB)
				r.add(finding.Discrepancy{
					File: r.relMapPath(k), Kind: finding.Unexplained, Severity: finding.Critical, Blame: finding.BlameUnknown,
					Explanation: relMapDifference(a, official[k]), ByteRanges: page.Differences(a, official[k]),
				})
			}
			return nil
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}

func sameMap(a, b []byte) bool {
	if a == nil && b == nil {
		return true
	}
	return a != nil && b != nil && relMapDifference(a, b) == ""
}

// movingSLRUs compares the SLRU pages that were not what they were at the span's
// end. A page has no LSN: each of its entries must be what it was there, or what it is
// by the newest WAL; an entry changes once.
func (r *run) movingSLRUs(ctx context.Context, s *officialSide) error {
	pairs, err := r.slruPairs(s)
	if err != nil {
		return err
	}
	if err := r.slruBases(ctx, pairs); err != nil {
		return err
	}
	r.out.Coverage.SLRUPagesCompared += int64(len(pairs))
	m := r.moving
	wait := m.waits()
	for round := 0; len(pairs) > 0; round++ {
		written, err := m.Inserted(ctx)
		if err != nil {
			return fmt.Errorf("read SLRUs of the official side: %w", err)
		}
		last := round >= m.opt.Rounds
		if err := r.advanceTo(ctx, written, last); err != nil {
			return err
		}
		if pairs, err = r.judgeSLRUs(pairs, last, written); err != nil || len(pairs) == 0 {
			return err
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
		if err := r.readSLRUs(ctx, pairs); err != nil {
			return err
		}
	}
	return nil
}

// judgeSLRUs returns the pages that are to be looked at again; those that the
// server had written when its WAL was at written are findings at last, if that WAL is there.
func (r *run) judgeSLRUs(pairs []*slruPair, last bool, written pg.LSN) (left []*slruPair, err error) {
	m, early := r.moving, 0
	for _, p := range pairs {
		res, err := r.movingSLRU(p)
		switch {
		case err != nil:
			return nil, err
		case res.Equal:
		case last && m.end < written && res.Severity != finding.Benign:
			early++
		case last, res.Severity == finding.Benign:
			r.addSLRU(p.page, res)
		default:
			left = append(left, p)
		}
	}
	if early > 0 {
		r.out.Coverage.SLRUPagesCompared -= int64(early)
		m.early = append(m.early, fmt.Sprintf("%d SLRU pages", early))
	}
	return left, nil
}

// movingSLRU compares one page with its state at the span's end and now.
func (r *run) movingSLRU(p *slruPair) (compare.Result, error) {
	now, _, known, err := r.moving.ahead.SLRUPage(p.page, make([]byte, pg.BlockSize))
	if err != nil {
		return compare.Result{}, err
	}
	if r.moving.ahead.SLRUTruncated(p.page) || r.moving.ahead.SLRURemoved(p.page.SLRU) {
		return compare.Result{Equal: true}, nil
	}
	if !known {
		now = p.replayed
	}
	expected := now
	if len(p.official) == pg.BlockSize || now != nil {
		expected = compare.SLRUBetween(p.page.SLRU, p.official, p.replayed, now)
	}
	return compare.SLRUPages(compare.SLRUInput{Page: p.page, Official: p.official, Replayed: expected, Base: p.base, Touched: p.touched || known}), nil
}

// readSLRUs reads the pages again.
func (r *run) readSLRUs(ctx context.Context, pairs []*slruPair) error {
	files := make(map[string][]byte)
	for _, p := range pairs {
		path := datadir.SLRUPath(p.page)
		b, read := files[path]
		if !read {
			var err error
			if b, err = r.moving.ReadFile(ctx, path); err != nil {
				return fmt.Errorf("read SLRUs of the official side again: %w", err)
			}
			files[path] = b
		}
		at := int(p.page.Page%pg.SLRUPagesPerSegment) * pg.BlockSize
		p.official = nil
		if at+pg.BlockSize <= len(b) {
			p.official = b[at : at+pg.BlockSize]
		}
	}
	return nil
}
