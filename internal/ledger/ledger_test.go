package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

func TestMain(m *testing.M) {
	if done := child(); done {
		return
	}
	goleak.VerifyTestMain(m)
}

var (
	ctx = context.Background()
	t0  = time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	key = TimelineKey{"src", "ten", "main"}
)

func at(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }

func openTest(t *testing.T) *Ledger {
	t.Helper()
	l, err := Open(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		selfCheck(t, l)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// selfCheck asks SQLite whether the file is sound.
func selfCheck(t *testing.T, l *Ledger) {
	t.Helper()
	for stmt, want := range map[string]string{"PRAGMA integrity_check": "ok", "SELECT count(*) FROM pragma_foreign_key_check": "0"} {
		var got string
		if err := l.read.QueryRow(stmt).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %s, %v", stmt, got, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func plannedSpan(n int, base, official string, from, to pg.LSN) Span {
	return Span{Number: n, TimelineKey: key, TLI: 1, Base: base, Official: official, Range: pg.Range{From: from, To: to}}
}

// startPlanned starts a run with the given spans of one timeline.
func startPlanned(t *testing.T, l *Ledger, runID string, start time.Time, spans ...Span) {
	t.Helper()
	must(t, l.StartRun(ctx, RunStart{RunID: runID, Job: "nightly", Seed: 7, StartedAt: start}))
	must(t, l.SavePlan(ctx, runID, start, Plan{Picks: []Pick{{TimelineKey: key}}, Spans: spans}))
}

func finish(t *testing.T, l *Ledger, runID string, when time.Time) {
	t.Helper()
	must(t, l.FinishScan(ctx, runID, when, finding.ScanTimeline{Tenant: key.Tenant, Timeline: key.Timeline}))
	must(t, l.FinishRun(ctx, runID, when, finding.Clean, nil, 0))
}

func verified(v finding.Verdict, ds ...finding.Discrepancy) finding.Verification {
	out := finding.Verification{Verdict: v, Reasons: []string{}, Discrepancies: ds}
	for _, d := range ds {
		out.DiscrepancyCounts.Add(d.Severity)
	}
	return out
}

func TestRunIsReadBackWhole(t *testing.T) {
	l := openTest(t)
	other := TimelineKey{"src", "ten2", "main"}
	must(t, l.StartRun(ctx, RunStart{RunID: "r1", Job: "nightly", Seed: -3, StartedAt: t0}))
	spans := []Span{
		plannedSpan(0, "b", "c", 0x300, 0x400),
		plannedSpan(1, "a", "b", 0x100, 0x300),
		plannedSpan(2, "c", "d", 0x400, 0x500),
	}
	spans[2].Deferred = "beyond the limit"
	must(t, l.SavePlan(ctx, "r1", at(1), Plan{
		Picks: []Pick{{TimelineKey: key}, {TimelineKey: other, Reasons: []string{"only one snapshot"}}},
		Spans: spans, Reasons: []string{"source x unreachable"},
	}))

	u, err := l.Unfinished(ctx, "nightly")
	must(t, err)
	if diff := cmp.Diff(&UnfinishedRun{"r1", -3, t0, true}, u); diff != "" {
		t.Errorf("unfinished: %s", diff)
	}
	remaining, scans, err := l.Remaining(ctx, "r1")
	must(t, err)
	if diff := cmp.Diff(spans[:2], remaining); diff != "" {
		t.Errorf("remaining spans: %s", diff)
	}
	if diff := cmp.Diff([]TimelineKey{key, other}, scans); diff != "" {
		t.Errorf("remaining scans: %s", diff)
	}

	v0, v1 := fullVerification(1), fullVerification(2)
	v0.Span, v1.Span = spans[0].Range, spans[1].Range
	must(t, l.FinishSpan(ctx, "r1", 1, at(2), v1))
	s := filled[finding.ScanTimeline](3)
	s.Tenant, s.Timeline = "ten", "main"
	must(t, l.FinishScan(ctx, "r1", at(3), s))
	remaining, scans, err = l.Remaining(ctx, "r1")
	must(t, err)
	if len(remaining) != 1 || remaining[0].Number != 0 || len(scans) != 1 || scans[0] != other {
		t.Errorf("remaining: %v, %v", remaining, scans)
	}
	if err := l.FinishRun(ctx, "r1", at(4), finding.Clean, nil, 0); err == nil || !strings.Contains(err.Error(), "1 spans and 1 scans") {
		t.Errorf("finished with work left: %v", err)
	}
	must(t, l.FinishSpan(ctx, "r1", 0, at(4), v0))
	s2 := finding.ScanTimeline{Tenant: "ten2", Timeline: "main", Gaps: []finding.Gap{}, Damaged: []finding.Damaged{}, Unexpected: []string{}}
	must(t, l.FinishScan(ctx, "r1", at(5), s2))
	must(t, l.FinishRun(ctx, "r1", at(6), finding.Findings, []string{"one", "two"}, 0))

	finished := at(6)
	deferred := finding.Verification{Verdict: finding.Inconclusive, Reasons: []string{"beyond the limit"}, Span: spans[2].Range}
	want := finding.Run{
		ID: "r1", Job: "nightly", Seed: -3, StartedAt: t0, FinishedAt: &finished, Verdict: finding.Findings, Reasons: []string{"one", "two"},
		Timelines: []finding.RunTimeline{
			{Tenant: "ten", Timeline: "main", Spans: []finding.Verification{v1, v0, deferred}, Scan: &s, Reasons: []string{}},
			{Tenant: "ten2", Timeline: "main", Spans: []finding.Verification{}, Scan: &s2, Reasons: []string{"only one snapshot"}},
		},
	}
	(&finding.Acknowledgements{}).MarkRun(&want) // gives ids to gaps and segments
	got, err := l.Run(ctx, "r1")
	must(t, err)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	list, err := l.Runs(ctx, RunFilter{Job: "nightly", Limit: 5})
	must(t, err)
	want.Timelines = nil
	if diff := cmp.Diff([]finding.Run{want}, list); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	summaries, err := l.Summaries(ctx, RunFilter{})
	must(t, err)
	if diff := cmp.Diff([]finding.RunSummary{finding.Summarize(got)}, summaries); diff != "" {
		t.Errorf("summaries: %s", diff)
	}
	totals, err := l.RunTotals(ctx)
	must(t, err)
	if diff := cmp.Diff(map[finding.Verdict]int64{finding.Findings: 1}, totals); diff != "" {
		t.Errorf("totals: %s", diff)
	}
	if u, err := l.Unfinished(ctx, "nightly"); u != nil || err != nil {
		t.Errorf("unfinished after the end: %v, %v", u, err)
	}
	picks, err := l.PicksBySeed(ctx, "nightly", -3)
	must(t, err)
	if diff := cmp.Diff([]TimelineKey{key, other}, picks); diff != "" {
		t.Error(diff)
	}
}

func TestRunsOfAJobDoNotOverlap(t *testing.T) {
	l := openTest(t)
	must(t, l.StartRun(ctx, RunStart{RunID: "r1", Job: "nightly", StartedAt: t0}))
	if err := l.StartRun(ctx, RunStart{RunID: "r2", Job: "nightly", StartedAt: t0}); !errors.Is(err, ErrUnfinished) || !strings.Contains(err.Error(), "r1") {
		t.Errorf("second run: %v", err)
	}
	must(t, l.StartRun(ctx, RunStart{RunID: "r2", Job: "other", StartedAt: t0}))
	if err := l.FinishRun(ctx, "r1", at(1), finding.Clean, nil, 0); err == nil {
		t.Error("a run without a plan was finished")
	}
	run, err := l.Run(ctx, "r1")
	must(t, err)
	if run.Verdict != "" || run.FinishedAt != nil {
		t.Errorf("unfinished run reads %+v", run)
	}
	if _, err := l.Run(ctx, "r3"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown run: %v", err)
	}
}

func TestSpansAreRecordedOnce(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "a", "b", 1, 2))
	must(t, l.FinishSpan(ctx, "r1", 0, at(1), verified(finding.Clean)))
	for _, n := range []int{0, 1} {
		if err := l.FinishSpan(ctx, "r1", n, at(2), verified(finding.Discrepancies)); !errors.Is(err, ErrNotFound) {
			t.Errorf("span %d: %v", n, err)
		}
	}
	run, err := l.Run(ctx, "r1")
	must(t, err)
	if got := run.Timelines[0].Spans[0].Verdict; got != finding.Clean {
		t.Errorf("verdict %s", got)
	}
}

func TestInfiniteRatesAreNoError(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "a", "b", 1, 2))
	v := verified(finding.Clean)
	v.Timing = finding.Timing{WallSeconds: math.NaN(), WALMBPerSecond: math.Inf(1)}
	must(t, l.FinishSpan(ctx, "r1", 0, at(1), v))
}

func disc(id string, s finding.Severity) finding.Discrepancy {
	return finding.Discrepancy{ID: id, Kind: finding.LostWrite, Severity: s, ByteRanges: [][2]int{}}
}

// states are the discrepancies' states by id.
func states(t *testing.T, l *Ledger) map[string]string {
	t.Helper()
	list, err := l.Discrepancies(ctx, DiscrepancyFilter{})
	must(t, err)
	out := map[string]string{}
	for _, d := range list {
		out[d.ID] = d.State
	}
	return out
}

func TestDiscrepanciesOpenAndGo(t *testing.T) {
	l := openTest(t)
	night, minute := 0, 0
	run := func(vs map[string]finding.Verification) {
		t.Helper()
		night++
		minute += 10
		id := fmt.Sprintf("r%d", night)
		var spans []Span
		var results []finding.Verification
		for official, v := range vs {
			spans = append(spans, plannedSpan(len(spans), "base of "+official, official, 1, 2))
			results = append(results, v)
		}
		startPlanned(t, l, id, at(minute), spans...)
		for i, v := range results {
			must(t, l.FinishSpan(ctx, id, i, at(minute+1), v))
		}
		finish(t, l, id, at(minute+2))
	}
	want := func(want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, states(t, l)); diff != "" {
			t.Errorf("night %d: %s", night, diff)
		}
	}
	a, b := disc("a", finding.Critical), disc("b", finding.Warning)
	run(map[string]finding.Verification{"S2": verified(finding.Discrepancies, a, b), "S3": verified(finding.Discrepancies, a)})
	want(map[string]string{"a": StateOpen, "b": StateOpen})

	unsure := verified(finding.Inconclusive)
	tainted := verified(finding.Clean)
	tainted.Coverage.BlocksTainted = 1
	sampled := verified(finding.Clean)
	sampled.Coverage.BlocksSkipped = 1
	partial := verified(finding.Discrepancies)
	partial.Reasons = []string{"the source went away"}
	cut := verified(finding.Discrepancies)
	cut.DiscrepancyCounts.Critical = 2000
	for _, v := range []finding.Verification{unsure, tainted, sampled, cut, partial} {
		run(map[string]finding.Verification{"S2": v})
		want(map[string]string{"a": StateOpen, "b": StateOpen})
	}

	run(map[string]finding.Verification{"S2": verified(finding.Clean)}) // a is still in S3
	want(map[string]string{"a": StateOpen, "b": StateGone})
	run(map[string]finding.Verification{"S2": verified(finding.Discrepancies, b)})
	want(map[string]string{"a": StateOpen, "b": StateOpen})

	must(t, l.KeepSnapshots(ctx, key.Tenant, key.Timeline, at(500), nil)) // an empty listing proves nothing
	want(map[string]string{"a": StateOpen, "b": StateOpen})
	must(t, l.KeepSnapshots(ctx, key.Tenant, "another", at(500), []string{"S9"}))
	want(map[string]string{"a": StateOpen, "b": StateOpen})
	must(t, l.KeepSnapshots(ctx, key.Tenant, key.Timeline, at(500), []string{"S2", "S4"}))
	want(map[string]string{"a": StateGone, "b": StateOpen})

	list, err := l.Discrepancies(ctx, DiscrepancyFilter{State: StateOpen, Severity: finding.Warning, Kind: finding.LostWrite, Tenant: key.Tenant, Timeline: key.Timeline, Text: "B", Limit: 1})
	must(t, err)
	wantB := []Discrepancy{{Discrepancy: b, Tenant: "ten", Timeline: "main", State: StateOpen, FirstSeen: at(11), FirstRunID: "r1", LastSeen: at(81), LastRunID: "r8"}}
	if diff := cmp.Diff(wantB, list); diff != "" {
		t.Errorf("open warnings: %s", diff)
	}
	counts, err := l.OpenCounts(ctx)
	must(t, err)
	if diff := cmp.Diff([]OpenCount{{finding.LostWrite, finding.Warning, 1}}, counts); diff != "" {
		t.Error(diff)
	}
	gone, err := l.Discrepancies(ctx, DiscrepancyFilter{State: StateGone})
	must(t, err)
	if len(gone) != 1 || gone[0].GoneAt == nil || !gone[0].GoneAt.Equal(at(500)) {
		t.Errorf("gone: %+v", gone)
	}
	tl, err := l.Timelines(ctx, "nightly")
	must(t, err)
	if tl[0].OpenDiscrepancies != 1 {
		t.Errorf("open of the timeline: %d", tl[0].OpenDiscrepancies)
	}
}

func TestTimelineIsVerifiedOnceAllItsSpansAre(t *testing.T) {
	l := openTest(t)
	state := func() TimelineState {
		t.Helper()
		list, err := l.Timelines(ctx, "nightly")
		must(t, err)
		if len(list) != 1 {
			t.Fatalf("timelines: %+v", list)
		}
		return list[0]
	}
	must(t, l.SeeTimelines(ctx, t0, []Timeline{{TimelineKey: key, Shadow: true}}))
	if s := state(); !s.Shadow || !s.FirstSeen.Equal(t0) || s.RunsWaited != 0 {
		t.Errorf("seen: %+v", s)
	}
	must(t, l.SeeTimelines(ctx, at(1), []Timeline{{TimelineKey: key}}))
	must(t, l.StartRun(ctx, RunStart{RunID: "r0", Job: "nightly", StartedAt: at(2)}))
	must(t, l.SavePlan(ctx, "r0", at(2), Plan{}))
	must(t, l.FinishRun(ctx, "r0", at(3), finding.Inconclusive, nil, 0))
	if s := state(); s.RunsWaited != 1 || s.Shadow || !s.LastSeen.Equal(at(1)) || !s.LastPickedAt.IsZero() {
		t.Errorf("waited: %+v", s)
	}

	first, second := plannedSpan(0, "a", "b", 1, 0x200), plannedSpan(1, "b", "c", 0x200, 0x10000)
	second.Deferred = "beyond the limit"
	startPlanned(t, l, "r1", at(10), first, second)
	must(t, l.FinishSpan(ctx, "r1", 0, at(11), verified(finding.Clean)))
	finish(t, l, "r1", at(12))
	if s := state(); !s.LastVerifiedAt.IsZero() || s.PicksInVain != 0 || s.RunsWaited != 0 {
		t.Errorf("after half: %+v", s)
	}
	first.Deferred, second.Deferred = "beyond the limit", ""
	startPlanned(t, l, "r2", at(20), first, second)
	must(t, l.FinishSpan(ctx, "r2", 1, at(21), verified(finding.Discrepancies, disc("x", finding.Critical))))
	finish(t, l, "r2", at(22))
	if s := state(); !s.LastVerifiedAt.Equal(at(11)) || s.LastVerifiedLSN != 0x10000 || s.PicksInVain != 0 || !s.LastPickedAt.Equal(at(20)) {
		t.Errorf("after both: %+v", s)
	}
	first.Deferred = ""
	startPlanned(t, l, "r3", at(30), first, second)
	must(t, l.FinishSpan(ctx, "r3", 0, at(31), verified(finding.Inconclusive)))
	must(t, l.FinishSpan(ctx, "r3", 1, at(32), verified(finding.Clean)))
	finish(t, l, "r3", at(33))
	if s := state(); !s.LastVerifiedAt.Equal(at(11)) || s.Scan == nil || !s.ScannedAt.Equal(at(33)) {
		t.Errorf("after an inconclusive night: %+v", s)
	}
}

func TestJobsAccountForTheirTicks(t *testing.T) {
	l := openTest(t)
	s, err := l.Job(ctx, "nightly")
	must(t, err)
	if diff := cmp.Diff(JobState{Job: "nightly"}, s); diff != "" {
		t.Error(diff)
	}
	must(t, l.MissRuns(ctx, "nightly", 0, at(0)))
	must(t, l.StartRun(ctx, RunStart{RunID: "r1", Job: "nightly", StartedAt: at(11), Tick: at(10)}))
	must(t, l.MissRuns(ctx, "nightly", 3, at(40)))
	must(t, l.MissRuns(ctx, "nightly", 1, at(30))) // time does not go back
	must(t, l.SavePlan(ctx, "r1", at(12), Plan{}))
	must(t, l.FinishRun(ctx, "r1", at(50), finding.Inconclusive, []string{"no timelines"}, 0))
	jobs, err := l.Jobs(ctx)
	must(t, err)
	end := at(50)
	want := []JobState{{Job: "nightly", MissedRuns: 4, AccountedUntil: at(40), LastRun: &finding.Run{
		ID: "r1", Job: "nightly", StartedAt: at(11), FinishedAt: &end, Verdict: finding.Inconclusive, Reasons: []string{"no timelines"},
	}}}
	if diff := cmp.Diff(want, jobs); diff != "" {
		t.Errorf("jobs: %s", diff)
	}
}

func TestSegmentsAreRemembered(t *testing.T) {
	l := openTest(t)
	a := Segment{"000000010000000000000001.zst", 17, `"etag"`, t0, []byte{0, 1, 2}}
	b := Segment{"000000010000000000000002", 16 << 20, "", at(1), nil}
	must(t, l.RememberSegments(ctx, "ten", "main", t0, b, a))
	got, err := l.Segments(ctx, "ten", "main")
	must(t, err)
	if diff := cmp.Diff([]Segment{a, b}, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	a.Size = 18
	must(t, l.RememberSegments(ctx, "ten", "main", t0, a))
	one, ok, err := l.Segment(ctx, "ten", "main", a.Name)
	must(t, err)
	if diff := cmp.Diff(a, one); !ok || diff != "" {
		t.Error(ok, diff)
	}
	if !one.Unchanged(18, `"etag"`, t0.Local()) || one.Unchanged(17, `"etag"`, t0) || one.Unchanged(18, "", t0) || one.Unchanged(18, `"etag"`, at(1)) {
		t.Error("Unchanged")
	}
	must(t, l.ForgetSegments(ctx, "ten", "main", a.Name))
	if _, ok, err := l.Segment(ctx, "ten", "main", a.Name); ok || err != nil {
		t.Errorf("forgotten segment: %v, %v", ok, err)
	}
	if _, ok, err := l.Segment(ctx, "ten", "other", b.Name); ok || err != nil {
		t.Errorf("another timeline's segment: %v, %v", ok, err)
	}
}

func TestLockJob(t *testing.T) {
	l := openTest(t)
	lock, err := l.LockJob("../nightly")
	must(t, err)
	if _, err := l.LockJob("../nightly"); !errors.Is(err, ErrRunning) {
		t.Errorf("second lock: %v", err)
	}
	other, err := l.LockJob("other")
	must(t, err)
	must(t, other.Release())
	must(t, lock.Release())
	lock, err = l.LockJob("../nightly")
	must(t, err)
	must(t, lock.Release())
}

func TestCancelledContextWritesNothing(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "a", "b", 1, 2))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.FinishSpan(cancelled, "r1", 0, at(1), verified(finding.Clean)); !errors.Is(err, context.Canceled) {
		t.Errorf("recorded: %v", err)
	}
	spans, _, err := l.Remaining(ctx, "r1")
	must(t, err)
	if len(spans) != 1 {
		t.Error("the span counts as finished")
	}
}

func TestFilesArePrivate(t *testing.T) {
	l := openTest(t)
	must(t, l.SeeTimelines(ctx, t0, []Timeline{{TimelineKey: key}}))
	lock, err := l.LockJob("nightly")
	must(t, err)
	must(t, lock.Release())
	files, err := os.ReadDir(filepath.Dir(l.Path()))
	must(t, err)
	if len(files) < 4 { // ledger.db, -wal, -shm, lock
		t.Errorf("files: %v", files)
	}
	for _, f := range files {
		info, err := f.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
}

func TestRowsCannotContradictEachOther(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "a", "b", 1, 2))
	for _, stmt := range []string{
		"UPDATE runs SET verdict = 'clean'",
		"UPDATE spans SET state = 'finished'",
		"UPDATE spans SET verdict = 'clean'",
		"INSERT INTO picks (run_id, ordinal, source, tenant, timeline) VALUES ('none', 0, '', '', '')",
		"DELETE FROM picks",
	} {
		if _, err := l.write.Exec(stmt); err == nil {
			t.Errorf("accepted: %s", stmt)
		}
	}
	if _, err := l.read.Exec("DELETE FROM spans"); err == nil {
		t.Error("a reading connection wrote")
	}
	var n int
	if err := l.read.QueryRow("SELECT count(*) FROM spans").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d spans, %v", n, err)
	}
}
