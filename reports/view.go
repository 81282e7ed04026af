package reports

import (
	"fmt"

	"redoubt/internal/finding"
)

// view is what the page's template shows; all of it is text already.
type view struct {
	Title    string
	Single   bool
	State    string // clean, bad, inconclusive, unfinished: the page's color and sign
	Word     string // the verdict in one word
	Headline string
	Lead     string // what was compared, in a sentence
	Banner   string // a run that did not finish
	Conflict string // the stored verdict says more than the run holds
	Facts    []fact
	Figures  []figure
	Cover    []coverPart
	CoverAlt string
	Notes    []notes
	Skipped  string

	Timelines []timelineView
	Focus     []focus
	Rows      []row  // all that count
	Cards     []card // the first of them
	More      []row  // the others
	Benign    []row
	BenignN   string
	Cut       string // how many discrepancies are not listed

	Gaps        []gapView
	Damaged     []damagedView
	Unexpected  []damagedView
	LostWrites  []damagedView
	Coverage    []coverageRow
	CoverageSum coverageRow
	Spans       []spanView
	Seed        string
	Command     string
	Version     string
	HasScan     bool
	History     []summaryView
}

type figure struct{ Value, Label, Note string }

// coverPart is a part of the bar that says what the blocks of the cluster are.
type coverPart struct{ Class, Label, Value, X, W string }

type timelineView struct {
	Name     string
	State    string
	Word     string
	About    string
	From, To string
	Alt      string
	Pages    []box
	Archive  []box
	Marks    []box
	Scanned  bool
	HasAxis  bool
}

type spanView struct {
	Timeline, Span, State, Word                    string
	Engine, Postgres, Segments, WAL, Records, Time string
	Speed, Images, Compared, Differences           string
}

type gapView struct {
	Timeline, From, To, Size, Status, Segments, Source, ID, Ack string

	Counts bool
}

type damagedView struct{ Timeline, Name, Reason, ID, Ack string }

type coverageRow struct {
	Timeline, Span                                string
	Relations, Replayed, Compared, Untouched      string
	Tainted, TaintedBy, Overwritten, Unverifiable string
	LeftOut, SLRU, Skipped                        string
}

func viewOf(rep *Report) view {
	r := rep.Run
	t := totalsOf(r)
	verdict, said := verdictOf(r, &t)
	v := view{
		Single: rep.single, State: spanClass(verdict), Word: verdictWord(verdict),
		Headline: headline(verdict, &t), Lead: lead(&t),
		Notes: notesOf(rep), Figures: figures(rep, &t),
		Skipped: skipped(&t), Seed: fmt.Sprint(r.Seed), Command: plain(rep.Command), Version: plain(rep.Version),
		HasScan: t.scanned > 0, BenignN: number(t.benign),
	}
	v.Title = title(rep, &v)
	v.Facts = facts(rep)
	v.Cover, v.CoverAlt = coverBar(&t)
	if !said {
		v.Conflict = fmt.Sprintf("The stored verdict is %q, but what the run holds is worse; this page shows the worse of the two.", plain(string(r.Verdict)))
	}
	if r.FinishedAt == nil {
		unfinished(&v, rep, verdict, &t)
	}
	v.Rows, v.Benign = rowsOf(r)
	v.cutRows(&t)
	v.Cards, v.More = cardsOf(v.Rows)
	for i := range r.Timelines {
		v.addTimeline(&r.Timelines[i])
		if tv := &v.Timelines[i]; r.FinishedAt == nil && tv.State == "clean" {
			tv.State, tv.Word = "unfinished", "clean so far"
		}
	}
	v.CoverageSum = coverageRowOf("", "all spans", &t.coverage)
	v.Focus = focusOf(&v)
	v.History = historyOf(rep)
	return v
}

// unfinished makes sure that half a run does not look like a whole one.
func unfinished(v *view, rep *Report, verdict finding.Verdict, t *totals) {
	so := "So far nothing wrong was found; that says nothing about the rest."
	if verdict == finding.Findings {
		so = "So far: " + v.Headline
	}
	done := number(t.clean+t.bad) + " of " + count(t.spans, "span") + ", in " + count(t.timelines, "timeline")
	v.Headline = "This run did not finish."
	v.Banner = "This run did not finish. It was interrupted, or it failed; the next start resumes it. What follows is only what it had checked by then: " +
		done + "."
	if rep.Running {
		v.Headline = "This run is not finished yet."
		v.Banner = "This run is still running. What follows is only what it has checked so far: " + done + "."
	}
	v.Lead = so + " " + v.Lead
	v.Word = "not finished"
	if verdict != finding.Findings {
		v.State = "unfinished"
	}
}

func (v *view) cutRows(t *totals) {
	cut := t.unlisted
	if n := len(v.Rows); n > maxRows {
		cut += int64(n - maxRows)
		v.Rows = v.Rows[:maxRows]
	}
	if cut > 0 {
		v.Cut = count(cut, "more discrepancy") + " not listed here"
		if cut > 1 {
			v.Cut = number(cut) + " more discrepancies are counted and not listed here"
		}
	}
	if len(v.Benign) > maxRows {
		v.Benign = v.Benign[:maxRows]
	}
}

func verdictWord(v finding.Verdict) string {
	switch v {
	case finding.Clean:
		return "clean"
	case finding.Findings, finding.Discrepancies:
		return "findings"
	}
	return "inconclusive"
}

func title(rep *Report, v *view) string {
	if rep.single {
		return "Redoubt: verification, " + v.Word
	}
	return "Redoubt: run " + plain(rep.Run.ID) + ", " + v.Word
}

func facts(rep *Report) []fact {
	r := &rep.Run
	var f []fact
	if !rep.single {
		f = append(f, fact{"Job", plain(r.Job)}, fact{"Run", plain(r.ID)})
	}
	f = append(f, fact{"Started", clock(r.StartedAt)})
	switch {
	case r.FinishedAt != nil:
		f = append(f, fact{"Finished", clock(*r.FinishedAt)}, fact{"Took", seconds(r.FinishedAt.Sub(r.StartedAt).Seconds())})
	case rep.Running:
		f = append(f, fact{"Finished", "not yet"})
	default:
		f = append(f, fact{"Finished", "no"})
	}
	return f
}

// lead says in a sentence what was compared.
func lead(t *totals) string {
	c := &t.coverage
	s := fmt.Sprintf("%s of WAL in %s replayed; %s compared with what production stores, %s of them not touched by that WAL.",
		sizeOf(t.walBytes), count(t.spans, "span"), count(c.BlocksCompared, "block"), number(c.BlocksUntouchedCompared))
	if t.spans == 0 {
		s = "No WAL was replayed and no block was compared."
	}
	if t.unverifiable > 0 {
		s += " " + count(t.unverifiable, "block") + " could not be verified."
	}
	if c.BlocksSkipped > 0 {
		s += " " + count(c.BlocksSkipped, "block") + " were left out by choice."
	}
	return s
}

func figures(rep *Report, t *totals) []figure {
	c := &t.coverage
	f := []figure{
		{number(c.BlocksCompared), "blocks compared", number(c.BlocksUntouchedCompared) + " untouched by WAL"},
		{number(t.unverifiable), "blocks not verifiable", "tainted, overwritten, not comparable"},
		{sizeOf(t.walBytes), "WAL replayed", count(t.walRecords, "record")},
	}
	if !rep.single {
		f = append(f, figure{number(t.clean) + " / " + number(t.spans), "spans clean", count(t.timelines, "timeline")})
	}
	if t.scanned > 0 {
		f = append(f, figure{number(t.present) + " / " + number(t.expected), "WAL segments present", number(t.missing) + " missing, " + number(t.damaged) + " damaged"})
	}
	checked := figure{number(t.imagesChecked), "consistency images checked", number(t.imageMismatches) + " differ"}
	if t.imagesChecked == 0 {
		checked.Note = "the WAL carries none"
	}
	return append(f, checked)
}

func coverBar(t *totals) ([]coverPart, string) {
	c := &t.coverage
	parts := []struct {
		class, label string
		n            int64
	}{
		{"clean", "compared", c.BlocksCompared},
		{"tainted", "tainted", c.BlocksTainted},
		{"over", "overwritten by WAL", c.BlocksOverwrittenByWAL},
		{"lost", "not comparable", c.BlocksUnverifiable},
		{"none", "left out", c.BlocksSkipped},
	}
	sum := int64(0)
	for _, p := range parts {
		sum += max(0, p.n)
	}
	if sum == 0 {
		return nil, ""
	}
	var out []coverPart
	x, alt := 0.0, ""
	for _, p := range parts {
		w := float64(max(0, p.n)) / float64(sum) * 100
		if p.n > 0 {
			w = max(w, 0.4)
		}
		out = append(out, coverPart{p.class, p.label, number(p.n), percent(x), percent(w)})
		alt += p.label + " " + number(p.n) + ". "
		x += w
	}
	return out, alt
}

func skipped(t *totals) string {
	if s := tally(t.coverage.RelationsSkipped); s != "" {
		return "Relations skipped by rule: " + s + "."
	}
	return ""
}
