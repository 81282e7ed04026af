package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
)

// TestDemo: the demo finds exactly what it planted, leaves all of it with
// --keep, and `redoubt run` goes on from there.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	o := redoubt(t, "demo", "--keep", dir)
	o.want(t, exitClean,
		"Planted: the page of accounts (base/5/16384 block 13) in snapshot nightly-3 of acme/main",
		"Taken away: WAL segment 000000010000000000000010 of globex/main",
		"Exactly the two planted faults were found.", "rows ctid (13,12) to (13,173)",
		"lost write", "2 findings: 1 page is not what the WAL says; 1 WAL segment is missing",
		"redoubt run -c "+filepath.Join(dir, "config.yaml"))
	if strings.Contains(o.stderr, "level=") {
		t.Errorf("stderr: %s", o.stderr)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "reports", "run-*.html"))
	must(t, err)
	if len(pages) != 1 {
		t.Fatalf("pages: %v", pages)
	}
	checkPage(t, pages[0], "FINDINGS", "000000010000000000000010", table, "globex",
		"rows ctid (13,12) to (13,173)", "SELECT pg_filenode_relation(1663, 16384);", "What now", "What users stored is masked.")
	for _, name := range []string{"config.yaml", "bucket/acme/main/wal", "data/ledger.db"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}

	config := filepath.Join(dir, "config.yaml")
	textfile := filepath.Join(t.TempDir(), "redoubt.prom")
	o = redoubt(t, "run", "-c", config, "--seed", "3", "--format", "json", "--metrics-textfile", textfile)
	o.want(t, exitFindings, "report: "+filepath.Join(dir, "reports", "run-"))
	run := parse[finding.Run](t, o.stdout)
	checkRun(t, run)
	for _, want := range []string{
		`redoubt_archive_missing_segments{tenant="globex",timeline="main"} 1`, `redoubt_open_discrepancies{kind="lost_write",severity="critical"} 1`,
		`redoubt_last_run_verdict{job="nightly",verdict="findings"} 1`, `redoubt_spans_total{engine="native",result="clean"} 4`,
	} {
		if !strings.Contains(string(read(t, textfile)), want+"\n") {
			t.Errorf("%s does not say %s", textfile, want)
		}
	}

	// The ledger has both runs; the discrepancy is known by one id.
	o = redoubt(t, "report", "-c", config, "--list", "--format", "json")
	list := parse[[]listedRun](t, o.stdout)
	if len(list) != 2 || list[0].ID != run.ID || list[0].Seed != 3 || list[1].Verdict != finding.Findings {
		t.Errorf("%+v", list)
	}
	o = redoubt(t, "report", "-c", config, "--list")
	o.want(t, exitClean, run.ID, list[1].ID, "seed 3", "findings")
	newest := redoubt(t, "report", "-c", config, "--format", "json")
	newest.want(t, exitFindings)
	same(t, "the newest run again", run, parse[finding.Run](t, newest.stdout))
	page := filepath.Join(t.TempDir(), "first.html")
	o = redoubt(t, "report", "-c", config, "--format", "json", "--html", page, list[1].ID)
	o.want(t, exitFindings)
	first := parse[finding.Run](t, o.stdout)
	same(t, "ids", ids(run), ids(first))
	checkLostWrite(t, run)
	checkPage(t, page, list[1].ID, "redoubt run -c "+config)

	redoubt(t, "demo", "--keep", dir).want(t, exitUsage, "is not empty: name a new directory")
}

// checkRun wants a run of the demo's bucket: all timelines, spans and scans.
func checkRun(t testing.TB, run finding.Run) {
	t.Helper()
	if run.Job != "nightly" || run.Seed != 3 || run.Verdict != finding.Findings || len(run.Timelines) != 3 || run.FinishedAt == nil {
		t.Fatalf("%+v", run)
	}
	verdicts := make(map[finding.Verdict]int)
	for _, tl := range run.Timelines {
		if len(tl.Spans) != 2 || tl.Scan == nil || tl.Scan.Expected == 0 {
			t.Errorf("%s/%s: %d spans, scan %+v", tl.Tenant, tl.Timeline, len(tl.Spans), tl.Scan)
		}
		for _, v := range tl.Spans {
			verdicts[v.Verdict]++
		}
	}
	if verdicts[finding.Clean] != 4 || verdicts[finding.Discrepancies] != 1 || verdicts[finding.Inconclusive] != 1 {
		t.Errorf("verdicts %v", verdicts)
	}
}

// checkLostWrite wants the planted page with its two versions and the rows it hits.
func checkLostWrite(t testing.TB, run finding.Run) {
	t.Helper()
	for _, tl := range run.Timelines {
		for _, v := range tl.Spans {
			for _, d := range v.Discrepancies {
				if d.Pages == nil || !d.Pages.Masked || len(d.Pages.Official) != 8192 || len(d.Pages.Replayed) != 8192 || d.Pages.OfficialChecksum == 0 || len(d.Items) == 0 {
					t.Errorf("%s of %s block %d: items %v, pages %+v", d.Kind, d.File, *d.Block, d.Items, d.Pages)
				}
			}
		}
	}
}

// ids are the discrepancies of a run.
func ids(run finding.Run) (out []string) {
	for _, tl := range run.Timelines {
		for _, v := range tl.Spans {
			for _, d := range v.Discrepancies {
				out = append(out, d.ID)
			}
		}
	}
	return out
}

// TestRunVerdicts: a clean bucket is 0; one of which something cannot be
// checked is 3 and says what; a source that is not there is 3 too.
func TestRunVerdicts(t *testing.T) {
	t.Parallel()
	from := pristine(t)
	bucket := filepath.Join(t.TempDir(), "bucket")
	tl := filepath.Join(bucket, "acme", "main")
	link(t, filepath.Join(from, "acme", "main"), tl)
	must(t, os.RemoveAll(filepath.Join(tl, "snapshots", "nightly-3")))
	config := filepath.Join(configured(t, bucket, ""), "config.yaml")

	o := redoubt(t, "run", "-c", config, "--format", "json")
	o.want(t, exitClean)
	run := parse[finding.Run](t, o.stdout)
	if run.Verdict != finding.Clean || len(run.Reasons) > 0 || len(run.Timelines) != 1 || len(run.Timelines[0].Spans) != 1 {
		t.Errorf("%+v", run)
	}
	keys := make(map[string]bool)
	collectKeys(t, o.stdout, keys)
	for _, k := range []string{"run_id", "seed", "started_at", "finished_at", "verdict", "timelines", "timelines.tenant", "timelines.timeline",
		"timelines.spans", "timelines.spans.verdict", "timelines.scan", "timelines.scan.expected"} {
		if !keys[k] {
			t.Errorf("no key %s", k)
		}
	}

	// A segment that no span needs is damaged: the scan of the run finds it, once it has changed.
	segment := filepath.Join(tl, "wal", "000000010000000000000015.zst")
	good := read(t, segment)
	put(t, segment, flipped(len(good)/2)(good))
	o = redoubt(t, "run", "-c", config, "--format", "json")
	o.want(t, exitFindings)
	if scan := parse[finding.Run](t, o.stdout).Timelines[0].Scan; scan == nil || len(scan.Damaged) != 1 || scan.Damaged[0].Segment != "000000010000000000000015" {
		t.Errorf("%+v", scan)
	}
	must(t, os.Remove(segment))
	must(t, os.Link(filepath.Join(from, "acme", "main", "wal", filepath.Base(segment)), segment))

	damaged := filepath.Join(tl, "snapshots", "nightly-2", "base.tar.zst")
	whole := read(t, damaged)
	put(t, damaged, whole[:len(whole)/2])
	o = redoubt(t, "run", "-c", config, "--format", "json")
	o.want(t, exitInconclusive, "base.tar.zst")
	if run := parse[finding.Run](t, o.stdout); run.Verdict != finding.Inconclusive || len(run.Reasons) == 0 {
		t.Errorf("%+v", run)
	}
	put(t, damaged, []byte("nonsense"))
	redoubt(t, "run", "-c", config).want(t, exitInconclusive, "nightly-2", "INCONCLUSIVE")
	must(t, os.RemoveAll(filepath.Join(tl, "snapshots")))
	redoubt(t, "run", "-c", config).want(t, exitInconclusive, "snapshots", "INCONCLUSIVE")
	must(t, os.RemoveAll(bucket))
	redoubt(t, "run", "-c", config).want(t, exitInconclusive, bucket, "INCONCLUSIVE", "nothing was checked")
}
