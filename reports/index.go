package reports

import (
	"cmp"
	"io"
	"net/url"
	"slices"
	"strings"

	"redoubt/internal/finding"
)

// Listing is what the page of all runs is made from.
type Listing struct {
	Runs         []finding.RunSummary
	Newer, Older string               // addresses of the other pages; empty: there is none
	Running      func(id string) bool // whether a run is still at it; nil: none is
	Version      string
}

type indexView struct {
	live
	Jobs  []jobView
	Runs  []summaryView
	Pager pager
}

type jobView struct {
	Name   string
	Latest summaryView
	Nights []summaryView // oldest first
}

type summaryView struct {
	ID, Href, Job, State, Word string
	Started, Took, Found       string
	Timelines, Spans           string
	Here                       bool // it is the run that the page is of
}

// nights is how many runs of a job are drawn as a row of signs.
const nights = 30

// Index writes the page that lists runs; it links to /run/ID.
func Index(w io.Writer, in Listing) error {
	runs := slices.Clone(in.Runs)
	slices.SortStableFunc(runs, func(a, b finding.RunSummary) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.ID, a.ID))
	})
	v := indexView{live: live{"runs", "runs", plain(in.Version)}, Pager: pager{Newer: in.Newer, Next: in.Older}}
	at := map[string]int{}
	for i := range runs {
		s := summaryOf(&runs[i], in.Running != nil && in.Running(runs[i].ID))
		v.Runs = append(v.Runs, s)
		j, ok := at[runs[i].Job]
		if !ok {
			j = len(v.Jobs)
			at[runs[i].Job] = j
			v.Jobs = append(v.Jobs, jobView{Name: s.Job, Latest: s})
		}
		if len(v.Jobs[j].Nights) < nights {
			v.Jobs[j].Nights = append(v.Jobs[j].Nights, s)
		}
	}
	if in.Newer != "" {
		v.Jobs = nil // how each job fares is on the first page
	}
	for i := range v.Jobs {
		slices.Reverse(v.Jobs[i].Nights)
	}
	slices.SortStableFunc(v.Jobs, func(a, b jobView) int { return strings.Compare(a.Name, b.Name) })
	return render(w, "index", v)
}

func summaryOf(r *finding.RunSummary, running bool) summaryView {
	v := summaryView{
		ID: plain(r.ID), Href: "/run/" + url.PathEscape(r.ID), Job: plain(r.Job),
		Started: minute(r.StartedAt), Timelines: number(int64(r.Timelines)), Spans: number(int64(r.Spans)),
		Found: foundWords(r),
	}
	verdict := r.Verdict
	if r.Critical+r.Warning+r.MissingSegments+r.DamagedSegments+r.LostWrites > r.Acknowledged {
		verdict = finding.Findings
	}
	v.State, v.Word = spanClass(verdict), verdictWord(verdict)
	switch {
	case r.FinishedAt != nil:
		v.Took = seconds(r.FinishedAt.Sub(r.StartedAt).Seconds())
		return v
	case running:
		v.Took = "running"
	default:
		v.Took = "did not finish"
	}
	v.Word = v.Took
	if v.State != "bad" {
		v.State = "unfinished"
	}
	return v
}

func foundWords(r *finding.RunSummary) string {
	var parts []string
	add := func(n int64, noun, more string) {
		if n > 0 {
			parts = append(parts, count(n, noun)+more)
		}
	}
	add(r.Critical, "difference", ", critical")
	add(r.Warning, "difference", ", warning")
	add(r.MissingSegments, "segment", " missing")
	add(r.DamagedSegments, "segment", " damaged")
	add(r.LostWrites, "write", " lost by the primary's disk")
	if r.Acknowledged > 0 {
		parts = append(parts, number(r.Acknowledged)+" of these acknowledged")
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, "; ")
	case r.FinishedAt == nil:
		return "nothing so far"
	case r.Verdict == finding.Clean:
		return "nothing"
	case rank(r.Verdict) == rank(finding.Findings):
		return "see the report"
	}
	return "nothing, but not everything could be checked"
}
