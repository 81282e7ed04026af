package reports

import (
	"cmp"
	"slices"
	"strconv"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// axis maps LSNs to per cent of a drawing's width.
type axis struct{ pg.Range }

// axisOf spans everything that is known of a timeline: what its archive
// should hold and what was verified. It is empty where nothing is known.
func axisOf(t *finding.RunTimeline) axis {
	var r pg.Range
	widen := func(from, to pg.LSN) {
		if to <= from {
			return
		}
		if r.To == 0 || from < r.From {
			r.From = from
		}
		r.To = max(r.To, to)
	}
	for i := range t.Spans {
		widen(t.Spans[i].Span.From, t.Spans[i].Span.To)
	}
	if t.Scan != nil {
		widen(t.Scan.From, t.Scan.To)
	}
	return axis{r}
}

// at is the position of an LSN, kept within the axis.
func (a axis) at(l pg.LSN) float64 {
	if a.Bytes() == 0 {
		return 0
	}
	l = max(a.From, min(l, a.To))
	return float64(l-a.From) / float64(a.Bytes()) * 100
}

// box is a range on the axis.
type box struct {
	X, W  string // per cent
	Class string // clean, bad, inconclusive, none; ok, gap, late, damaged
	Label string // short text, drawn where it fits
	Title string // for those who do not see the drawing
	Glyph bool   // wide enough for a sign
	Room  bool   // wide enough for the label
}

func (a axis) box(r pg.Range, class, label string) box {
	x, end := a.at(r.From), a.at(r.To)
	return box{
		X: percent(x), W: percent(max(end-x, 0.25)), Class: class, Label: label, Title: rangeOf(r) + ": " + label,
		Glyph: end-x >= 2.2, Room: end-x >= 11,
	}
}

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) + "%" }

// uncovered lists the parts of the axis that no span covers, in order.
func uncovered(t *finding.RunTimeline) []pg.Range {
	a := axisOf(t)
	spans := make([]pg.Range, 0, len(t.Spans))
	for i := range t.Spans {
		spans = append(spans, t.Spans[i].Span)
	}
	slices.SortFunc(spans, func(x, y pg.Range) int { return cmp.Compare(x.From, y.From) })
	var out []pg.Range
	at := a.From
	for _, s := range spans {
		if s.To <= s.From {
			continue
		}
		if s.From > at {
			out = append(out, pg.Range{From: at, To: s.From})
		}
		at = max(at, s.To)
	}
	if at < a.To {
		out = append(out, pg.Range{From: at, To: a.To})
	}
	return out
}

// pageLane draws what was compared.
func pageLane(a axis, t *finding.RunTimeline) []box {
	var boxes []box
	for _, r := range uncovered(t) {
		boxes = append(boxes, a.box(r, "none", "not covered"))
	}
	// The bad ones last, so that nothing is drawn over them.
	for _, want := range []finding.Verdict{finding.Clean, finding.Inconclusive, finding.Discrepancies} {
		for i := range t.Spans {
			v := &t.Spans[i]
			if spanVerdict(v) == want && v.Span.Bytes() > 0 {
				boxes = append(boxes, a.box(v.Span, spanClass(want), spanLabel(v)))
			}
		}
	}
	return boxes
}

func spanClass(v finding.Verdict) string {
	switch v {
	case finding.Clean:
		return "clean"
	case finding.Discrepancies, finding.Findings:
		return "bad"
	}
	return "inconclusive"
}

func spanLabel(v *finding.Verification) string {
	switch spanVerdict(v) {
	case finding.Clean:
		return "clean"
	case finding.Discrepancies:
		if n := v.DiscrepancyCounts.Critical + v.DiscrepancyCounts.Warning; n > 0 {
			return count(n, "difference")
		}
		return "differs"
	}
	return "inconclusive"
}

// archiveLane draws what the bucket holds: everything expected, then the
// gaps, then the damaged segments over it.
func archiveLane(a axis, s *finding.ScanTimeline) []box {
	if s == nil {
		return nil
	}
	boxes := []box{a.box(pg.Range{From: s.From, To: s.To}, "ok", "in the archive")}
	for _, g := range s.Gaps {
		class, label := "gap", "missing"
		if !g.Counts() {
			class, label = "late", plain(g.Status)
		}
		boxes = append(boxes, a.box(pg.Range{From: g.From, To: g.To}, class, label))
	}
	for _, d := range s.Damaged {
		if r, ok := segmentRange(d.Segment, s.SegmentSize); ok {
			class, label := "damaged", "damaged"
			if d.Acknowledged != nil {
				class, label = "late", "damaged, acknowledged"
			}
			boxes = append(boxes, a.box(r, class, label))
		}
	}
	return boxes
}

func segmentRange(name string, size int64) (pg.Range, bool) {
	_, no, err := pg.ParseSegmentName(name, size)
	if err != nil {
		return pg.Range{}, false
	}
	return pg.Range{From: no.Start(size), To: no.Start(size) + pg.LSN(size)}, true
}

// partings are the LSNs at which official and replayed history part.
func partings(a axis, t *finding.RunTimeline) []box {
	const most = 200
	var marks []box
	for i := range t.Spans {
		for j := range t.Spans[i].Discrepancies {
			d := &t.Spans[i].Discrepancies[j]
			if d.Severity == finding.Benign || d.FirstDivergentLSN == nil || len(marks) == most {
				continue
			}
			l := *d.FirstDivergentLSN
			if l < a.From || l > a.To {
				continue
			}
			marks = append(marks, box{X: percent(a.at(l)), Title: "histories part at " + l.String()})
		}
	}
	return marks
}
