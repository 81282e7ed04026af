package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"redoubt/internal/finding"
)

func TestSpansPast(t *testing.T) {
	l := openTest(t)
	first, second, third := plannedSpan(0, "a", "b", 1, 0x200), plannedSpan(1, "b", "c", 0x200, 0x10000), plannedSpan(2, "c", "d", 0x10000, 0x20000)
	third.Deferred = "beyond the limit"
	startPlanned(t, l, "r1", at(10), first, second, third)
	clean := verified(finding.Clean)
	clean.WAL.Bytes, clean.Coverage.BlocksCompared, clean.Coverage.BlocksUntouchedCompared = 100, 7, 5
	clean.Timing.WallSeconds, clean.Timing.ScratchBytes = 1.5, 30
	must(t, l.FinishSpan(ctx, "r1", 0, at(11), clean))
	must(t, l.FinishSpan(ctx, "r1", 1, at(12), verified(finding.Inconclusive)))
	finish(t, l, "r1", at(13))
	startPlanned(t, l, "r2", at(20), first, second)
	must(t, l.FinishSpan(ctx, "r2", 0, at(21), verified(finding.Inconclusive)))
	must(t, l.FinishSpan(ctx, "r2", 1, at(22), verified(finding.Inconclusive)))
	finish(t, l, "r2", at(23))

	past, err := l.SpansPast(ctx, key.Tenant, key.Timeline)
	must(t, err)
	for i, want := range []SpanPast{{2, at(21), true}, {2, at(22), false}, {}} {
		name := []SpanName{{"a", "b"}, {"b", "c"}, {"c", "d"}}[i]
		if got := past[name]; got.Attempts != want.Attempts || !got.LastAttempt.Equal(want.LastAttempt) || got.Verified != want.Verified {
			t.Errorf("%v: %+v, want %+v", name, got, want)
		}
	}
	costs, err := l.SpanCosts(ctx, 10)
	must(t, err)
	want := []SpanCost{{Tenant: key.Tenant, Timeline: key.Timeline, WALBytes: 100, Blocks: 12, WallSeconds: 1.5, ScratchBytes: 30}}
	if diff := cmp.Diff(want, costs); diff != "" {
		t.Errorf("costs -want +got:\n%s", diff)
	}
}

// TestPutOffPickGoesOnWaiting: a timeline for which a run has no room was not picked.
func TestPutOffPickGoesOnWaiting(t *testing.T) {
	l := openTest(t)
	must(t, l.SeeTimelines(ctx, t0, []Timeline{{TimelineKey: key}}))
	must(t, l.StartRun(ctx, RunStart{RunID: "r1", Job: "nightly", StartedAt: at(10)}))
	must(t, l.SavePlan(ctx, "r1", at(10), Plan{Picks: []Pick{{TimelineKey: key, PutOff: true}}}))
	list, err := l.Timelines(ctx, "nightly")
	must(t, err)
	if got := list[0]; !got.LastPickedAt.IsZero() || got.RunsWaited != 1 || got.PicksInVain != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSightingsOfARangeStay: that an LSN cannot be read any more mends nothing.
func TestSightingsOfARangeStay(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", at(10), plannedSpan(0, "ps@0/1", "ps@0/200", 1, 0x200), plannedSpan(1, "a", "b", 1, 0x200))
	must(t, l.FinishSpan(ctx, "r1", 0, at(11), verified(finding.Discrepancies, disc("ranged", finding.Critical))))
	must(t, l.FinishSpan(ctx, "r1", 1, at(11), verified(finding.Discrepancies, disc("single", finding.Critical))))
	must(t, l.KeepSnapshots(ctx, key.Tenant, key.Timeline, at(12), []string{"ps", "c"}))
	list, err := l.Discrepancies(ctx, DiscrepancyFilter{})
	must(t, err)
	got := map[string]string{}
	for _, d := range list {
		got[d.ID] = d.State
	}
	if diff := cmp.Diff(map[string]string{"ranged": StateOpen, "single": StateGone}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
