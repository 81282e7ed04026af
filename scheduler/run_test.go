package scheduler

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

var background = context.Background()

func withoutStack(reason string) string {
	text, _, _ := strings.Cut(reason, "; please report it with this stack: ")
	return text
}

func TestRun(t *testing.T) {
	r, l := newRunner(t, catalogOf(3, 4), verifyFake)
	run, err := r.Run(background, testJob(), Options{})
	must(t, err)
	var got []string
	for _, tl := range run.Timelines {
		for _, v := range tl.Spans {
			line := fmt.Sprintf("%s %s %s %s", tl.Tenant, v.Span, v.Engine, v.Verdict)
			for _, reason := range v.Reasons {
				line += " " + withoutStack(reason)
			}
			got = append(got, line)
		}
		got = append(got, fmt.Sprintf("%s scan %d of %d", tl.Tenant, tl.Scan.Present, tl.Scan.Expected))
	}
	want := []string{
		"tenant000 [0/1000, 0/2000) native inconclusive a bug stopped it: panic: a bug",
		"tenant000 [0/2000, 0/3000) fake clean",
		"tenant000 [0/3000, 0/4000) fake clean",
		"tenant000 scan 3 of 3",
		"tenant001 [0/1000, 0/2000) fake clean",
		"tenant001 [0/2000, 0/3000) fake inconclusive no such backup",
		"tenant001 [0/3000, 0/4000) fake clean",
		"tenant001 scan 2 of 3",
		"tenant002 [0/1000, 0/2000) fake discrepancies",
		"tenant002 [0/2000, 0/3000) fake clean",
		"tenant002 [0/3000, 0/4000) fake clean",
		"tenant002 scan 3 of 3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if run.Verdict != finding.Findings || run.FinishedAt == nil || len(run.Reasons) != 2 {
		t.Errorf("verdict %s at %v: %q", run.Verdict, run.FinishedAt, run.Reasons)
	}
	bug := run.Timelines[0].Spans[0].Reasons[0]
	if !strings.Contains(bug, "verifyFake") || strings.Contains(bug, "\n") {
		t.Errorf("a panic's reason: %s", bug)
	}
	again, err := l.Run(background, run.ID)
	must(t, err)
	sameRun(t, "in the ledger", run, again)
}

func TestSameSeedSamePicks(t *testing.T) {
	job := testJob()
	job.Timelines = 4
	keys := func(run finding.Run) (out []string) {
		for _, tl := range run.Timelines {
			out = append(out, tl.Tenant)
		}
		return out
	}
	r, _ := newRunner(t, catalogOf(30, 3), allClean)
	first, err := r.Run(background, job, seedOf(99))
	must(t, err)
	other, _ := newRunner(t, catalogOf(30, 3), allClean)
	same, err := other.Run(background, job, seedOf(99))
	must(t, err)
	if diff := cmp.Diff(keys(first), keys(same)); diff != "" || first.Seed != 99 {
		t.Errorf("seed %d, another ledger: %s", first.Seed, diff)
	}
	for range 3 { // nights change what the ledger knows, and so the weights
		run, err := r.Run(background, job, Options{})
		must(t, err)
		if cmp.Equal(keys(run), keys(first)) {
			t.Error("another seed, the same picks")
		}
	}
	again, err := r.Run(background, job, seedOf(99))
	must(t, err)
	if diff := cmp.Diff(keys(first), keys(again)); diff != "" {
		t.Errorf("the seed does not repeat the night: %s", diff)
	}
	r.Catalog = catalogOf(1, 3)
	gone, err := r.Run(background, job, seedOf(99))
	must(t, err)
	if gone.Verdict != finding.Inconclusive || !strings.Contains(strings.Join(gone.Reasons, "\n"), "is not there any more") {
		t.Errorf("picks that are gone: %s, %q", gone.Verdict, gone.Reasons)
	}
}

// TestNobodyStarvesInTheLedger runs many nights on a real ledger.
func TestNobodyStarvesInTheLedger(t *testing.T) {
	const timelines, perRun, patience = 7, 2, 2
	job := testJob()
	job.Timelines, job.Patience = perRun, patience
	r, _ := newRunner(t, catalogOf(timelines, 2), func(_ context.Context, s SpanSpec) (finding.Verification, error) {
		if s.Tenant < keyN(3).Tenant {
			return finding.Verification{}, errors.New("hopeless")
		}
		return finding.Verification{Verdict: finding.Clean, Span: s.Range}, nil
	})
	last := map[string]int{}
	for night := range 40 {
		run, err := r.Run(background, job, seedOf(int64(night)))
		must(t, err)
		for _, tl := range run.Timelines {
			last[tl.Tenant] = night
		}
		for i := range timelines {
			if wait := night - last[keyN(i).Tenant]; wait > (patience+1)*4 {
				t.Fatalf("night %d: %s waits for %d runs", night, keyN(i).Tenant, wait)
			}
		}
	}
}

func TestParallelismIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		r, l := bubbleRunner(t, catalogOf(3, 5), func(ctx context.Context, s SpanSpec) (finding.Verification, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Hour)
			return allClean(ctx, s)
		})
		defer closeLedger(t, l)
		job := testJob()
		job.ParallelSpans = 3
		start := time.Now()
		_, err := r.Run(background, job, Options{})
		must(t, err)
		if took := time.Since(start); most.Load() != 3 || took != 4*time.Hour {
			t.Errorf("12 spans of an hour, 3 at once: %d at once, %v", most.Load(), took)
		}
	})
}

// bubbleRunner is newRunner for a synctest bubble, in which the ledger must be closed.
func bubbleRunner(t *testing.T, c Catalog, v Verifier) (*Runner, *ledger.Ledger) {
	t.Helper()
	l := openLedger(t, filepath.Join(t.TempDir(), "ledger.db"))
	return &Runner{Store: l, Catalog: c, Verify: v, Scan: scanFake}, l
}

func closeLedger(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	must(t, l.Close())
}

func TestTransientErrorsAreRetried(t *testing.T) {
	for _, tc := range []struct {
		name     string
		failures int
		err      error
		attempts int
		verdict  finding.Verdict
		min, max time.Duration
	}{
		{"none", 0, nil, 1, finding.Clean, 0, 0},
		{"passing", 2, fmt.Errorf("read: %w", unreachable{}), 3, finding.Clean, 1500 * time.Millisecond, 3 * time.Second},
		{"lasting", 9, unreachable{}, 3, finding.Inconclusive, 1500 * time.Millisecond, 3 * time.Second},
		{"for good", 9, errors.New("no such file"), 1, finding.Inconclusive, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				r, l := bubbleRunner(t, catalogOf(1, 2), func(ctx context.Context, s SpanSpec) (finding.Verification, error) {
					if calls++; calls <= tc.failures {
						return finding.Verification{}, tc.err
					}
					return allClean(ctx, s)
				})
				defer closeLedger(t, l)
				start := time.Now()
				run, err := r.Run(background, testJob(), Options{})
				must(t, err)
				took := time.Since(start)
				v := run.Timelines[0].Spans[0]
				if calls != tc.attempts || run.Verdict != tc.verdict || took < tc.min || took > tc.max {
					t.Errorf("%d attempts in %v, verdict %s: %q", calls, took, run.Verdict, v.Reasons)
				}
				if tc.verdict == finding.Inconclusive && !strings.Contains(strings.Join(v.Reasons, "\n"), tc.err.Error()) {
					t.Errorf("reasons %q", v.Reasons)
				}
			})
		})
	}
}

func TestWaitsGrowAndAreBounded(t *testing.T) {
	r := Retries{Attempts: 60, FirstWait: time.Second, MaxWait: 10 * time.Second}
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 59: 10 * time.Second} {
		for range 100 {
			if got := r.wait(n); got > want || got < want/2 {
				t.Fatalf("wait %d: %v, want up to %v", n, got, want)
			}
		}
	}
	if got := (Retries{}).wait(3); got != 0 {
		t.Errorf("wait of nothing: %v", got)
	}
}

func TestTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := bubbleRunner(t, catalogOf(1, 6), func(ctx context.Context, s SpanSpec) (finding.Verification, error) {
			select {
			case <-time.After(90 * time.Minute):
				return allClean(ctx, s)
			case <-ctx.Done():
				d := finding.Discrepancy{ID: "x", Severity: finding.Critical}
				return finding.Verification{Verdict: finding.Discrepancies, Discrepancies: []finding.Discrepancy{d},
					DiscrepancyCounts: finding.DiscrepancyCounts{Critical: 1}, Span: s.Range}, ctx.Err()
			}
		})
		defer closeLedger(t, l)
		job := testJob()
		job.ParallelSpans, job.Duration = 1, 4*time.Hour
		start := time.Now()
		run, err := r.Run(background, job, Options{})
		must(t, err)
		if took := time.Since(start); took != 4*time.Hour {
			t.Errorf("took %v", took)
		}
		texts := map[string]int{}
		for _, v := range run.Timelines[0].Spans {
			texts[string(v.Verdict)+": "+strings.Join(v.Reasons, "; ")]++
		}
		want := map[string]int{
			"clean: ": 2,
			"discrepancies: not verified in this run: it was cancelled: the job's time limit of 4h0m0s was reached": 1,
			"inconclusive: not verified in this run: it was not begun: the job's time limit of 4h0m0s was reached":  2,
		}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
		if run.Verdict != finding.Findings { // what was found before the end stays found
			t.Errorf("verdict %s", run.Verdict)
		}
	})
}

func TestWALLimit(t *testing.T) {
	job := testJob()
	job.WALBytes = 0x1800
	var verified atomic.Int32
	r, _ := newRunner(t, catalogOf(1, 6), func(ctx context.Context, s SpanSpec) (finding.Verification, error) {
		verified.Add(1)
		return allClean(ctx, s)
	})
	run, err := r.Run(background, job, Options{})
	must(t, err)
	if verified.Load() != 2 || len(run.Timelines[0].Spans) != 5 || run.Verdict != finding.Inconclusive {
		t.Errorf("%d verified of %d, verdict %s", verified.Load(), len(run.Timelines[0].Spans), run.Verdict)
	}
	if len(run.Reasons) != 3 || !strings.Contains(run.Reasons[0], "the job's limit of 6.0 KiB of WAL was reached") {
		t.Errorf("reasons %q", run.Reasons)
	}
}

func TestNothingToCheckIsInconclusive(t *testing.T) {
	shadow := catalogOf(1, 3)
	shadow.timelines[0].Shadow = true
	problem := catalogOf(2, 3)
	problem.problems = []Problem{{"src2", "access denied"}}
	failing := catalogOf(2, 3)
	failing.err = errors.New("no network")
	double := catalogOf(1, 3)
	double.timelines = append(double.timelines, ledger.Timeline{TimelineKey: ledger.TimelineKey{Source: "zzz", Tenant: keyN(0).Tenant, Timeline: "main"}})
	other := catalogOf(2, 3)
	for _, tc := range []struct {
		name    string
		catalog *fakeCatalog
		sources []string
		want    string
	}{
		{"no timelines", catalogOf(0, 3), nil, "no timeline was picked"},
		{"only shadows", shadow, nil, "no timeline was picked"},
		{"no listing", failing, nil, "list timelines: no network"},
		{"one source out of reach", problem, nil, "source src2: access denied"},
		{"one snapshot", catalogOf(1, 1), nil, "tenant000/main: only one snapshot, S1"},
		{"no snapshots", catalogOf(1, 0), nil, "tenant000/main: no snapshot"},
		{"a timeline in two sources", double, nil, "source zzz: tenant000/main is in source src too"},
		{"none of the job's source", other, []string{"another"}, "no timeline was picked"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _ := newRunner(t, tc.catalog, allClean)
			r.Scan = func(_ context.Context, s ScanSpec) (finding.ScanTimeline, error) { return finding.ScanTimeline{}, nil }
			job := testJob()
			job.Sources = tc.sources
			run, err := r.Run(background, job, Options{})
			must(t, err)
			if run.Verdict != finding.Inconclusive || !strings.Contains(strings.Join(run.Reasons, "\n"), tc.want) {
				t.Errorf("verdict %s: %q", run.Verdict, run.Reasons)
			}
		})
	}
}

func TestFailingScanIsAReason(t *testing.T) {
	r, _ := newRunner(t, catalogOf(2, 2), allClean)
	r.Scan = func(_ context.Context, s ScanSpec) (finding.ScanTimeline, error) {
		if s.Tenant == keyN(0).Tenant {
			panic("a bug")
		}
		return finding.ScanTimeline{Present: 7}, errors.New("listing broke off")
	}
	run, err := r.Run(background, testJob(), Options{})
	must(t, err)
	if run.Verdict != finding.Inconclusive || len(run.Reasons) != 2 || run.Timelines[1].Scan.Present != 7 ||
		run.Reasons[1] != "tenant001/main: scan: listing broke off" || !strings.Contains(run.Reasons[0], "panic: a bug") {
		t.Errorf("%s: %q", run.Verdict, run.Reasons)
	}
}

func TestRunsDoNotOverlap(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	r, l := newRunner(t, catalogOf(1, 2), func(ctx context.Context, s SpanSpec) (finding.Verification, error) {
		close(inside)
		<-release
		return allClean(ctx, s)
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := r.Run(background, testJob(), Options{})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	if _, err := r.Run(background, testJob(), Options{}); !errors.Is(err, ledger.ErrRunning) {
		t.Errorf("second run: %v", err)
	}
	close(release)
	wg.Wait()
	if runs, err := l.Runs(background, ledger.RunFilter{}); err != nil || len(runs) != 1 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
}

// TestCancelledRunIsResumed stops a run in each of its spans, in turn, and compares with an undisturbed one.
func TestCancelledRunIsResumed(t *testing.T) {
	undisturbed, _ := newRunner(t, catalogOf(3, 4), verifyFake)
	want, err := undisturbed.Run(background, testJob(), seedOf(5))
	must(t, err)
	for stopAt := range int32(9) {
		var calls atomic.Int32
		ctx, cancel := context.WithCancel(background)
		finished := map[string]int{}
		var mu sync.Mutex
		r, l := newRunner(t, catalogOf(3, 4), nil)
		r.Events.SpanFinished = func(s SpanSpec, _ finding.Verification) {
			mu.Lock()
			defer mu.Unlock()
			finished[s.Tenant+s.Base]++
		}
		r.Verify = func(c context.Context, s SpanSpec) (finding.Verification, error) {
			if calls.Add(1) == stopAt+1 {
				cancel()
			}
			return verifyFake(c, s) // finds to its end, but too late
		}
		if _, err := r.Run(ctx, testJob(), seedOf(5)); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at span %d: %v", stopAt, err)
		}
		u, err := l.Unfinished(background, "nightly")
		must(t, err)
		spans, _, err := l.Remaining(background, u.RunID)
		must(t, err)
		if len(spans) != 9-len(finished) || len(spans) == 0 {
			t.Errorf("stopped at span %d: %d are left, %d are finished", stopAt, len(spans), len(finished))
		}
		if _, err := r.Run(background, testJob(), seedOf(6)); !errors.Is(err, ErrOtherSeed) {
			t.Errorf("another seed: %v", err)
		}
		got, err := r.Run(background, testJob(), Options{})
		must(t, err)
		sameRun(t, fmt.Sprintf("resumed after span %d", stopAt), want, got)
		if got.ID != u.RunID || got.Seed != 5 || len(finished) != 9 {
			t.Errorf("resumed as %s, seed %d, with %d spans", got.ID, got.Seed, len(finished))
		}
		for span, n := range finished {
			if n != 1 {
				t.Errorf("span %s was verified %d times", span, n)
			}
		}
		cancel()
	}
}

// TestEveryLedgerCallMayFail fails the first call, then the second, … until a run succeeds; each is resumed to the same end.
func TestEveryLedgerCallMayFail(t *testing.T) {
	undisturbed, _ := newRunner(t, catalogOf(2, 3), verifyFake)
	job := testJob()
	job.ParallelSpans = 1
	want, err := undisturbed.Run(background, job, seedOf(5))
	must(t, err)
	for i := 0; ; i++ {
		r, l := newRunner(t, catalogOf(2, 3), verifyFake)
		store := &failingStore{Ledger: l, left: i}
		r.Store = store
		run, err := r.Run(background, job, seedOf(5))
		if !store.failed {
			must(t, err)
			sameRun(t, "undisturbed", want, run)
			if i < 12 {
				t.Errorf("a run makes only %d calls", i)
			}
			return
		}
		if !errors.Is(err, errInjected) {
			t.Fatalf("call %d failed: %v", i, err)
		}
		got, err := r.Run(background, job, seedOf(5))
		must(t, err)
		sameRun(t, fmt.Sprintf("resumed after call %d", i), want, got)
		if runs, err := l.Runs(background, ledger.RunFilter{}); err != nil || len(runs) < 1 || slices.ContainsFunc(runs, func(r finding.Run) bool { return r.FinishedAt == nil }) {
			t.Errorf("call %d: runs %+v, %v", i, runs, err)
		}
	}
}

const childEnv = "REDOUBT_SCHEDULER_CHILD"

// child does one run, slowly, and prints each finished span, when the environment names a ledger.
func child() bool {
	path := os.Getenv(childEnv)
	if path == "" {
		return false
	}
	fmt.Println("up")
	l, err := ledger.Open(path)
	if err == nil {
		r := &Runner{Store: l, Catalog: catalogOf(3, 4), Scan: scanFake, Verify: func(ctx context.Context, s SpanSpec) (finding.Verification, error) {
			time.Sleep(3 * time.Millisecond)
			return verifyFake(ctx, s)
		}}
		r.Events.SpanFinished = func(s SpanSpec, _ finding.Verification) { fmt.Println(s.Tenant, s.Base) }
		_, err = r.Run(background, testJob(), seedOf(5))
	}
	fmt.Println("end", err)
	return true
}

// TestKilledRunIsResumed kills the process of a run at random, again and
// again until it comes to its end, and compares with an undisturbed one.
func TestKilledRunIsResumed(t *testing.T) {
	undisturbed, _ := newRunner(t, catalogOf(3, 4), verifyFake)
	want, err := undisturbed.Run(background, testJob(), seedOf(5))
	must(t, err)
	rng := rand.New(rand.NewPCG(1, 1))
	kills := 0
	for range 4 {
		path := filepath.Join(t.TempDir(), "ledger.db")
		finished := map[string]int{}
		for attempt := 0; ; attempt++ {
			// Longer each time, so that a slow machine comes to the end too.
			delay := time.Duration(rng.IntN(40)+5*attempt) * time.Millisecond
			killed := killedRun(t, path, delay, finished)
			if !killed || runIsFinished(t, path) { // killed before it could say so
				break
			}
			kills++
		}
		l := openLedger(t, path)
		runs, err := l.Runs(background, ledger.RunFilter{})
		must(t, err)
		if len(runs) != 1 {
			t.Fatalf("%d runs", len(runs))
		}
		got, err := l.Run(background, runs[0].ID)
		must(t, err)
		sameRun(t, "killed and resumed", want, got)
		for span, n := range finished {
			if n != 1 {
				t.Errorf("span %s was finished %d times", span, n)
			}
		}
		must(t, l.Close())
	}
	if kills == 0 {
		t.Error("no run was killed: nothing was tested")
	}
	t.Logf("4 runs, killed %d times in all", kills)
}

// killedRun runs the child and kills it that long after it is up. It counts the spans that the child says are finished.
func killedRun(t *testing.T, path string, delay time.Duration, finished map[string]int) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch text := lines.Text(); {
		case text == "up":
			defer time.AfterFunc(delay, func() { _ = cmd.Process.Kill() }).Stop()
		case text != "end <nil>" && strings.HasPrefix(text, "end"):
			t.Fatal(text)
		case text != "end <nil>":
			finished[text]++
		}
	}
	return cmd.Wait() != nil
}

func runIsFinished(t *testing.T, path string) bool {
	t.Helper()
	l := openLedger(t, path)
	defer func() { must(t, l.Close()) }()
	runs, err := l.Runs(background, ledger.RunFilter{})
	must(t, err)
	return len(runs) > 0 && runs[0].FinishedAt != nil
}
