package scheduler

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unreachable is an error that says it may pass.
type unreachable struct{}

func (unreachable) Error() string   { return "source unreachable" }
func (unreachable) Transient() bool { return true }

// fakeCatalog has timelines with snapshots at 0x1000, 0x2000, …
type fakeCatalog struct {
	timelines []ledger.Timeline
	problems  []Problem
	snapshots int
	err       error
}

func (c *fakeCatalog) Timelines(context.Context) (Listing, error) {
	return Listing{c.timelines, c.problems}, c.err
}

func (c *fakeCatalog) Snapshots(context.Context, ledger.TimelineKey) ([]Snapshot, error) {
	var out []Snapshot
	for i := range c.snapshots {
		at := pg.LSN(i+1) << 12
		out = append(out, Snapshot{Name: fmt.Sprintf("S%d", i+1), Redo: at, End: at, TLI: 1})
	}
	return out, nil
}

func catalogOf(timelines, snapshots int) *fakeCatalog {
	c := &fakeCatalog{snapshots: snapshots}
	for i := range timelines {
		c.timelines = append(c.timelines, ledger.Timeline{TimelineKey: keyN(i)})
	}
	return c
}

// verifyFake gives each span a verdict of its own, always the same.
func verifyFake(_ context.Context, s SpanSpec) (finding.Verification, error) {
	v := finding.Verification{Verdict: finding.Clean, Span: s.Range, Engine: "fake"}
	switch s.Tenant + s.Base {
	case "tenant002S1":
		d := finding.Discrepancy{ID: s.Tenant + s.Base, Kind: finding.LostWrite, Severity: finding.Critical, ByteRanges: [][2]int{}}
		v.Verdict, v.Discrepancies, v.DiscrepancyCounts.Critical = finding.Discrepancies, []finding.Discrepancy{d}, 1
	case "tenant001S2":
		return v, errors.New("no such backup")
	case "tenant000S1":
		panic("a bug")
	}
	return v, nil
}

func scanFake(_ context.Context, s ScanSpec) (finding.ScanTimeline, error) {
	out := finding.ScanTimeline{Tenant: s.Tenant, Timeline: s.Timeline, TLI: 1, Expected: 3, Present: 3}
	if s.Tenant == keyN(1).Tenant {
		out.Present, out.Gaps = 2, []finding.Gap{{From: 1, To: 2, Segments: []string{"000000010000000000000001"}, Status: "missing"}}
	}
	return out, nil
}

func allClean(_ context.Context, s SpanSpec) (finding.Verification, error) {
	return finding.Verification{Verdict: finding.Clean, Span: s.Range}, nil
}

func testJob() Job {
	return Job{Name: "nightly", Timelines: 3, Patience: 2, ParallelSpans: 2, Engine: "native",
		Retries: Retries{Attempts: 3, FirstWait: time.Second, MaxWait: time.Minute}}
}

func openLedger(t testing.TB, path string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(path)
	must(t, err)
	return l
}

// newRunner has a ledger of its own, closed when the test ends.
func newRunner(t testing.TB, c Catalog, v Verifier) (*Runner, *ledger.Ledger) {
	t.Helper()
	l := openLedger(t, filepath.Join(t.TempDir(), "ledger.db"))
	t.Cleanup(func() { must(t, l.Close()) })
	return &Runner{Store: l, Catalog: c, Verify: v, Scan: scanFake}, l
}

func seedOf(n int64) Options { return Options{Seed: &n} }

// sameRun compares what two runs found, but for when and under which name.
func sameRun(t testing.TB, what string, want, got finding.Run) {
	t.Helper()
	stacks := cmpopts.AcyclicTransformer("stack", func(v finding.Verification) finding.Verification {
		reasons := make([]string, len(v.Reasons))
		for i, r := range v.Reasons {
			reasons[i] = withoutStack(r)
		}
		v.Reasons = reasons
		return v
	})
	diff := cmp.Diff(want, got, stacks, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(finding.Run{}, "ID", "StartedAt", "FinishedAt", "Reasons"))
	if diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// failingStore fails one call: the one before which left others succeeded.
type failingStore struct {
	*ledger.Ledger
	mu     sync.Mutex
	left   int
	failed bool
}

var errInjected = errors.New("disk on fire")

func (s *failingStore) fail() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left--
	if s.left == -1 {
		s.failed = true
		return errInjected
	}
	return nil
}

func (s *failingStore) LockJob(job string) (*ledger.JobLock, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	return s.Ledger.LockJob(job)
}

func (s *failingStore) Unfinished(ctx context.Context, job string) (*ledger.UnfinishedRun, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	return s.Ledger.Unfinished(ctx, job)
}

func (s *failingStore) StartRun(ctx context.Context, r ledger.RunStart) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.StartRun(ctx, r)
}

func (s *failingStore) SeeTimelines(ctx context.Context, at time.Time, timelines []ledger.Timeline) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.SeeTimelines(ctx, at, timelines)
}

func (s *failingStore) Timelines(ctx context.Context, job string) ([]ledger.TimelineState, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	return s.Ledger.Timelines(ctx, job)
}

func (s *failingStore) PicksBySeed(ctx context.Context, job string, seed int64) ([]ledger.TimelineKey, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	return s.Ledger.PicksBySeed(ctx, job, seed)
}

func (s *failingStore) KeepSnapshots(ctx context.Context, tenant, timeline string, at time.Time, names []string) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.KeepSnapshots(ctx, tenant, timeline, at, names)
}

func (s *failingStore) SavePlan(ctx context.Context, runID string, at time.Time, p ledger.Plan) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.SavePlan(ctx, runID, at, p)
}

func (s *failingStore) Remaining(ctx context.Context, runID string) ([]ledger.Span, []ledger.TimelineKey, error) {
	if err := s.fail(); err != nil {
		return nil, nil, err
	}
	return s.Ledger.Remaining(ctx, runID)
}

func (s *failingStore) FinishSpan(ctx context.Context, runID string, span int, at time.Time, v finding.Verification) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.FinishSpan(ctx, runID, span, at, v)
}

func (s *failingStore) FinishScan(ctx context.Context, runID string, at time.Time, scan finding.ScanTimeline) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.FinishScan(ctx, runID, at, scan)
}

func (s *failingStore) ReviseSpans(ctx context.Context, runID string, revise func(before, v *finding.Verification) bool) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.ReviseSpans(ctx, runID, revise)
}

func (s *failingStore) FinishRun(ctx context.Context, runID string, at time.Time, v finding.Verdict, reasons []string, acknowledged int64) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Ledger.FinishRun(ctx, runID, at, v, reasons, acknowledged)
}

func (s *failingStore) Run(ctx context.Context, runID string) (finding.Run, error) {
	if err := s.fail(); err != nil {
		return finding.Run{}, err
	}
	return s.Ledger.Run(ctx, runID)
}
