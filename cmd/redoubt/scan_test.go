package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
)

// TestScanKeys: a gap, damage and strangers in one document with the contract's keys.
func TestScanKeys(t *testing.T) {
	t.Parallel()
	from := pristine(t)
	wal := filepath.Join(t.TempDir(), "wal")
	link(t, filepath.Join(from, "acme", "billing", "wal"), wal)
	must(t, os.Remove(filepath.Join(wal, billingSegment)))
	path := filepath.Join(wal, "000000010000000000000012")
	put(t, path, flipped(300000)(read(t, path)))
	put(t, filepath.Join(wal, "NOTES"), nil)

	o := redoubt(t, "scan", "--wal", wal, "--deep", "--format", "json", "--progress", "never")
	o.want(t, exitFindings)
	if o.stderr != "" {
		t.Errorf("stderr: %q", o.stderr)
	}
	scan := parse[finding.Scan](t, o.stdout)
	if len(scan.Timelines) != 1 {
		t.Fatalf("%+v", scan)
	}
	tl := scan.Timelines[0]
	if len(tl.Gaps) != 1 {
		t.Fatalf("gaps: %+v", tl.Gaps)
	}
	gap := finding.Gap{From: 0xE00000, To: 0xF00000, Segments: []string{billingSegment}, Status: "missing", Severity: finding.Critical, ID: tl.Gaps[0].ID}
	if len(gap.ID) != 24 {
		t.Errorf("id %q", gap.ID)
	}
	same(t, "gaps", []finding.Gap{gap}, tl.Gaps)
	if len(tl.Damaged) != 1 || tl.Damaged[0].Segment != filepath.Base(path) || !strings.Contains(tl.Damaged[0].Reason, "0/12") {
		t.Errorf("damaged: %+v", tl.Damaged)
	}
	same(t, "unexpected", []string{"NOTES"}, tl.Unexpected)
	if tl.Expected != 13 || tl.Present != 12 || scan.Verdict != finding.Findings {
		t.Errorf("%+v", scan)
	}
	got, want := make(map[string]bool), make(map[string]bool)
	collectKeys(t, o.stdout, got)
	collectKeys(t, string(read(t, filepath.Join("testdata", "contract-scan.json"))), want)
	for k := range want {
		if !got[k] && !strings.HasPrefix(k, "timelines.lost_writes") { // those come with --audit
			t.Errorf("no key %s", k)
		}
	}
}
