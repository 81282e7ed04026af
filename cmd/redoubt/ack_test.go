package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
)

// TestAck acknowledges the demo's two faults. What they hide then is only
// themselves: the span that lacks WAL is still not verified.
func TestAck(t *testing.T) {
	t.Parallel()
	bucket, faults := planted(t)
	dir := configured(t, bucket, "")
	config := filepath.Join(dir, "config.yaml")
	redoubt(t, "ack", "-c", config, "--list").want(t, exitUsage) // no ledger yet
	o := redoubt(t, "scan", "-c", config, "--format", "json", "--progress", "never")
	o.want(t, exitFindings)
	gap := theGap(t, parse[finding.Scan](t, o.stdout), faults)

	o = redoubt(t, "run", "-c", config, "--format", "json", "--progress", "never")
	o.want(t, exitFindings)
	lost := theLostWrite(t, parse[finding.Run](t, o.stdout), faults)
	for want, args := range map[string][]string{
		"a reason is needed":      {lost.ID, "--expires", "7d"},
		"--expires: say how long": {lost.ID, "--reason", "x"},
		"not in the future":       {lost.ID, "--reason", "x", "--expires", "2020-01-01"},
		"is no open discrepancy":  {"0123", "--reason", "x", "--expires", "7d"},
		"neither a duration":      {lost.ID, "--reason", "x", "--expires", "soon"},
		"has no acknowledgement":  {lost.ID, "--remove"},
		"want the id":             {},
	} {
		o := redoubt(t, append([]string{"ack", "-c", config}, args...)...)
		o.want(t, exitUsage)
		if !strings.Contains(o.stderr, want) {
			t.Errorf("%v: %s", args, o.stderr)
		}
	}
	for _, id := range []string{lost.ID, gap.ID} {
		o = redoubt(t, "ack", "-c", config, id, "--reason", "known since Monday", "--expires", "7d", "--by", "dba", "--format", "json")
		o.want(t, exitClean)
		if a := parse[finding.AckRecord](t, o.stdout); a.ID != id || a.By != "dba" || !a.Holds(time.Now()) || a.Holds(time.Now().AddDate(0, 0, 8)) {
			t.Errorf("acknowledged %+v", a)
		}
	}

	metrics := filepath.Join(dir, "redoubt.prom")
	o = redoubt(t, "run", "-c", config, "--format", "json", "--progress", "never", "--metrics-textfile", metrics)
	o.want(t, exitInconclusive) // the span without its WAL
	run := parse[finding.Run](t, o.stdout)
	again := theLostWrite(t, run, faults)
	if run.Verdict != finding.Inconclusive || again.Acknowledged == nil || again.Acknowledged.Reason != "known since Monday" {
		t.Errorf("verdict %s, discrepancy %+v", run.Verdict, again)
	}
	if text := string(read(t, metrics)); strings.Contains(text, "redoubt_open_discrepancies{kind=\"lost_write\"") || strings.Contains(text, "redoubt_archive_missing_segments{") {
		t.Errorf("metrics count what is acknowledged:\n%s", text)
	}
	page := string(read(t, filepath.Join(dir, "reports", "run-"+run.ID+".html")))
	if strings.Count(page, "by dba: known since Monday") < 2 {
		t.Error("the report hides what is acknowledged")
	}
	redoubt(t, "scan", "-c", config, "--progress", "never").want(t, exitClean)

	o = redoubt(t, "ack", "-c", config, "--list")
	o.want(t, exitClean)
	if strings.Count(o.stdout, "known since Monday") != 2 || !strings.Contains(o.stdout, gap.Segments[0]) && !strings.Contains(o.stdout, "WAL missing from") {
		t.Errorf("list: %s", o.stdout)
	}
	redoubt(t, "ack", "-c", config, gap.ID, "--remove", "--by", "other").want(t, exitClean)
	redoubt(t, "scan", "-c", config, "--progress", "never").want(t, exitFindings)
}

func theGap(t *testing.T, s finding.Scan, p plantedFaults) (gap finding.Gap) {
	t.Helper()
	for _, tl := range s.Timelines {
		if tl.Tenant == p.gap.Tenant && tl.Timeline == p.gap.Timeline && len(tl.Gaps) == 1 {
			gap = tl.Gaps[0]
		}
	}
	if gap.ID == "" {
		t.Fatalf("the gap is not there, or without an id: %+v", s)
	}
	return gap
}

func theLostWrite(t *testing.T, r finding.Run, p plantedFaults) (lost finding.Discrepancy) {
	t.Helper()
	for _, tl := range r.Timelines {
		for _, v := range tl.Spans {
			for _, d := range v.Discrepancies {
				if p.isLostWrite(&d) {
					lost = d
				}
			}
		}
	}
	if lost.ID == "" {
		t.Fatalf("the lost write is not there, or without an id: %+v", r)
	}
	return lost
}
