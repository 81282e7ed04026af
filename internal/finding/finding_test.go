package finding

import (
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	at := time.Unix(1, 0)
	scan := &ScanTimeline{
		Gaps: []Gap{
			{Segments: []string{"A", "B"}, Status: "missing"}, {Segments: []string{"C"}, Status: "acknowledged"},
			{Segments: []string{"D"}, Status: "uploading"}, {Segments: []string{"E"}, Status: "delayed", Severity: Warning}, {},
		},
		Damaged: []Damaged{{Segment: "F"}},
	}
	s := Summarize(Run{ID: "r", FinishedAt: &at, Verdict: Findings, Timelines: []RunTimeline{
		{Spans: []Verification{{DiscrepancyCounts: DiscrepancyCounts{Critical: 2, Benign: 9}}, {DiscrepancyCounts: DiscrepancyCounts{Warning: 1}}}, Scan: scan},
		{},
	}})
	want := RunSummary{ID: "r", FinishedAt: &at, Verdict: Findings, Timelines: 2, Spans: 2, Critical: 2, Warning: 1, MissingSegments: 4, DamagedSegments: 1, Acknowledged: 1}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if n := scan.LateSegments(); n != 2 {
		t.Errorf("%d segments are late, want 2", n)
	}
}

func TestCounts(t *testing.T) {
	var c DiscrepancyCounts
	for _, s := range []Severity{Critical, Warning, Benign, Benign, "of no kind"} {
		c.Add(s)
	}
	if want := (DiscrepancyCounts{Critical: 1, Warning: 1, Benign: 3}); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
}
