package scheduler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"redoubt/internal/ledger"
)

// plan picks timelines, cuts them and writes the plan down.
func (b *batch) plan(ctx context.Context) error {
	picks, reasons, err := b.pick(ctx)
	if err != nil {
		return err
	}
	plan := ledger.Plan{Reasons: reasons}
	var spans []ledger.Span
	for _, key := range picks {
		cut, why, err := b.cut(ctx, key)
		if err != nil {
			return err
		}
		spans = append(spans, cut...)
		plan.Picks = append(plan.Picks, ledger.Pick{TimelineKey: key, Reasons: why})
	}
	plan.Spans = Arrange(spans, b.job.WALBytes, b.seed)
	return b.Store.SavePlan(ctx, b.id, time.Now(), plan)
}

// cut lists a timeline's snapshots and cuts it. What stands in the way is a reason; the error is the ledger's or the context's.
func (b *batch) cut(ctx context.Context, key ledger.TimelineKey) ([]ledger.Span, []string, error) {
	snapshots, err := retry(ctx, b.job.Retries, b.transient, func(ctx context.Context) ([]Snapshot, error) {
		return b.Catalog.Snapshots(ctx, key)
	})
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, []string{fmt.Sprintf("list snapshots: %v", err)}, nil
	}
	names := make([]string, len(snapshots))
	for i, s := range snapshots {
		names[i] = s.Name
	}
	if err := b.Store.KeepSnapshots(ctx, key.Tenant, key.Timeline, time.Now(), names); err != nil {
		return nil, nil, err
	}
	spans, reasons := Cut(key, snapshots, b.job.SpanBytes)
	return spans, reasons, nil
}

// pick lists timelines and draws among them.
func (b *batch) pick(ctx context.Context) (picks []ledger.TimelineKey, reasons []string, err error) {
	listing, err := retry(ctx, b.job.Retries, b.transient, b.Catalog.Timelines)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, []string{fmt.Sprintf("list timelines: %v", err)}, nil
	}
	timelines, reasons := b.mine(listing)
	if err := b.Store.SeeTimelines(ctx, time.Now(), timelines); err != nil {
		return nil, nil, err
	}
	candidates, err := b.candidates(ctx, timelines)
	if err != nil {
		return nil, nil, err
	}
	again, gone, err := b.picksAgain(ctx, candidates)
	if err != nil || again != nil || gone != nil {
		return again, append(reasons, gone...), err
	}
	for _, c := range Pick(candidates, b.job.Timelines, b.job.Patience, b.seed, b.started) {
		picks = append(picks, c.TimelineKey)
	}
	return picks, reasons, nil
}

// mine are the timelines of the job's sources, one per tenant and timeline.
func (b *batch) mine(l Listing) (out []ledger.Timeline, reasons []string) {
	wanted := func(source string) bool { return len(b.job.Sources) == 0 || slices.Contains(b.job.Sources, source) }
	for _, p := range l.Problems {
		if wanted(p.Source) {
			reasons = append(reasons, fmt.Sprintf("source %s: %s", p.Source, p.Reason))
		}
	}
	sorted := slices.SortedFunc(slices.Values(l.Timelines), func(a, b ledger.Timeline) int { return compareKeys(a.TimelineKey, b.TimelineKey) })
	for _, t := range sorted {
		if !wanted(t.Source) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Tenant == t.Tenant && out[n-1].Timeline == t.Timeline {
			reasons = append(reasons, fmt.Sprintf("source %s: %s/%s is in source %s too; give one of them another tenant", t.Source, t.Tenant, t.Timeline, out[n-1].Source))
			continue
		}
		out = append(out, t)
	}
	return out, reasons
}

// candidates joins the listed timelines with what the ledger knows of them:
// that recovery made one, no catalog knows.
func (b *batch) candidates(ctx context.Context, timelines []ledger.Timeline) ([]Candidate, error) {
	states, err := b.Store.Timelines(ctx, b.job.Name)
	if err != nil {
		return nil, err
	}
	known := make(map[ledger.TimelineKey]ledger.TimelineState, len(states))
	for _, s := range states {
		known[s.TimelineKey] = s
	}
	out := make([]Candidate, len(timelines))
	for i, t := range timelines {
		s := known[t.TimelineKey]
		out[i] = Candidate{
			TimelineKey: t.TimelineKey, Shadow: t.Shadow || s.Shadow,
			LastVerified: s.LastVerifiedAt, RunsWaited: s.RunsWaited, PicksInVain: s.PicksInVain,
		}
	}
	return out, nil
}

// picksAgain are the picks of the job's newest run with the same seed, those
// that still exist; gone names the others. Both are nil when there was no such run, as for a new seed.
func (b *batch) picksAgain(ctx context.Context, candidates []Candidate) (picks []ledger.TimelineKey, gone []string, err error) {
	before, err := b.Store.PicksBySeed(ctx, b.job.Name, b.seed)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range before {
		if slices.ContainsFunc(candidates, func(c Candidate) bool { return c.TimelineKey == k && !c.Shadow }) {
			picks = append(picks, k)
			continue
		}
		gone = append(gone, fmt.Sprintf("%s/%s was picked with this seed before and is not there any more", k.Tenant, k.Timeline))
	}
	return picks, gone, nil
}
