package reports

import (
	"cmp"
	"io"
	"slices"
	"time"

	"redoubt/internal/finding"
)

// PlanText writes a plan for a terminal. Command is what to type to do it; with
// All spans that are deferred are listed, too.
func PlanText(w io.Writer, plan finding.Plan, opt TextOptions) error {
	p := printer{opt: opt}
	p.planHead(&plan)
	p.planNotes(&plan)
	p.planTimelines(&plan)
	p.planSpans(&plan)
	if opt.Command != "" {
		p.line("")
		p.line("do it with: %s", opt.Command)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (p *printer) planHead(plan *finding.Plan) {
	spans, deferred := int64(0), int64(0)
	for i := range plan.Timelines {
		for _, s := range plan.Timelines[i].Spans {
			if s.Deferred == "" {
				spans++
			} else {
				deferred++
			}
		}
	}
	if plan.Resumes != "" {
		p.line("%s", p.paint("What is left of run "+plain(plan.Resumes)+", which is not finished.", "bold"))
	}
	p.line("%s", p.paint(count(int64(len(plan.Timelines)), "timeline")+", "+count(spans, "span")+", "+sizeOf(plan.WALBytes)+" of WAL.", "bold"))
	if deferred > 0 {
		p.line("%s more %s no room in the job's limit of WAL and %s until another run.", count(deferred, "span"), agree(deferred, "has", "have"), agree(deferred, "waits", "wait"))
	}
	if e := plan.Expected; e != nil {
		p.line("Expected, by %s verified before: %s, and %s of scratch space.", count(int64(plan.LearnedSpans), "span"), seconds(e.WallSeconds), sizeOf(e.ScratchBytes))
	} else if spans > 0 {
		p.line("How long it will take is not known: no span was verified yet.")
	}
}

func (p *printer) planNotes(plan *finding.Plan) {
	var all []notes
	whole := notes{}
	for _, r := range plan.Reasons {
		whole.add("Sources", plain(r))
	}
	if len(whole.Items) > 0 {
		all = append(all, whole)
	}
	for i := range plan.Timelines {
		t := &plan.Timelines[i]
		n := notes{Where: planName(t)}
		for _, r := range t.Reasons {
			n.add("Plan", plain(r))
		}
		if len(n.Items) > 0 {
			all = append(all, n)
		}
	}
	p.notes(all, "", false)
}

func planName(t *finding.PlanTimeline) string {
	return timelineName(&finding.RunTimeline{Tenant: t.Tenant, Timeline: t.Timeline})
}

func (p *printer) planTimelines(plan *finding.Plan) {
	if len(plan.Timelines) == 0 {
		return
	}
	p.heading("Timelines")
	t := newTable("TIMELINE", "SOURCE", "VERIFIED WHOLE", ">RUNS WAITED", ">PICKED IN VAIN", ">SPANS", ">WAL")
	for i := range plan.Timelines {
		l := &plan.Timelines[i]
		spans, bytes := int64(0), int64(0)
		for _, s := range l.Spans {
			if s.Deferred == "" {
				spans++
				bytes += s.WALBytes
			}
		}
		state := "clean"
		if l.PutOff || spans == 0 {
			state = "inconclusive"
		}
		t.add(state, planName(l), plain(l.Source), when(l.LastVerifiedAt), number(int64(l.RunsWaited)), number(int64(l.PicksInVain)), number(spans), sizeOf(bytes))
	}
	t.print(p)
}

// when is a day and time, or never.
func when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return clock(*t)
}

func (p *printer) planSpans(plan *finding.Plan) {
	type row struct {
		finding.PlanSpan
		timeline string
	}
	var rows []row
	for i := range plan.Timelines {
		for _, s := range plan.Timelines[i].Spans {
			if s.Deferred == "" || p.opt.All {
				rows = append(rows, row{s, planName(&plan.Timelines[i])})
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Order, b.Order) })
	p.heading("Spans, in their order")
	t := newTable("TIMELINE", "SPAN", "BASE", "OFFICIAL", ">WAL", "TRIED BEFORE", ">EXPECTED")
	for _, r := range rows {
		state, expect := "clean", "unknown"
		if r.Expected != nil {
			expect = seconds(r.Expected.WallSeconds)
		}
		if r.Deferred != "" {
			state, expect = "inconclusive", "deferred"
		}
		t.add(state, r.timeline, r.Span.String(), plain(r.Base), plain(r.Official), sizeOf(r.WALBytes), tried(&r.PlanSpan), expect)
	}
	t.print(p)
}

func tried(s *finding.PlanSpan) string {
	switch {
	case s.Attempts == 0:
		return "never"
	case s.Verified:
		return "verified, last " + when(s.LastAttemptAt)
	}
	return count(int64(s.Attempts), "time") + " in vain, last " + when(s.LastAttemptAt)
}
