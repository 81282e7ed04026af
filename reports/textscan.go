package reports

import (
	"io"

	"redoubt/internal/finding"
)

// ScanText writes a scan for a terminal.
func ScanText(w io.Writer, s finding.Scan, opt TextOptions) error {
	p := printer{opt: opt}
	verdict, head := scanVerdict(&s)
	p.verdict(verdictWord(verdict), spanClass(verdict), head)
	p.line("%s listed in %s.", count(s.Timing.ObjectsListed, "object"), seconds(s.Timing.WallSeconds))
	p.scanNotes(&s)
	p.scanTable(&s)
	var v view
	for i := range s.Timelines {
		t := &s.Timelines[i]
		v.addScan(timelineName(&finding.RunTimeline{Tenant: t.Tenant, Timeline: t.Timeline}), t)
	}
	p.archive(&v)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// scanVerdict is the scan's verdict, never better than what it holds, and the
// sentence that says it.
func scanVerdict(s *finding.Scan) (finding.Verdict, string) {
	var t totals
	for i := range s.Timelines {
		t.addScan(&s.Timelines[i])
	}
	holds := finding.Clean
	switch {
	case t.findings() > 0:
		holds = finding.Findings
	case t.scanned == 0 || t.scanReasons > 0 || len(s.Reasons) > 0:
		holds = finding.Inconclusive
	}
	verdict := s.Verdict
	if rank(holds) > rank(verdict) {
		verdict = holds
	}
	switch verdict {
	case finding.Clean:
		if t.late > 0 {
			return verdict, "nothing is missing or damaged, but " + count(t.late, "WAL segment") + " " + agree(t.late, "is", "are") + " still on the way: scan again."
		}
		if t.acknowledged > 0 {
			return verdict, "nothing is missing or damaged but " + count(t.acknowledged, "acknowledged WAL segment") + "."
		}
		return verdict, "all " + count(t.expected, "expected WAL segment") + " " + agree(t.expected, "is", "are") + " there."
	case finding.Findings, finding.Discrepancies:
		return verdict, findingsHeadline(&t)
	}
	if t.scanned == 0 {
		return verdict, "Inconclusive: no timeline was found."
	}
	return verdict, "Inconclusive: nothing wrong was found, but not everything asked for could be checked."
}

func (p *printer) scanNotes(s *finding.Scan) {
	var all []notes
	whole := notes{Where: "the whole scan"}
	for _, r := range s.Reasons {
		whole.add("Scan", plain(r))
	}
	if len(whole.Items) > 0 {
		all = append(all, whole)
	}
	for i := range s.Timelines {
		t := &s.Timelines[i]
		n := notes{Where: timelineName(&finding.RunTimeline{Tenant: t.Tenant, Timeline: t.Timeline})}
		for _, r := range t.Reasons {
			n.add("Archive", plain(r))
		}
		if len(n.Items) > 0 {
			all = append(all, n)
		}
	}
	p.notes(all, "", false)
}

func (p *printer) scanTable(s *finding.Scan) {
	if len(s.Timelines) == 0 {
		return
	}
	p.heading("Timelines")
	t := newTable("TIMELINE", ">TLI", "FROM", "TO", ">EXPECTED", ">PRESENT", ">MISSING", ">DAMAGED")
	for i := range s.Timelines {
		l := &s.Timelines[i]
		state := "clean"
		switch {
		case l.MissingSegments() > 0 || l.DamagedSegments() > 0 || l.CountingLostWrites() > 0:
			state = "bad"
		case len(l.Reasons) > 0:
			state = "inconclusive"
		}
		t.add(state, timelineName(&finding.RunTimeline{Tenant: l.Tenant, Timeline: l.Timeline}), number(int64(l.TLI)), l.From.String(), l.To.String(),
			number(l.Expected), number(l.Present), number(l.MissingSegments()), number(int64(len(l.Damaged))))
	}
	t.print(p)
}
