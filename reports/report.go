package reports

import (
	"encoding/json"
	"io"
	"slices"
	"time"

	"redoubt/internal/finding"
)

// Report is what a report page is made from.
type Report struct {
	Run     finding.Run
	Version string               // Redoubt's version, for the footer
	Command string               // what to type to repeat the run with the same picks; empty: not shown
	Running bool                 // the run is still at it: an unfinished report says so instead of "was interrupted"
	History []finding.RunSummary // the job's last runs; this one may be among them
	Linked  bool                 // a server shows the page: other runs are at /run/ID

	single bool // one verification, not a run: no job, no seed, no scan
}

// OfVerification makes a report of a single verification. at is when it ended.
func OfVerification(v finding.Verification, at time.Time) Report {
	verdict := v.Verdict
	if verdict == finding.Discrepancies {
		verdict = finding.Findings
	}
	return Report{single: true, Run: finding.Run{
		StartedAt:  at.Add(-time.Duration(max(0, min(v.Timing.WallSeconds, 1e8)) * float64(time.Second))),
		FinishedAt: &at,
		Verdict:    verdict,
		Reasons:    nil, // the span has them
		Timelines:  []finding.RunTimeline{{Spans: []finding.Verification{v}}},
	}}
}

// JSON writes a run, a verification or a scan as the contract spells it:
// indented, and with empty lists as [] rather than null.
func JSON[T finding.Run | finding.Verification | finding.Scan | finding.Plan](w io.Writer, v T) error {
	switch v := any(&v).(type) {
	case *finding.Run:
		*v = wholeRun(*v)
	case *finding.Verification:
		*v = wholeVerification(*v)
	case *finding.Scan:
		*v = wholeScan(*v)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// list is s, or an empty list where s is nil.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func wholeRun(r finding.Run) finding.Run {
	r.Reasons = list(r.Reasons)
	timelines := make([]finding.RunTimeline, len(r.Timelines))
	for i, t := range r.Timelines {
		spans := make([]finding.Verification, len(t.Spans))
		for j, v := range t.Spans {
			spans[j] = wholeVerification(v)
		}
		t.Spans = spans
		if t.Scan != nil {
			scan := wholeTimeline(*t.Scan)
			t.Scan = &scan
		}
		timelines[i] = t
	}
	r.Timelines = timelines
	return r
}

func wholeVerification(v finding.Verification) finding.Verification {
	v.Reasons = list(v.Reasons)
	v.Gaps = wholeGaps(v.Gaps)
	ds := make([]finding.Discrepancy, len(v.Discrepancies))
	for i, d := range v.Discrepancies {
		d.ByteRanges = list(d.ByteRanges)
		ds[i] = d
	}
	v.Discrepancies, v.LostWrites = ds, list(v.LostWrites)
	maps := slices.Clone(v.Maps)
	for i := range maps {
		m := &maps[i]
		m.Touched, m.Tainted, m.Different = list(m.Touched), list(m.Tainted), list(m.Different)
	}
	v.Maps = maps
	if v.Coverage.TaintedBy == nil {
		v.Coverage.TaintedBy = map[string]int64{}
	}
	if v.Coverage.RelationsSkipped == nil {
		v.Coverage.RelationsSkipped = map[string]int64{}
	}
	return v
}

func wholeScan(s finding.Scan) finding.Scan {
	s.Reasons = list(s.Reasons)
	timelines := make([]finding.ScanTimeline, len(s.Timelines))
	for i, t := range s.Timelines {
		timelines[i] = wholeTimeline(t)
	}
	s.Timelines = timelines
	return s
}

func wholeTimeline(t finding.ScanTimeline) finding.ScanTimeline {
	t.Gaps, t.Damaged, t.Unexpected, t.LostWrites = wholeGaps(t.Gaps), list(t.Damaged), list(t.Unexpected), list(t.LostWrites)
	return t
}

func wholeGaps(gaps []finding.Gap) []finding.Gap {
	out := make([]finding.Gap, len(gaps))
	for i, g := range gaps {
		g.Segments = list(g.Segments)
		out[i] = g
	}
	return out
}
