package scheduler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"redoubt/internal/ledger"
)

// draft is a plan, and what the ledger is told with it.
type draft struct {
	candidates map[ledger.TimelineKey]Candidate
	snapshots  map[ledger.TimelineKey][]string // names of a pick's snapshots
	picks      []ledger.Pick
	spans      []PlannedSpan // in their order of execution
	reasons    []string
}

// plan picks timelines, cuts them and writes the plan down.
func (b *batch) plan(ctx context.Context) error {
	d, err := b.draft(ctx)
	if err != nil {
		return err
	}
	for k, names := range d.snapshots {
		if err := b.Store.KeepSnapshots(ctx, k.Tenant, k.Timeline, time.Now(), names); err != nil {
			return err
		}
	}
	plan := ledger.Plan{Picks: d.picks, Reasons: d.reasons}
	for _, s := range d.spans {
		plan.Spans = append(plan.Spans, s.Span)
	}
	return b.Store.SavePlan(ctx, b.id, time.Now(), plan)
}

// draft says what to do; it notes which timelines there are and changes nothing
// else. Spans of the most urgent pick come
// first; the picks themselves are in order of tenant and timeline.
func (b *batch) draft(ctx context.Context) (*draft, error) {
	d := &draft{snapshots: make(map[ledger.TimelineKey][]string), candidates: make(map[ledger.TimelineKey]Candidate)}
	if err := b.pick(ctx, d); err != nil {
		return nil, err
	}
	var spans [][]PlannedSpan
	for i := range d.picks {
		cut, err := b.cut(ctx, d, &d.picks[i])
		if err != nil {
			return nil, err
		}
		spans = append(spans, cut)
	}
	d.spans = Arrange(spans, b.job.WALBytes)
	off := putOff(d.spans)
	for i, p := range d.picks {
		d.picks[i].PutOff = off[p.TimelineKey]
	}
	slices.SortFunc(d.picks, func(a, b ledger.Pick) int { return compareKeys(a.TimelineKey, b.TimelineKey) })
	return d, nil
}

// cut lists a timeline's snapshots and cuts it. What stands in the way is a reason; the error is the ledger's or the context's.
func (b *batch) cut(ctx context.Context, d *draft, pick *ledger.Pick) ([]PlannedSpan, error) {
	key := pick.TimelineKey
	snapshots, err := retry(ctx, b.job.Retries, b.transient, func(ctx context.Context) ([]Snapshot, error) {
		return b.Catalog.Snapshots(ctx, key)
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		pick.Reasons = []string{fmt.Sprintf("list snapshots: %v", err)}
		return nil, nil
	}
	names := make([]string, len(snapshots))
	for i, s := range snapshots {
		names[i] = s.Name
	}
	d.snapshots[key] = names
	past, err := b.Store.SpansPast(ctx, key.Tenant, key.Timeline)
	if err != nil {
		return nil, err
	}
	spans, reasons := Cut(key, snapshots, b.job.SpanBytes)
	pick.Reasons = reasons
	return withPast(spans, past), nil
}

// pick lists timelines and draws among them.
func (b *batch) pick(ctx context.Context, d *draft) error {
	listing, err := retry(ctx, b.job.Retries, b.transient, b.Catalog.Timelines)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		d.reasons = []string{fmt.Sprintf("list timelines: %v", err)}
		return nil
	}
	timelines, reasons := b.mine(listing)
	d.reasons = reasons
	if err := b.Store.SeeTimelines(ctx, time.Now(), timelines); err != nil {
		return err
	}
	candidates, err := b.candidates(ctx, timelines)
	if err != nil {
		return err
	}
	for _, c := range candidates {
		d.candidates[c.TimelineKey] = c
	}
	again, gone, err := b.picksAgain(ctx, candidates)
	if err != nil {
		return err
	}
	d.reasons = append(d.reasons, gone...)
	if again == nil && gone == nil {
		for _, c := range Pick(candidates, b.job.Timelines, b.job.Patience, b.seed, b.started) {
			again = append(again, c.TimelineKey)
		}
	}
	for _, k := range again {
		d.picks = append(d.picks, ledger.Pick{TimelineKey: k})
	}
	return nil
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
