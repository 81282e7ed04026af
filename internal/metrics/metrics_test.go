package metrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"redoubt/internal/finding"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var night = time.Unix(1_773_453_600, 0)

func sample() State {
	return State{
		Runs: map[finding.Verdict]int64{finding.Clean: 40, finding.Findings: 2},
		Jobs: []Job{
			{Name: "nightly", LastRun: night, Verdict: finding.Findings, MissedRuns: 2, Inconclusive: 4},
			{Name: "weekly", MissedRuns: 1},
		},
		Open: []Open{{finding.LostWrite, finding.Critical, 2}, {finding.HintBits, finding.Benign, 9}},
		Timelines: []Timeline{
			{Tenant: "prod", Timeline: "main", MismatchedBlocks: 2, MissingSegments: 1, LastVerified: night},
			{Tenant: "acme", Timeline: "de20", LastVerified: night.Add(-time.Hour)},
		},
	}
}

func withState(s State) *Metrics {
	return New(Options{Version: "0.2.0", State: func(context.Context) (State, error) { return s, nil }})
}

func span() finding.Verification {
	return finding.Verification{
		Verdict: finding.Discrepancies, Engine: "native", WAL: finding.WAL{Bytes: 1 << 20},
		Coverage: finding.Coverage{BlocksCompared: 100, BlocksTainted: 7, BlocksOverwrittenByWAL: 3, BlocksSkipped: 2, TaintedBy: map[string]int64{"Gin": 7}},
		Discrepancies: []finding.Discrepancy{
			{Kind: finding.LostWrite, Severity: finding.Critical}, {Kind: finding.HintBits, Severity: finding.Benign},
		},
		DiscrepancyCounts: finding.DiscrepancyCounts{Critical: 5, Benign: 1},
	}
}

func TestWhatTheLedgerKnows(t *testing.T) {
	want := `
# HELP redoubt_archive_missing_segments WAL segments that a timeline's newest scan misses.
# TYPE redoubt_archive_missing_segments gauge
redoubt_archive_missing_segments{tenant="prod",timeline="main"} 1
# HELP redoubt_inconclusive_runs How many of a job's latest finished runs in a row ended inconclusive.
# TYPE redoubt_inconclusive_runs gauge
redoubt_inconclusive_runs{job="nightly"} 4
redoubt_inconclusive_runs{job="weekly"} 0
# HELP redoubt_last_run_timestamp_seconds When the latest run of a job finished, in Unix time; 0: none has.
# TYPE redoubt_last_run_timestamp_seconds gauge
redoubt_last_run_timestamp_seconds{job="nightly"} 1.7734536e+09
redoubt_last_run_timestamp_seconds{job="weekly"} 0
# HELP redoubt_last_run_verdict 1 for the verdict of a job's latest finished run, 0 for the others.
# TYPE redoubt_last_run_verdict gauge
redoubt_last_run_verdict{job="nightly",verdict="clean"} 0
redoubt_last_run_verdict{job="nightly",verdict="findings"} 1
redoubt_last_run_verdict{job="nightly",verdict="inconclusive"} 0
# HELP redoubt_ledger_up 1: the ledger could be read just now; 0: it could not, and the metrics that come from it are as old as its last reading.
# TYPE redoubt_ledger_up gauge
redoubt_ledger_up 1
# HELP redoubt_missed_runs_total Scheduled runs that did not start at their time.
# TYPE redoubt_missed_runs_total counter
redoubt_missed_runs_total 3
# HELP redoubt_oldest_verified_timestamp_seconds When the timeline verified longest ago was verified, in Unix time; 0: one never was.
# TYPE redoubt_oldest_verified_timestamp_seconds gauge
redoubt_oldest_verified_timestamp_seconds 1.77345e+09
# HELP redoubt_open_discrepancies Discrepancies that are believed to be there still.
# TYPE redoubt_open_discrepancies gauge
redoubt_open_discrepancies{kind="hint_bits",severity="benign"} 9
redoubt_open_discrepancies{kind="lost_write",severity="critical"} 2
# HELP redoubt_recoveries Timelines made by recovery (shadows), by state.
# TYPE redoubt_recoveries gauge
redoubt_recoveries{state="active"} 0
redoubt_recoveries{state="cancelled"} 0
redoubt_recoveries{state="deleting"} 0
redoubt_recoveries{state="failed"} 0
redoubt_recoveries{state="recovering"} 0
# HELP redoubt_runs_total Finished runs, by verdict.
# TYPE redoubt_runs_total counter
redoubt_runs_total{result="clean"} 40
redoubt_runs_total{result="findings"} 2
redoubt_runs_total{result="inconclusive"} 0
# HELP redoubt_timeline_mismatched_blocks Open discrepancies of a timeline, benign ones apart.
# TYPE redoubt_timeline_mismatched_blocks gauge
redoubt_timeline_mismatched_blocks{tenant="prod",timeline="main"} 2
# HELP redoubt_unverified_since_timestamp_seconds Since when the timeline that waits longest has not been verified: its last verification, or when it was first seen, in Unix time.
# TYPE redoubt_unverified_since_timestamp_seconds gauge
redoubt_unverified_since_timestamp_seconds 1.77345e+09
`
	if err := testutil.CollectAndCompare(withState(sample()).ledger, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestOldestVerifiedIsZeroWhileOneNeverWas(t *testing.T) {
	s := sample()
	s.Timelines = append(s.Timelines, Timeline{Tenant: "new", Timeline: "main"})
	if body := scrape(t, withState(s)); !strings.Contains(body, "\nredoubt_oldest_verified_timestamp_seconds 0\n") {
		t.Error("a timeline that was never verified does not show")
	}
	s.Timelines[len(s.Timelines)-1].FirstSeen = night.Add(-2 * time.Hour)
	if body := scrape(t, withState(s)); !strings.Contains(body, "\nredoubt_unverified_since_timestamp_seconds 1.7734464e+09\n") {
		t.Errorf("a timeline that was never verified waits since it was first seen:\n%s", body)
	}
	s.Timelines[len(s.Timelines)-1].Exempt = true
	if body := scrape(t, withState(s)); !strings.Contains(body, "\nredoubt_oldest_verified_timestamp_seconds 1.77345e+09\n") {
		t.Error("a timeline that is gone counts")
	}
	s.Timelines = nil
	if body := scrape(t, withState(s)); strings.Contains(body, "redoubt_oldest_verified_timestamp_seconds ") {
		t.Error("without timelines there is an oldest one")
	}
}

func TestEveryTimeline(t *testing.T) {
	m := New(Options{EveryTimeline: true, State: func(context.Context) (State, error) { return sample(), nil }})
	body := scrape(t, m)
	for _, want := range []string{
		`redoubt_timeline_mismatched_blocks{tenant="acme",timeline="de20"} 0`, `redoubt_archive_damaged_segments{tenant="prod",timeline="main"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestWhatThisProcessDid(t *testing.T) {
	m := withState(State{})
	m.ObserveSpan(span())
	m.ObserveSpan(finding.Verification{Verdict: "odd", Engine: "own", WAL: finding.WAL{Bytes: -1}, Coverage: finding.Coverage{BlocksCompared: -5}})
	end := night.Add(70 * time.Second)
	m.ObserveRun(finding.Run{StartedAt: night, FinishedAt: &end})
	m.ObserveRun(finding.Run{StartedAt: night}) // unfinished: not counted
	body := scrape(t, m)
	for _, want := range []string{
		`redoubt_spans_total{engine="native",result="discrepancies"} 1`,
		`redoubt_spans_total{engine="none",result="inconclusive"} 1`,
		`redoubt_page_mismatches_total{kind="lost_write",severity="critical"} 1`,
		`redoubt_page_mismatches_total{kind="not_listed",severity="critical"} 4`,
		`redoubt_page_mismatches_total{kind="hint_bits",severity="benign"} 1`,
		`redoubt_blocks_compared_total 100`,
		`redoubt_blocks_unverifiable_total{reason="tainted"} 7`,
		`redoubt_blocks_unverifiable_total{reason="overwritten_by_wal"} 3`,
		`redoubt_blocks_unverifiable_total{reason="left_out"} 2`,
		`redoubt_wal_replayed_bytes_total 1.048576e+06`,
		`redoubt_run_duration_seconds_bucket{le="300"} 1`,
		`redoubt_run_duration_seconds_bucket{le="60"} 0`,
		`redoubt_run_duration_seconds_count 1`,
		`redoubt_build_info{version="0.2.0"} 1`,
		`go_goroutines `,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestUnreadableLedgerKeepsFindings makes the ledger fail after a first reading.
func TestUnreadableLedgerKeepsFindings(t *testing.T) {
	var fail error
	m := New(Options{State: func(context.Context) (State, error) { return sample(), fail }})
	scrape(t, m)
	fail = errors.New("disk is gone")
	body := scrape(t, m)
	for _, want := range []string{"redoubt_ledger_up 0", `redoubt_open_discrepancies{kind="lost_write",severity="critical"} 2`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	m = New(Options{State: func(context.Context) (State, error) { return State{}, fail }})
	body = scrape(t, m)
	if !strings.Contains(body, "redoubt_ledger_up 0") || strings.Contains(body, "redoubt_open_discrepancies{") || strings.Contains(body, "redoubt_last_run") {
		t.Errorf("a ledger never read shows figures:\n%s", body)
	}
}

// TestHostileNames has names that are no legal labels, or the same once cut.
func TestHostileNames(t *testing.T) {
	s := sample()
	long := strings.Repeat("ü", 400)
	for _, n := range []string{"\xff\xfe", "a\nb\"c\\", long + "1", long + "2", ""} {
		s.Timelines = append(s.Timelines, Timeline{Tenant: n, Timeline: n, MismatchedBlocks: 1})
		s.Jobs = append(s.Jobs, Job{Name: n, LastRun: night, Verdict: "?"})
		s.Open = append(s.Open, Open{finding.Kind(n), finding.Severity(n), 1})
	}
	body := scrape(t, withState(s))
	if !strings.Contains(body, `timeline="a\nb\"c\\"} 1`) || !strings.Contains(body, "ü…\"} 2") {
		t.Errorf("hostile names are missing:\n%s", body)
	}
}

func TestTextfile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "redoubt.prom")
	var fail error
	m := New(Options{State: func(context.Context) (State, error) { return sample(), fail }})
	if err := m.WriteTextfile(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(first), "redoubt_open_discrepancies") || strings.Contains(string(first), "go_") || strings.Contains(string(first), "process_") {
		t.Errorf("textfile (%v):\n%s", err, first)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v (%v), want 0644: node_exporter is another user", st.Mode(), err)
	}
	fail = errors.New("disk is gone")
	if err := m.WriteTextfile(t.Context(), file); !errors.Is(err, fail) {
		t.Errorf("error %v, want %v", err, fail)
	}
	if again, _ := os.ReadFile(file); cmp.Diff(first, again) != "" {
		t.Error("the textfile changed though the ledger could not be read")
	}
	fail = nil
	if err := m.WriteTextfile(t.Context(), filepath.Join(dir, "no", "file")); err == nil || !strings.Contains(err.Error(), "write metrics to ") {
		t.Errorf("error %v for a directory that is not there", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files in the directory, want 1", len(left))
	}
}

func TestPush(t *testing.T) {
	var method, path, user, body string
	status := http.StatusOK
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		user, _, _ = r.BasicAuth()
		method, path, body = r.Method, r.URL.Path, string(b)
		w.WriteHeader(status)
	}))
	defer gateway.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	m := withState(sample())
	if err := m.Push(t.Context(), strings.Replace(gateway.URL, "://", "://u:secret@", 1), "nightly"); err != nil {
		t.Fatal(err)
	}
	if method != http.MethodPut || path != "/metrics/job/nightly" || user != "u" {
		t.Errorf("%s %s by %q, want PUT /metrics/job/nightly by u", method, path, user)
	}
	if !strings.Contains(body, "redoubt_last_run_verdict") || strings.Contains(body, "weekly") || strings.Contains(body, "go_goroutines") {
		t.Errorf("pushed %q", body)
	}
	status = http.StatusBadRequest
	err := m.Push(t.Context(), strings.Replace(gateway.URL, "://", "://u:secret@", 1), "nightly")
	if err == nil || !strings.Contains(err.Error(), "400") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v, want one with the status and without the password", err)
	}
	for _, bad := range []string{"", "gateway:9091", "ftp://x", "http://", "http://u:secret@%zz"} {
		if err := m.Push(t.Context(), bad, "nightly"); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v for the address %q", err, bad)
		}
	}
	if err := m.Push(t.Context(), gateway.URL, ""); err == nil {
		t.Error("no error for a job without a name")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Push(gone, gateway.URL, "nightly"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}
