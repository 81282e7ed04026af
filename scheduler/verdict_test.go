package scheduler

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"redoubt/internal/finding"
)

func TestVerdict(t *testing.T) {
	scanned := &finding.ScanTimeline{Expected: 2, Present: 2}
	clean := finding.Verification{Verdict: finding.Clean}
	with := func(change func(*finding.RunTimeline)) finding.Run {
		tl := finding.RunTimeline{Tenant: "t", Timeline: "m", Spans: []finding.Verification{clean}, Scan: scanned}
		change(&tl)
		return finding.Run{Timelines: []finding.RunTimeline{{Tenant: "a", Timeline: "b", Spans: []finding.Verification{clean}, Scan: scanned}, tl}}
	}
	span := func(change func(*finding.Verification)) finding.Run {
		return with(func(tl *finding.RunTimeline) {
			v := clean
			change(&v)
			tl.Spans = append(tl.Spans, v)
		})
	}
	scan := func(s finding.ScanTimeline) finding.Run {
		return with(func(tl *finding.RunTimeline) { tl.Scan = &s })
	}
	gap := []finding.Gap{{From: 1, To: 2, Segments: []string{"x"}}}
	for _, tc := range []struct {
		name    string
		run     finding.Run
		given   []string
		verdict finding.Verdict
		reasons []string
	}{
		{"all clean", with(func(*finding.RunTimeline) {}), nil, finding.Clean, nil},
		{"empty night", finding.Run{}, nil, finding.Inconclusive, []string{"no timeline was picked: nothing was checked"}},
		{"a source out of reach", with(func(*finding.RunTimeline) {}), []string{"source x: gone"}, finding.Inconclusive, []string{"source x: gone"}},
		{"critical", span(func(v *finding.Verification) { v.DiscrepancyCounts.Critical = 1 }), nil, finding.Findings, nil},
		{"warning", span(func(v *finding.Verification) { v.DiscrepancyCounts.Warning = 1 }), nil, finding.Findings, nil},
		{"benign", span(func(v *finding.Verification) {
			v.DiscrepancyCounts.Benign = 1
			v.Discrepancies = []finding.Discrepancy{{Severity: finding.Benign}}
		}), nil, finding.Clean, nil},
		{"listed but not counted", span(func(v *finding.Verification) { v.Discrepancies = []finding.Discrepancy{{Severity: finding.Critical}} }), nil, finding.Findings, nil},
		{"consistency mismatch", span(func(v *finding.Verification) { v.Consistency.Mismatches = 1 }), nil, finding.Findings, nil},
		{"verdict without counts", span(func(v *finding.Verification) { v.Verdict = finding.Discrepancies }), nil, finding.Findings, nil},
		{"inconclusive span", span(func(v *finding.Verification) { v.Verdict, v.Reasons = finding.Inconclusive, []string{"why"} }), nil,
			finding.Inconclusive, []string{"t/m: span [0/0, 0/0): why"}},
		{"clean with a reason", span(func(v *finding.Verification) { v.Reasons = []string{"why"} }), nil, finding.Inconclusive, []string{"t/m: span [0/0, 0/0): why"}},
		{"no verdict", span(func(v *finding.Verification) { v.Verdict = "" }), nil, finding.Inconclusive, []string{"t/m: span [0/0, 0/0): inconclusive without a reason"}},
		{"findings besides doubts", span(func(v *finding.Verification) {
			v.Verdict, v.Reasons, v.DiscrepancyCounts.Critical = finding.Inconclusive, []string{"half of it"}, 2
		}), nil, finding.Findings, []string{"t/m: span [0/0, 0/0): half of it"}},
		{"gap in a span", span(func(v *finding.Verification) { v.Gaps = gap }), nil, finding.Findings, []string{"t/m: span [0/0, 0/0): inconclusive without a reason"}},
		{"gap", scan(finding.ScanTimeline{Gaps: gap}), nil, finding.Findings, nil},
		{"acknowledged discrepancy", span(func(v *finding.Verification) {
			v.DiscrepancyCounts.Critical = 1
			v.Discrepancies = []finding.Discrepancy{{Severity: finding.Critical, Acknowledged: &finding.Acknowledgement{}}}
		}), nil, finding.Clean, nil},
		{"one of two acknowledged", span(func(v *finding.Verification) {
			v.DiscrepancyCounts.Critical = 2
			v.Discrepancies = []finding.Discrepancy{{Severity: finding.Critical, Acknowledged: &finding.Acknowledgement{}}}
		}), nil, finding.Findings, nil},
		{"acknowledged image, another not", span(func(v *finding.Verification) {
			v.DiscrepancyCounts.Critical, v.Consistency.Mismatches = 1, 2
			v.Discrepancies = []finding.Discrepancy{{Severity: finding.Critical, Kind: finding.WrongRedo, Acknowledged: &finding.Acknowledgement{}}}
		}), nil, finding.Findings, nil},
		{"acknowledged damage", scan(finding.ScanTimeline{Damaged: []finding.Damaged{{Segment: "x", Acknowledged: &finding.Acknowledgement{}}}}), nil, finding.Clean, nil},
		{"acknowledged gap", scan(finding.ScanTimeline{Gaps: []finding.Gap{{Status: "acknowledged"}}}), nil, finding.Clean, nil},
		{"damaged", scan(finding.ScanTimeline{Damaged: []finding.Damaged{{Segment: "x"}}}), nil, finding.Findings, nil},
		{"scan in doubt", scan(finding.ScanTimeline{Reasons: []string{"why"}}), nil, finding.Inconclusive, []string{"t/m: scan: why"}},
		{"not scanned", with(func(tl *finding.RunTimeline) { tl.Scan = nil }), nil, finding.Inconclusive, []string{"t/m: its archive was not scanned"}},
		{"one snapshot", with(func(tl *finding.RunTimeline) { tl.Spans, tl.Reasons = nil, []string{"only one snapshot"} }), nil,
			finding.Inconclusive, []string{"t/m: only one snapshot"}},
		{"nothing planned", with(func(tl *finding.RunTimeline) { tl.Spans = nil }), nil, finding.Inconclusive, []string{"t/m: no span was planned"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, reasons := Verdict(tc.run, tc.given)
			if diff := cmp.Diff(tc.reasons, reasons); v != tc.verdict || diff != "" {
				t.Errorf("%s, want %s; reasons (-want +got): %s", v, tc.verdict, diff)
			}
		})
	}
}

func TestVerdictBoundsItsReasons(t *testing.T) {
	var run finding.Run
	for i := range 200 {
		run.Timelines = append(run.Timelines, finding.RunTimeline{Tenant: fmt.Sprint(i), Scan: &finding.ScanTimeline{}})
	}
	_, reasons := Verdict(run, nil)
	if len(reasons) != maxReasons+1 || reasons[maxReasons] != "and 150 more" {
		t.Errorf("%d reasons, the last %q", len(reasons), reasons[len(reasons)-1])
	}
}
