package verify

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

// File compares SLRU pages as they pass and keeps pg_control.
func (s *officialSide) File(path string, content []byte) error {
	switch c := datadir.Classify(path); c.Class {
	case datadir.ControlFile:
		ctl, err := datadir.ParseControl(content)
		if err != nil {
			return err
		}
		s.control = &ctl
	case datadir.SLRUSegment:
		return s.slruSegment(c, content)
	}
	return nil
}

// slruSegment keeps the pages that are not what replay will say or the base
// said; nothing is replayed over them later unless the official side's own WAL
// touches them.
func (s *officialSide) slruSegment(c datadir.PathInfo, content []byte) error {
	buf := make([]byte, pg.BlockSize)
	for i := 0; i+pg.BlockSize <= len(content); i += pg.BlockSize {
		p := pg.SLRUPage{SLRU: c.SLRU, Page: c.First + uint32(i/pg.BlockSize)}
		s.seenSLRU[p] = true
		if s.b.TouchedSLRU(p) || s.ra.SLRUTruncated(p) {
			continue
		}
		official := content[i : i+pg.BlockSize]
		replayed, touched, err := s.replayedSLRU(p, buf)
		if err != nil {
			return err
		}
		h, inBase := s.baseSLRU(p)
		if touched && bytes.Equal(official, replayed) || !touched && inBase && h == xxhash.Sum64(official) {
			s.out.Coverage.SLRUPagesCompared++
			continue
		}
		s.slrus[p] = bytes.Clone(official)
	}
	return nil
}

// baseSLRU is the hash of the base's page, if the base's pages still count.
func (r *run) baseSLRU(p pg.SLRUPage) (uint64, bool) {
	h, ok := r.index.slrus[p]
	return h, ok && !r.byServer() && !r.ra.SLRURemoved(p.SLRU)
}

// slruPair is one SLRU page to be compared in full.
type slruPair struct {
	page                     pg.SLRUPage
	official, replayed, base []byte
	touched                  bool // redo wrote it
}

// slrus compares what the walk could not.
func (r *run) slrus(ctx context.Context, s *officialSide) error {
	pairs, err := r.slruPairs(s)
	if err != nil {
		return err
	}
	if err := r.slruBases(ctx, pairs); err != nil {
		return err
	}
	named, err := r.namedMultis(ctx, pairs)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		r.out.Coverage.SLRUPagesCompared++
		in := compare.SLRUInput{Page: p.page, Official: p.official, Replayed: p.replayed, Base: p.base, Touched: p.touched, Named: named}
		if !r.official.Online {
			in.NextMulti, in.NextOffset = s.control.CheckPoint.NextMulti, s.control.CheckPoint.NextMultiOffset
		}
		res := compare.SLRUPages(in)
		if res.Equal {
			continue
		}
		r.addSLRU(p.page, res)
	}
	return nil
}

// addSLRU notes an SLRU page that is not what it should be.
func (r *run) addSLRU(p pg.SLRUPage, res compare.Result) {
	n := int64(p.Page)
	r.add(finding.Discrepancy{
		Block: &n, File: datadir.SLRUPath(p), Offset: n % pg.SLRUPagesPerSegment * pg.BlockSize,
		Kind: res.Kind, Severity: res.Severity, Blame: res.Blame, Explanation: res.Explanation, ByteRanges: res.Ranges,
	})
}

// namedMultis says which multixacts of offsets pages that differ a record of
// the span named: the others belong to creators that a crash ended. It reads
// WAL only if such a page differs.
func (r *run) namedMultis(ctx context.Context, pairs []*slruPair) (func(pg.MultiXactID) bool, error) {
	const perPage = pg.BlockSize / 4 // MULTIXACT_OFFSETS_PER_PAGE
	pages := make(map[uint32]bool)
	for _, p := range pairs {
		if p.page.SLRU == pg.MultiXactOffsetSLRU && !bytes.Equal(p.official, p.replayed) {
			pages[p.page.Page] = true
		}
	}
	if len(pages) == 0 || len(pages) > 1000 {
		return nil, nil
	}
	named, err := native.NamedMultis(ctx, r.WAL, r.out.Span, func(m pg.MultiXactID) bool { return pages[uint32(m)/perPage] })
	if err != nil {
		return nil, r.walError("look for the multixacts that the WAL names", err)
	}
	return func(m pg.MultiXactID) bool { return named[m] }, nil
}

// slruPairs lists, sorted, the pages not yet compared, the replayed side only
// where redo wrote it.
func (r *run) slruPairs(s *officialSide) ([]*slruPair, error) {
	pages := make(map[pg.SLRUPage]bool)
	for p := range s.slrus {
		pages[p] = true
	}
	for slru := range pg.SLRU(pg.NumSLRUs) {
		if o, ok := r.Official.(Sparse); ok && !o.Keeps(slru) {
			continue
		}
		for _, n := range slices.Concat(r.replayedSLRUs(slru), r.rb.SLRUPages(slru)) {
			p := pg.SLRUPage{SLRU: slru, Page: n}
			if !s.seenSLRU[p] || s.b.TouchedSLRU(p) {
				pages[p] = true
			}
		}
	}
	for p := range r.index.slrus {
		if o, ok := r.Official.(Sparse); ok && !o.Keeps(p.SLRU) {
			continue
		}
		if _, counts := r.baseSLRU(p); counts && !s.seenSLRU[p] {
			pages[p] = true
		}
	}
	var out []*slruPair
	for p := range pages {
		if r.ra.SLRUTruncated(p) {
			continue
		}
		pair := &slruPair{page: p, official: s.slrus[p]}
		if b, _, ok, err := r.rb.SLRUPage(p, make([]byte, pg.BlockSize)); err != nil {
			return nil, err
		} else if ok {
			pair.official = b
		}
		if b, ok, err := r.replayedSLRU(p, make([]byte, pg.BlockSize)); err != nil {
			return nil, err
		} else if ok {
			pair.replayed, pair.touched = b, true
		}
		out = append(out, pair)
	}
	slices.SortFunc(out, func(a, b *slruPair) int {
		return int(min(max(int64(a.page.SLRU)<<32+int64(a.page.Page)-int64(b.page.SLRU)<<32-int64(b.page.Page), -1), 1))
	})
	return out, nil
}

// slruBases reads the base's pages again. It happens only where something differs.
func (r *run) slruBases(ctx context.Context, pairs []*slruPair) error {
	want := make(map[pg.SLRUPage]*slruPair)
	for _, p := range pairs {
		if _, counts := r.baseSLRU(p.page); counts {
			want[p.page] = p
		}
	}
	if len(want) == 0 {
		return nil
	}
	if err := r.Base.Walk(ctx, slruReader(want)); err != nil {
		return fmt.Errorf("read SLRU pages of the base again: %w", err)
	}
	return nil
}

// slruReader is a visitor that fills pairs from SLRU segments.
type slruReader map[pg.SLRUPage]*slruPair

func (slruReader) Blocks(datadir.RelFile, pg.BlockNumber, []byte) error { return nil }
func (slruReader) EndRelation(datadir.RelFile, int64) error             { return nil }

func (s slruReader) File(path string, content []byte) error {
	c := datadir.Classify(path)
	if c.Class != datadir.SLRUSegment {
		return nil
	}
	for i := 0; i+pg.BlockSize <= len(content); i += pg.BlockSize {
		if pair := s[pg.SLRUPage{SLRU: c.SLRU, Page: c.First + uint32(i/pg.BlockSize)}]; pair != nil {
			pair.base = bytes.Clone(content[i : i+pg.BlockSize])
			if !pair.touched {
				pair.replayed = pair.base
			}
		}
	}
	return nil
}
