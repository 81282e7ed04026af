package scheduler

import (
	"context"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// TestBaseIsBlamed: a block that differs in two spans one after the other was
// wrong in the snapshot between them; one that differs in the second alone, or
// whose page speaks against itself, is nobody's or its own fault.
func TestBaseIsBlamed(t *testing.T) {
	at := func(id string, block int64, blame finding.Blame) finding.Discrepancy {
		return finding.Discrepancy{ID: id, Kind: finding.Unexplained, Severity: finding.Critical, Blame: blame,
			File: "base/5/16384", Block: &block, ByteRanges: [][2]int{}, Explanation: "They differ."}
	}
	verify := func(_ context.Context, s SpanSpec) (finding.Verification, error) {
		v := finding.Verification{Verdict: finding.Discrepancies, Span: s.Range, Engine: "fake"}
		switch s.Base {
		case "S1":
			v.Discrepancies = []finding.Discrepancy{at("a", 1, finding.BlameOfficial), at("b", 2, finding.BlameUnknown), at("c", 3, finding.BlameBase), at("d", 4, finding.BlameOfficial)}
		case "S2":
			confirmed := at("h", 6, finding.BlameOfficial)
			confirmed.ConfirmedBy = "server"
			v.Discrepancies = []finding.Discrepancy{at("e", 1, finding.BlameUnknown), at("f", 2, finding.BlameUnknown), at("g", 3, finding.BlameUnknown),
				at("i", 4, finding.BlameOfficial), at("j", 5, finding.BlameUnknown), confirmed}
		case "S3":
			built, whole := at("k", 5, finding.BlameOfficial), at("l", 6, finding.BlameOfficial)
			built.ConfirmedBy, built.Records = "server", []finding.BlockRecord{{Image: true}, {}}
			whole.ConfirmedBy, whole.Records = "server", []finding.BlockRecord{{}, {Image: true}}
			v.Discrepancies = []finding.Discrepancy{built, whole}
		}
		v.DiscrepancyCounts.Critical = int64(len(v.Discrepancies))
		return v, nil
	}
	r, l := newRunner(t, catalogOf(1, 4), verify)
	run, err := r.Run(background, testJob(), seedOf(1))
	must(t, err)
	want := map[string]finding.Blame{
		"a": finding.BlameOfficial, "b": finding.BlameUnknown, "c": finding.BlameBase, "d": finding.BlameOfficial,
		"e": finding.BlameBase, "f": finding.BlameBase, "g": finding.BlameUnknown, "i": finding.BlameOfficial, "j": finding.BlameUnknown,
		"h": finding.BlameOfficial, "k": finding.BlameBase, "l": finding.BlameOfficial,
	}
	n := 0
	for _, v := range run.Timelines[0].Spans {
		for _, d := range v.Discrepancies {
			n++
			if d.Blame != want[d.ID] || strings.Contains(d.Explanation, "span before") != (d.Blame == finding.BlameBase && d.ID != "c") {
				t.Errorf("%s: blame %s, want %s: %s", d.ID, d.Blame, want[d.ID], d.Explanation)
			}
		}
	}
	if n != len(want) {
		t.Errorf("%d discrepancies, want %d", n, len(want))
	}
	kept, err := l.Discrepancies(background, ledger.DiscrepancyFilter{})
	must(t, err)
	for _, d := range kept {
		if d.Blame != want[d.ID] {
			t.Errorf("the ledger's %s: blame %s, want %s", d.ID, d.Blame, want[d.ID])
		}
	}
}
