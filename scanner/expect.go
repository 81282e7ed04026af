package scanner

import (
	"slices"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// expectation is which segments should be there, and which are.
type expectation struct {
	newest   pg.TLI
	from, to pg.LSN // of the newest TLI's history
	expected map[pg.TLI]runs
}

// expect works out what the archive should hold. Every TLI that has segments
// counts: the WAL on the way to it along its history, from where it is needed
// on, and its own up to its newest segment. A TLI is expected up to before the
// segment in which the next one of a history begins, which holds a copy of
// what the old one wrote there. Where it is recorded that the archive had WAL
// beyond the newest segment of a TLI, or of a newer one, that is expected, too;
// what it had before the oldest segment may have been removed on purpose.
func expect(s *survey, opt *Options) *expectation {
	x := &expectation{expected: map[pg.TLI]runs{}}
	if opt.Said != nil {
		x.said(s, opt)
		return x
	}
	tlis := s.expectable(opt)
	if len(tlis) == 0 {
		return x
	}
	x.newest = tlis[len(tlis)-1]
	for _, tli := range tlis {
		h := s.history(tli)
		r := run{lowest(s, opt, tli, h), s.of(tli).end()}
		if rec, ok := s.recorded(opt, tli); ok {
			r.to = max(r.to, rec.to)
		}
		if opt.To != 0 {
			end := pg.SegmentOf(opt.To-1, s.size) + 1
			if tli == x.newest {
				r.to = end
			}
			r.to = min(r.to, end)
		}
		if tli == x.newest {
			x.from, x.to = r.from.Start(s.size), max(r.from, r.to).Start(s.size)
		}
		x.along(h, r, s.size)
	}
	for _, b := range opt.Backups {
		if b.Alone && b.Stop > b.Start {
			r := run{pg.SegmentOf(b.Start, s.size), pg.SegmentOf(b.Stop-1, s.size) + 1}
			x.along(s.history(b.TLI), r, s.size)
		}
	}
	return x
}

// said expects what servers say: whole segments between two LSNs, of TLI 1.
func (x *expectation) said(s *survey, opt *Options) {
	r := run{pg.SegmentOf(opt.Said.From, s.size), pg.SegmentOf(opt.Said.To, s.size)}
	if opt.From != 0 {
		r.from = max(r.from, pg.SegmentOf(opt.From, s.size))
	}
	if opt.To != 0 {
		r.to = min(r.to, pg.SegmentOf(opt.To-1, s.size)+1)
	}
	r.to = max(r.from, r.to)
	x.newest, x.from, x.to = 1, r.from.Start(s.size), r.to.Start(s.size)
	x.along(wal.NewHistory(1), r, s.size)
}

// along expects the segments of r, each of the TLI of the history that has it.
func (x *expectation) along(h wal.History, r run, size int64) {
	for i, e := range h {
		part := run{max(r.from, pg.SegmentOf(e.Range.From, size)), r.to}
		if i < len(h)-1 {
			part.to = min(part.to, pg.SegmentOf(e.Range.To, size))
		}
		set := x.expected[e.TLI]
		set.addRun(part)
		x.expected[e.TLI] = set
	}
}

// lowest is the first segment that is needed on the way to a TLI: that of
// From, that of the oldest retained backup on the way, or the first on the way
// that is there.
func lowest(s *survey, opt *Options, tli pg.TLI, h wal.History) pg.SegmentNo {
	if opt.From != 0 {
		return pg.SegmentOf(opt.From, s.size)
	}
	found, low := false, pg.SegmentNo(0)
	take := func(n pg.SegmentNo) {
		if !found || n < low {
			found, low = true, n
		}
	}
	for _, b := range opt.Backups {
		if !b.Alone && (h.TLIAt(b.Start) == b.TLI || b.TLI == tli) {
			take(pg.SegmentOf(b.Start, s.size))
		}
	}
	if found {
		return low
	}
	if rec, ok := s.recorded(opt, tli); ok && s.present[tli] == nil {
		take(rec.from)
	}
	for i, e := range h {
		p := s.present[e.TLI]
		if p == nil {
			continue
		}
		part := run{pg.SegmentOf(e.Range.From, s.size), p.end()}
		if i < len(h)-1 {
			part.to = min(part.to, pg.SegmentOf(e.Range.To, s.size))
		}
		if n, ok := p.within(part).first(); ok {
			take(n)
		}
	}
	return low
}

// expectable are the TLIs of which something is expected: those with segments,
// and newer ones of which it is recorded that they had some.
func (s *survey) expectable(opt *Options) []pg.TLI {
	tlis := s.tlis()
	if len(tlis) == 0 {
		return nil
	}
	newest := tlis[len(tlis)-1]
	for _, r := range opt.Recorded {
		if _, ok := s.recorded(opt, r.TLI); ok && r.TLI > newest {
			tlis = append(tlis, r.TLI)
		}
	}
	slices.Sort(tlis)
	return tlis
}

// recorded are the segments of a TLI that the archive had as is recorded.
func (s *survey) recorded(opt *Options, tli pg.TLI) (run, bool) {
	for _, r := range opt.Recorded {
		if r.TLI == tli && r.SegmentSize == s.size && r.From < r.To {
			return run{pg.SegmentOf(r.From, s.size), pg.SegmentOf(r.To-1, s.size) + 1}, true
		}
	}
	return run{}, false
}

// counts are the segments expected, and those of them that are there.
func (x *expectation) counts(s *survey) (expected, present int64) {
	for tli, set := range x.expected {
		expected += set.count()
		present += set.count() - set.minus(s.of(tli)).count()
	}
	return expected, present
}

func (s *survey) of(tli pg.TLI) runs {
	if p := s.present[tli]; p != nil {
		return *p
	}
	return nil
}

// gaps are the runs of expected segments that are not there, by TLI and
// number; unlisted counts the segments in those beyond maxGaps, or beyond
// maxNamed names. At most maxNames segments of each are named. None goes across
// the end of what is recorded: what lies below it was in the archive, or was
// said to be.
func (x *expectation) gaps(s *survey, opt *Options) (out []finding.Gap, unlisted int64) {
	out = []finding.Gap{}
	named := 0
	for _, tli := range sortedKeys(x.expected) {
		recorded, known := s.recorded(opt, tli)
		for _, r := range cutAt(x.expected[tli].minus(s.of(tli)), recorded.to) {
			if len(out) == maxGaps || named >= maxNamed {
				unlisted += r.len()
				continue
			}
			g := finding.Gap{From: r.from.Start(s.size), To: r.to.Start(s.size), Segments: []string{}, Status: "missing", Severity: finding.Critical}
			if known && r.from >= recorded.to {
				g.Severity = finding.Warning
			}
			for n := r.from; n < r.to && len(g.Segments) < maxNames; n++ {
				g.Segments = append(g.Segments, pg.SegmentName(tli, n, s.size))
			}
			out = append(out, g)
			named += len(g.Segments)
		}
	}
	return out, unlisted
}

// cutAt cuts the run that goes across a segment's beginning in two.
func cutAt(all runs, at pg.SegmentNo) (out runs) {
	for _, r := range all {
		if r.from < at && at < r.to {
			out = append(out, run{r.from, at})
			r.from = at
		}
		out = append(out, r)
	}
	return out
}
