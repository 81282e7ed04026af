package scheduler

import (
	"slices"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// TestShadowsAreNeverPicked has an archive that holds WAL of a timeline that
// recovery made, which nothing but the ledger tells: neither a new draw nor
// the repetition of an old one may take it.
func TestShadowsAreNeverPicked(t *testing.T) {
	r, l := newRunner(t, catalogOf(3, 2), allClean)
	shadow := keyN(1)
	picked := func(run finding.Run) bool {
		return slices.ContainsFunc(run.Timelines, func(rt finding.RunTimeline) bool { return rt.Tenant == shadow.Tenant })
	}
	job := testJob()
	must(t, l.StartRecovery(background, ledger.Recovery{TimelineKey: shadow, Ancestor: "other", Base: "initdb", BaseLSN: 1, Directory: "/r", CreatedAt: time.Now()}))
	must(t, l.FinishRecovery(background, shadow.Tenant, shadow.Timeline, time.Now(), 9, 9, ""))
	for seed := range int64(5) {
		run, err := r.Run(background, job, seedOf(seed))
		must(t, err)
		if picked(run) || len(run.Timelines) != 2 {
			t.Errorf("seed %d: picked %+v", seed, run.Timelines)
		}
		again, err := r.Run(background, job, seedOf(seed))
		must(t, err)
		if picked(again) {
			t.Errorf("seed %d, again: picked %+v", seed, again.Timelines)
		}
	}
	must(t, l.StartDelete(background, shadow.Tenant, shadow.Timeline))
	must(t, l.FinishDelete(background, shadow.Tenant, shadow.Timeline))
	if run, err := r.Run(background, job, seedOf(77)); err != nil || picked(run) {
		t.Errorf("after deletion: %+v, %v", run.Timelines, err)
	}
}
