package scheduler

import (
	"context"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// learnedSpans is from how many past spans at most a plan learns what spans take.
const learnedSpans = 5000

// Plan says what Run would do now, and does nothing of it. Without a seed it draws
// one: a run with that seed then does what the plan says, unless the sources or
// the ledger have changed. The error is the ledger's or the context's.
func (r *Runner) Plan(ctx context.Context, job Job, o Options) (finding.Plan, error) {
	b := &batch{Runner: r, job: job, log: r.logger().With("job", job.Name)}
	costs, err := r.Store.SpanCosts(ctx, learnedSpans)
	if err != nil {
		return finding.Plan{}, err
	}
	u, err := r.Store.Unfinished(ctx, job.Name)
	if err != nil {
		return finding.Plan{}, err
	}
	var d *draft
	if u != nil && u.Planned {
		d, err = b.rest(ctx, u, o)
	} else {
		if u != nil {
			o.Seed = &u.Seed
		}
		d, err = b.fresh(ctx, o)
	}
	if err != nil {
		return finding.Plan{}, err
	}
	out := b.show(d, NewEstimator(costs))
	out.LearnedSpans = len(costs)
	if u != nil {
		out.Resumes = u.RunID
	}
	return out, nil
}

// fresh drafts a new run.
func (b *batch) fresh(ctx context.Context, o Options) (*draft, error) {
	if err := b.sow(o); err != nil {
		return nil, err
	}
	return b.draft(ctx)
}

// rest is what is left of a planned run.
func (b *batch) rest(ctx context.Context, u *ledger.UnfinishedRun, o Options) (*draft, error) {
	if err := b.takeSeed(u, o); err != nil {
		return nil, err
	}
	spans, scans, err := b.Store.Remaining(ctx, u.RunID)
	if err != nil {
		return nil, err
	}
	d := &draft{}
	for _, s := range spans {
		d.spans = append(d.spans, PlannedSpan{Span: s})
		d.add(s.TimelineKey)
	}
	for _, k := range scans {
		d.add(k)
	}
	return d, nil
}

// add makes sure that a timeline is among the picks.
func (d *draft) add(k ledger.TimelineKey) {
	for _, p := range d.picks {
		if p.TimelineKey == k {
			return
		}
	}
	d.picks = append(d.picks, ledger.Pick{TimelineKey: k})
}

// show is a draft as users see it.
func (b *batch) show(d *draft, e *Estimator) finding.Plan {
	out := finding.Plan{Job: b.job.Name, Seed: b.seed, Reasons: notNil(d.reasons), Timelines: []finding.PlanTimeline{}}
	at := make(map[ledger.TimelineKey]int)
	for i, p := range d.picks {
		at[p.TimelineKey] = i
		c := d.candidates[p.TimelineKey]
		out.Timelines = append(out.Timelines, finding.PlanTimeline{
			Source: p.Source, Tenant: p.Tenant, Timeline: p.Timeline, LastVerifiedAt: timeOrNil(c.LastVerified),
			RunsWaited: c.RunsWaited, PicksInVain: c.PicksInVain, PutOff: p.PutOff, Reasons: notNil(p.Reasons), Spans: []finding.PlanSpan{},
		})
	}
	var all []Estimate
	known := true
	for _, s := range d.spans {
		est := e.Expect(s.Span)
		t := &out.Timelines[at[s.TimelineKey]]
		t.Spans = append(t.Spans, finding.PlanSpan{
			Order: s.Number, Span: s.Range, TLI: s.TLI, Base: s.Base, Official: s.Official, WALBytes: int64(s.Range.Bytes()),
			Attempts: s.Past.Attempts, LastAttemptAt: timeOrNil(s.Past.LastAttempt), Verified: s.Past.Verified,
			Deferred: s.Deferred, Expected: expected(est),
		})
		if s.Deferred == "" {
			all = append(all, est)
			out.WALBytes += int64(s.Range.Bytes())
			known = known && est.Wall > 0
		}
	}
	if known && len(all) > 0 {
		out.Expected = expected(Together(all, b.job.ParallelSpans))
	}
	return out
}

func expected(e Estimate) *finding.Expected {
	if e.Wall == 0 {
		return nil
	}
	return &finding.Expected{WallSeconds: e.Wall.Seconds(), ScratchBytes: e.ScratchBytes}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
