package reports

import (
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

func (v *view) addTimeline(t *finding.RunTimeline) {
	a := axisOf(t)
	tv := timelineView{
		Name: timelineName(t), From: a.From.String(), To: a.To.String(), HasAxis: a.Bytes() > 0,
		Pages: pageLane(a, t), Archive: archiveLane(a, t.Scan), Marks: partings(a, t), Scanned: t.Scan != nil,
	}
	verdict := timelineVerdict(t)
	tv.State, tv.Word = spanClass(verdict), verdictWord(verdict)
	tv.About = about(t, v.Single)
	for _, b := range append(append([]box{}, tv.Pages...), tv.Archive...) {
		tv.Alt += b.Title + ". "
	}
	v.Timelines = append(v.Timelines, tv)
	for i := range t.Spans {
		s := &t.Spans[i]
		v.Spans = append(v.Spans, spanViewOf(tv.Name, s))
		v.Coverage = append(v.Coverage, coverageRowOf(tv.Name, rangeOf(s.Span), &s.Coverage))
		v.addGaps(tv.Name, s.Gaps, "inside a span")
		v.addLostWrites(tv.Name, s.LostWrites)
	}
	if t.Scan != nil {
		v.addScan(tv.Name, t.Scan)
	}
}

func (v *view) addScan(timeline string, s *finding.ScanTimeline) {
	v.addGaps(timeline, s.Gaps, "archive scan")
	if n := s.MissingUnlisted; n > 0 {
		v.Gaps = append(v.Gaps, gapView{Timeline: timeline, Size: bytesOf(uint64(n) * uint64(s.SegmentSize)), Status: gapMissing,
			Segments: count(n, "segment") + " in further gaps", Source: "archive scan", Counts: true})
	}
	for _, d := range s.Damaged {
		v.Damaged = append(v.Damaged, damagedView{timeline, plain(d.Segment), plain(d.Reason), plain(d.ID), ackWords(d.Acknowledged)})
	}
	v.addLostWrites(timeline, s.LostWrites)
	for _, u := range s.Unexpected {
		v.Unexpected = append(v.Unexpected, damagedView{Timeline: timeline, Name: plain(u), Reason: "no part of the layout"})
	}
}

// addLostWrites lists lost writes; one that a scan and a span both found is
// listed once, with the name that the span knows.
func (v *view) addLostWrites(timeline string, lost []finding.StaleImage) {
	for i := range lost {
		l := &lost[i]
		place := fmt.Sprintf("%d/%d/%d %s block %d", l.Relation.Tablespace, l.Relation.Database, l.Relation.RelFileNode, l.Relation.Fork, l.Block)
		w := damagedView{timeline, joinNonEmpty(" ", plain(l.Relation.Name), place), fmt.Sprintf(
			"the image in the record at %s is of %s, the last record of the block, %s %s, left %s",
			l.At, l.ImageLSN, plain(l.LastRecord.Rmgr), plain(l.LastRecord.Op), l.ExpectedLSN), plain(l.ID), ackWords(l.Acknowledged)}
		if !slices.ContainsFunc(v.LostWrites, func(o damagedView) bool {
			return o.Timeline == w.Timeline && o.Reason == w.Reason && strings.HasSuffix(o.Name, place)
		}) {
			v.LostWrites = append(v.LostWrites, w)
		}
	}
}

// gapMissing is the status of a gap that has none, and of those not listed.
const gapMissing = "missing"

// addGaps lists gaps; one that a scan and a span both met is listed once.
func (v *view) addGaps(timeline string, gaps []finding.Gap, source string) {
	before := v.Gaps // those of one source are not the same: there may be 10,000
	for _, g := range gaps {
		status := plain(g.Status)
		if status == "" {
			status = gapMissing
		}
		r := pg.Range{From: g.From, To: g.To}
		if g.Severity != "" {
			status += ", " + plain(string(g.Severity))
		}
		gap := gapView{timeline, g.From.String(), g.To.String(), bytesOf(r.Bytes()), status, segmentsOf(g.Segments), source, plain(g.ID), ackWords(g.Acknowledged), g.Counts()}
		at := slices.IndexFunc(before, func(o gapView) bool {
			return o.Timeline == gap.Timeline && o.From == gap.From && o.To == gap.To && o.Segments == gap.Segments
		})
		if at < 0 {
			v.Gaps = append(v.Gaps, gap)
			continue
		}
		if !strings.Contains(v.Gaps[at].Source, source) {
			v.Gaps[at].Source += ", " + source
			v.Gaps[at].Status, v.Gaps[at].Counts = status, gap.Counts // the scan comes last and knows more
		}
	}
}

func timelineVerdict(t *finding.RunTimeline) finding.Verdict {
	r := finding.Run{Verdict: finding.Clean, Timelines: []finding.RunTimeline{*t}}
	sum := totalsOf(r)
	verdict, _ := verdictOf(r, &sum)
	return verdict
}

// about says which cluster a timeline is, as far as its spans and scan know.
func about(t *finding.RunTimeline, single bool) string {
	s := count(int64(len(t.Spans)), "span")
	for i := range t.Spans {
		if p := t.Spans[i].Postgres; p.Major != 0 {
			s += fmt.Sprintf(" · %s · system %s", server(p), plain(p.SystemIdentifier))
			break
		}
	}
	if sc := t.Scan; sc != nil {
		s += fmt.Sprintf(" · TLI %d · %s of %s in the archive", sc.TLI, number(sc.Present), count(sc.Expected, "segment"))
	} else if !single {
		s += " · archive not scanned"
	}
	return s
}

// server names the servers that wrote a span's WAL.
func server(p finding.Postgres) string {
	switch p.Dialect {
	case "neon":
		if !p.DialectProven {
			return fmt.Sprintf("Neon's PostgreSQL %d (unproven dialect)", p.Major)
		}
		return fmt.Sprintf("Neon's PostgreSQL %d", p.Major)
	case finding.UnknownDialect, finding.MixedDialect:
		return fmt.Sprintf("PostgreSQL %d (WAL of %s dialect)", p.Major, p.Dialect)
	}
	return fmt.Sprintf("PostgreSQL %d", p.Major)
}

func spanViewOf(timeline string, s *finding.Verification) spanView {
	v := spanVerdict(s)
	sv := spanView{
		Timeline: timeline, Span: rangeOf(s.Span), State: spanClass(v), Word: string(v),
		Engine: plain(s.Engine), Segments: number(s.WAL.Segments), WAL: sizeOf(s.WAL.Bytes),
		Records: number(s.WAL.Records), Images: number(s.WAL.FullPageImages), Time: seconds(s.Timing.WallSeconds),
		Compared:    number(s.Coverage.BlocksCompared),
		Differences: number(s.DiscrepancyCounts.Critical + s.DiscrepancyCounts.Warning),
	}
	if s.Timing.WALMBPerSecond > 0 {
		sv.Speed = fmt.Sprintf("%.0f MB/s", s.Timing.WALMBPerSecond)
	}
	return sv
}

func coverageRowOf(timeline, span string, c *finding.Coverage) coverageRow {
	return coverageRow{
		Timeline: timeline, Span: span,
		Relations: number(c.Relations), Replayed: number(c.BlocksReplayed),
		Compared: number(c.BlocksCompared), Untouched: number(c.BlocksUntouchedCompared),
		Tainted: number(c.BlocksTainted), TaintedBy: tally(c.TaintedBy),
		Overwritten: number(c.BlocksOverwrittenByWAL), Unverifiable: number(c.BlocksUnverifiable),
		LeftOut: number(c.BlocksSkipped), SLRU: number(c.SLRUPagesCompared), Skipped: tally(c.RelationsSkipped),
	}
}
