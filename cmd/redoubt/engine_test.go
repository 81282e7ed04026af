package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/check"
	"redoubt/internal/finding"
	"redoubt/internal/pgtest"
)

// TestEngines: each engine, and the witness, from the command line and in a
// job, on online backups of the demo.
func TestEngines(t *testing.T) {
	t.Parallel()
	c := pgtest.Server(t, 17, pgtest.NoStart()) // for its programs, where its user can run them
	bucket, faults := planted(t)
	scratch := c.Dir("scratch")
	flags := func(more ...string) []string {
		return append([]string{"--pg-bin", "17=" + c.Bin, "--scratch", scratch}, more...)
	}
	for _, engine := range []string{"server", "both"} {
		o := redoubt(t, spanIn(bucket, "acme", "main", "nightly-1", "nightly-2").args(flags("--engine", engine)...)...)
		o.want(t, exitClean)
		v := o.verification(t)
		if v.Verdict != finding.Clean || v.Engine != engine || v.Witness == nil || v.Witness.Version != c.Version || v.Witness.Log == "" ||
			engine == "both" && (v.Witness.BlocksCompared < 2000 || v.Witness.Differing != 0) {
			t.Errorf("engine %s: %+v, witness %+v", engine, v, v.Witness)
		}
	}
	w := faults.write
	o := redoubt(t, spanIn(bucket, w.Tenant, w.Timeline, w.Previous, w.Snapshot).args(flags("--confirm", "server")...)...)
	o.want(t, exitFindings)
	confirmed(t, o.verification(t))
	empty(t, scratch)

	file := filepath.Join(t.TempDir(), "config.yaml")
	put(t, file, []byte(fmt.Sprintf(`{data_dir: ./data, reports: {dir: ./reports}, scratch: {dir: %s, min_free: 0B}, pg_bin: {17: %s},
		sources: [{name: demo, wal: %s}], jobs: {nightly: {pick: {timelines: 9}, confirm: server}}}`, scratch, c.Bin, bucket)))
	engineItem(t, file, check.OK, c.Version)
	o = redoubt(t, "run", "-c", file, "--format", "json")
	o.want(t, exitFindings)
	run := parse[finding.Run](t, o.stdout)
	for _, tl := range run.Timelines {
		for _, v := range tl.Spans {
			if v.DiscrepancyCounts.Critical > 0 {
				confirmed(t, v)
			} else if v.Witness != nil {
				t.Errorf("%s: a server ran with nothing to confirm", v.Span)
			}
		}
	}
	empty(t, scratch)

	put(t, file, []byte(fmt.Sprintf(`{data_dir: ./data, reports: {dir: ./reports}, scratch: {dir: %s, min_free: 0B}, pg_bin: {17: ./none},
		sources: [{name: demo, wal: %s}], jobs: {nightly: {engine: both}}}`, scratch, bucket)))
	engineItem(t, file, check.Failed, "none")
}

// confirmed checks that the one critical discrepancy has its witness.
func confirmed(t testing.TB, v finding.Verification) {
	t.Helper()
	if len(v.Discrepancies) != 1 || v.Witness == nil {
		t.Fatalf("%d discrepancies, witness %+v", len(v.Discrepancies), v.Witness)
	}
	if d := v.Discrepancies[0]; d.ConfirmedBy != "server" || d.Blame != finding.BlameOfficial || d.Kind != finding.LostWrite {
		t.Errorf("%s, blame %s, confirmed by %q: %s", d.Kind, d.Blame, d.ConfirmedBy, d.Explanation)
	}
}

// engineItem checks what `redoubt check` says of the server.
func engineItem(t testing.TB, config string, status check.Status, words string) {
	t.Helper()
	o := redoubt(t, "check", "-c", config, "--format", "json")
	r := parse[check.Report](t, o.stdout)
	i := slices.IndexFunc(r.Items, func(i check.Item) bool { return i.Area == "engine" && i.Subject == "PostgreSQL 17" })
	if i < 0 || r.Items[i].Status != status || !strings.Contains(r.Items[i].Detail, words) {
		t.Fatalf("%s: want engine %s: %+v", words, status, r.Items)
	}
}
