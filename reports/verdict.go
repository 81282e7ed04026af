package reports

import (
	"strings"

	"redoubt/internal/finding"
)

// totals is what a run's parts add up to.
type totals struct {
	pages, relations, slru, redo int64 // discrepancies listed that count, by what they are about
	unlisted                     int64 // discrepancies that count and were cut off the list
	missing, damaged             int64 // WAL segments that count
	late                         int64 // WAL segments that are not there yet
	lostWrites                   int64 // of the primary, by the images in the WAL, that count
	acknowledged                 int64 // findings that would count were they not acknowledged
	benign                       int64

	timelines, scanned              int64
	spans, clean, bad, inconclusive int64
	expected, present               int64 // WAL segments
	walBytes, walRecords            int64
	segments, images                int64 // WAL replayed: segments; full-page images
	imagesChecked, imageMismatches  int64
	coverage                        finding.Coverage
	unverifiable                    int64 // blocks that were neither compared nor skipped by rule
	scanReasons                     int64
	partial                         int64 // timelines of which something asked for could not be checked
}

func totalsOf(r finding.Run) totals {
	t := totals{timelines: int64(len(r.Timelines))}
	t.coverage.TaintedBy = map[string]int64{}
	t.coverage.RelationsSkipped = map[string]int64{}
	for i := range r.Timelines {
		tl := &r.Timelines[i]
		if len(tl.Spans) == 0 || len(tl.Reasons) > 0 || tl.Scan != nil && len(tl.Scan.Reasons) > 0 {
			t.partial++
		}
		for j := range tl.Spans {
			t.addSpan(&tl.Spans[j])
		}
		if tl.Scan != nil {
			t.addScan(tl.Scan)
		}
		counting, known := tl.LostWrites()
		t.lostWrites += counting
		t.acknowledged += known
	}
	c := &t.coverage
	t.unverifiable = c.BlocksTainted + c.BlocksOverwrittenByWAL + c.BlocksUnverifiable
	return t
}

func (t *totals) addScan(s *finding.ScanTimeline) {
	t.scanned++
	t.expected += s.Expected
	t.present += s.Present
	t.missing += s.MissingSegments()
	t.late += s.LateSegments()
	t.damaged += s.DamagedSegments()
	t.acknowledged += s.Acknowledged()
	t.scanReasons += int64(len(s.Reasons))
}

func (t *totals) addSpan(v *finding.Verification) {
	t.spans++
	switch spanVerdict(v) {
	case finding.Clean:
		t.clean++
	case finding.Discrepancies:
		t.bad++
	default:
		t.inconclusive++
	}
	t.walBytes += v.WAL.Bytes
	t.walRecords += v.WAL.Records
	t.segments += v.WAL.Segments
	t.images += v.WAL.FullPageImages
	t.imagesChecked += v.Consistency.ImagesChecked
	t.imageMismatches += v.Consistency.Mismatches
	t.benign += v.DiscrepancyCounts.Benign
	listed := int64(0)
	for i := range v.Discrepancies {
		if v.Discrepancies[i].Severity != finding.Benign {
			listed++
			if v.Discrepancies[i].Acknowledged == nil {
				*t.class(&v.Discrepancies[i])++
			}
		}
	}
	t.acknowledged += v.Acknowledged()
	t.unlisted += max(0, v.DiscrepancyCounts.Critical+v.DiscrepancyCounts.Warning-listed)
	addCoverage(&t.coverage, v.Coverage)
}

// class finds the counter a discrepancy belongs to.
func (t *totals) class(d *finding.Discrepancy) *int64 {
	switch d.Kind {
	case finding.MissingRelation, finding.ExtraRelation, finding.SizeMismatch:
		return &t.relations
	case finding.SLRUMismatch:
		return &t.slru
	case finding.WrongRedo:
		return &t.redo
	}
	return &t.pages
}

func addCoverage(sum *finding.Coverage, c finding.Coverage) {
	sum.Relations += c.Relations
	sum.BlocksReplayed += c.BlocksReplayed
	sum.BlocksCompared += c.BlocksCompared
	sum.BlocksUntouchedCompared += c.BlocksUntouchedCompared
	sum.BlocksTainted += c.BlocksTainted
	sum.BlocksOverwrittenByWAL += c.BlocksOverwrittenByWAL
	sum.BlocksUnverifiable += c.BlocksUnverifiable
	sum.BlocksSkipped += c.BlocksSkipped
	sum.SLRUPagesCompared += c.SLRUPagesCompared
	for k, n := range c.BlocksNotCaught {
		if sum.BlocksNotCaught == nil {
			sum.BlocksNotCaught = make(map[string]int64)
		}
		sum.BlocksNotCaught[k] += n
	}
	for k, n := range c.TaintedBy {
		sum.TaintedBy[k] += n
	}
	for k, n := range c.RelationsSkipped {
		sum.RelationsSkipped[k] += n
	}
}

// discrepancies is how many differences count.
func (t *totals) discrepancies() int64 {
	return t.pages + t.relations + t.slru + t.redo + t.unlisted
}

func (t *totals) findings() int64 { return t.discrepancies() + t.missing + t.damaged + t.lostWrites }

// spanVerdict is the verdict of a span, never better than what the span itself holds.
func spanVerdict(v *finding.Verification) finding.Verdict {
	if v.Bad() || v.Verdict == finding.Discrepancies || v.Verdict == finding.Findings {
		return finding.Discrepancies
	}
	c := &v.Coverage
	if v.Verdict == finding.Clean && len(v.Gaps) == 0 && len(v.Reasons) == 0 && c.BlocksTainted == 0 && c.BlocksUnverifiable == 0 {
		return finding.Clean
	}
	return finding.Inconclusive
}

// verdictOf is the run's verdict, never better than what the run itself
// holds: a stored "clean" does not hide a finding, a span without a result or
// a run in which nothing was checked. said reports whether it is the stored one.
func verdictOf(r finding.Run, t *totals) (v finding.Verdict, said bool) {
	v = r.Verdict
	if v == finding.Discrepancies {
		v = finding.Findings
	}
	holds := finding.Clean
	switch {
	case t.findings() > 0 || t.bad > 0:
		holds = finding.Findings
	case t.inconclusive > 0 || t.partial > 0 || t.timelines == 0 || len(r.Reasons) > 0:
		holds = finding.Inconclusive
	}
	if rank(holds) > rank(v) {
		return holds, r.Verdict == "" // a run without a verdict yet contradicts nothing
	}
	return v, true
}

// rank orders the verdicts from good to bad.
func rank(v finding.Verdict) int {
	switch v {
	case finding.Clean:
		return 0
	case finding.Findings, finding.Discrepancies:
		return 2
	}
	return 1 // inconclusive, and whatever is no verdict
}

// headline says the verdict in plain words.
func headline(v finding.Verdict, t *totals) string {
	switch v {
	case finding.Clean:
		return cleanHeadline(t)
	case finding.Findings:
		return findingsHeadline(t)
	}
	return inconclusiveHeadline(t)
}

func cleanHeadline(t *totals) string {
	s := "Clean: everything that was compared is what the WAL says"
	if t.acknowledged > 0 {
		s += ", but for " + count(t.acknowledged, "acknowledged finding")
	} else if t.scanned > 0 && t.late == 0 {
		s += ", and no WAL segment is missing"
	}
	if t.late > 0 {
		s += "; " + count(t.late, "WAL segment") + " " + agree(t.late, "is", "are") + " still on the way to the archive"
	}
	return s + "."
}

func findingsHeadline(t *totals) string {
	var parts []string
	add := func(n int64, noun, what string) {
		if n > 0 {
			parts = append(parts, count(n, noun)+" "+what)
		}
	}
	if t.unlisted > 0 { // the list is cut, so its parts do not add up to the whole
		add(t.discrepancies(), "difference", "from what the WAL says")
	} else {
		add(t.pages, "page", agree(t.pages, "is", "are")+" not what the WAL says")
		add(t.relations, "relation", agree(t.relations, "differs", "differ")+" in size or existence")
		add(t.slru, "transaction log page", agree(t.slru, "is", "are")+" not what the WAL says")
		add(t.redo, "page", agree(t.redo, "differs", "differ")+" from the image its own WAL record carries")
	}
	add(t.missing, "WAL segment", agree(t.missing, "is", "are")+" missing")
	add(t.damaged, "WAL segment", agree(t.damaged, "is", "are")+" damaged")
	add(t.lostWrites, "write", agree(t.lostWrites, "was", "were")+" lost by the primary's disk, by the images in the WAL")
	if len(parts) == 0 && t.acknowledged > 0 {
		return "Findings, all acknowledged since: " + count(t.acknowledged, "finding") + "."
	}
	if len(parts) == 0 {
		return "Findings were recorded; their details are not in this report."
	}
	if t.acknowledged > 0 {
		parts = append(parts, number(t.acknowledged)+" more "+agree(t.acknowledged, "is", "are")+" acknowledged")
	}
	return count(t.findings(), "finding") + ": " + strings.Join(parts, "; ") + "."
}

func inconclusiveHeadline(t *totals) string {
	switch {
	case t.spans == 0 && t.scanned == 0:
		return "Inconclusive: nothing was checked."
	case t.spans == 0:
		return "Inconclusive: no pages were compared."
	case t.inconclusive > 0 && t.spans == 1:
		return "Inconclusive: nothing wrong was found, but the span could not be verified."
	case t.inconclusive == t.spans:
		return "Inconclusive: none of the " + count(t.spans, "span") + " could be verified."
	case t.inconclusive > 0:
		return "Inconclusive: nothing wrong was found, but " + number(t.inconclusive) + " of " + count(t.spans, "span") + " could not be verified."
	}
	return "Inconclusive: nothing wrong was found, but not everything asked for could be checked."
}
