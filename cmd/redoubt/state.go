package main

import (
	"context"
	"errors"
	"time"

	"redoubt/internal/api"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/metrics"
	"redoubt/internal/pg"
)

// state is what the ledger knows, as the metrics want it.
func (s *service) state(ctx context.Context) (metrics.State, error) {
	var out metrics.State
	var err error
	if out.Runs, err = s.ledger.RunTotals(ctx); err != nil {
		return out, err
	}
	if out.Jobs, err = s.jobStates(ctx); err != nil {
		return out, err
	}
	open, err := s.ledger.OpenCounts(ctx)
	if err != nil {
		return out, err
	}
	for _, o := range open {
		out.Open = append(out.Open, metrics.Open(o))
	}
	timelines, err := s.ledger.Timelines(ctx, "")
	if err != nil {
		return out, err
	}
	made, err := s.ledger.Recoveries(ctx)
	if err != nil {
		return out, err
	}
	out.Recoveries = make(map[finding.State]int64)
	for _, r := range made {
		out.Recoveries[r.State]++
	}
	exempt := s.exempt(timelines)
	for _, t := range timelines {
		m := metrics.Timeline{
			Tenant: t.Tenant, Timeline: t.Timeline.Timeline, MismatchedBlocks: t.OpenDiscrepancies,
			LastVerified: t.LastVerifiedAt, FirstSeen: t.FirstSeen, Exempt: exempt(t),
		}
		if t.Scan != nil {
			m.MissingSegments, m.DamagedSegments = t.Scan.MissingSegments(), t.Scan.DamagedSegments()
		}
		out.Timelines = append(out.Timelines, m)
	}
	return out, nil
}

// exempt tells the timelines that are not to be verified: shadows, those of a
// source that is not configured any more, and those that the newest listing of
// their source did not show. (A listing is written down in one go.)
func (s *service) exempt(timelines []ledger.TimelineState) func(ledger.TimelineState) bool {
	listed := make(map[string]time.Time)
	for _, t := range timelines {
		if !t.Shadow && t.LastSeen.After(listed[t.Source]) { // a recovery was seen when it began
			listed[t.Source] = t.LastSeen
		}
	}
	return func(t ledger.TimelineState) bool {
		_, err := s.site.source(t.Source)
		return t.Shadow || err != nil || t.LastSeen.Before(listed[t.Source])
	}
}

// nightsBack bounds how far back runs are looked at for those that were inconclusive.
const nightsBack = 30

// inconclusive counts a job's newest finished runs in a row without a verdict
// of the one or the other kind.
func (s *service) inconclusive(ctx context.Context, job string) (n int64, err error) {
	runs, err := s.ledger.Runs(ctx, ledger.RunFilter{Job: job, Limit: nightsBack})
	for _, r := range runs {
		switch {
		case r.FinishedAt == nil:
		case r.Verdict != finding.Inconclusive:
			return n, err
		default:
			n++
		}
	}
	return n, err
}

// jobStates are the configured jobs, those that never ran included.
func (s *service) jobStates(ctx context.Context) ([]metrics.Job, error) {
	known, err := s.ledger.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	var out []metrics.Job
	seen := make(map[string]bool)
	for _, j := range known {
		m := metrics.Job{Name: j.Job, MissedRuns: j.MissedRuns}
		if j.LastRun != nil && j.LastRun.FinishedAt != nil {
			m.LastRun, m.Verdict = *j.LastRun.FinishedAt, j.LastRun.Verdict
		}
		if m.Inconclusive, err = s.inconclusive(ctx, j.Job); err != nil {
			return nil, err
		}
		out = append(out, m)
		seen[j.Job] = true
	}
	for name := range s.cfg.Jobs {
		if !seen[name] {
			out = append(out, metrics.Job{Name: name})
		}
	}
	return out, nil
}

// apiLedger is the ledger as the HTTP server wants it.
type apiLedger struct {
	*ledger.Ledger
	// agents fills in what WAL backup agents know of timelines; nil: nothing.
	agents func(context.Context, []finding.TimelineStatus)
}

var _ api.Ledger = apiLedger{}

func (l apiLedger) Runs(ctx context.Context, job string, limit, offset int) ([]finding.RunSummary, error) {
	return l.Summaries(ctx, ledger.RunFilter{Job: job, Limit: limit, Offset: offset})
}

func (l apiLedger) Run(ctx context.Context, id string) (finding.Run, error) {
	r, err := l.Ledger.Run(ctx, id)
	return r, apiError(err)
}

func (l apiLedger) Discrepancies(ctx context.Context, f api.DiscrepancyFilter) ([]finding.Tracked, error) {
	return l.Ledger.Discrepancies(ctx, ledger.DiscrepancyFilter{
		Tenant: f.Tenant, Timeline: f.Timeline, State: f.State, Kind: f.Kind, Severity: f.Severity, Text: f.Text,
		After: (*ledger.DiscrepancyPlace)(f.After), Limit: f.Limit,
	})
}

func (l apiLedger) Discrepancy(ctx context.Context, id string) (finding.Tracked, error) {
	d, err := l.Ledger.Discrepancy(ctx, id)
	return d, apiError(err)
}

func (l apiLedger) Finding(ctx context.Context, id string) (finding.AckRecord, error) {
	a, err := l.Ledger.Finding(ctx, id)
	return a, apiError(err)
}

func (l apiLedger) Acks(ctx context.Context, id string, all bool, limit int) ([]finding.AckRecord, error) {
	return l.Ledger.Acks(ctx, ledger.AckFilter{ID: id, All: all, Limit: limit})
}

func (l apiLedger) Acknowledge(ctx context.Context, r api.AckRequest) (finding.AckRecord, error) {
	now := time.Now()
	until, err := expiry(r.Expires, now)
	if err != nil {
		return finding.AckRecord{}, &api.RefusedError{Reason: err.Error()}
	}
	a, err := l.Ledger.Acknowledge(ctx, ledger.AckRequest{ID: r.ID, Reason: r.Reason, By: r.By, At: now, Until: until})
	return a, apiError(err)
}

func (l apiLedger) Unacknowledge(ctx context.Context, id, by string) error {
	return apiError(l.Ledger.Unacknowledge(ctx, id, by, time.Now()))
}

// apiError makes the ledger's errors those that the HTTP server knows.
func apiError(err error) error {
	var refused *ledger.AckError
	switch {
	case errors.As(err, &refused):
		return &api.RefusedError{Reason: refused.Error()}
	case errors.Is(err, ledger.ErrNotFound):
		return api.ErrNotFound
	}
	return err
}

func (l apiLedger) Timelines(ctx context.Context) ([]finding.TimelineStatus, error) {
	found, err := l.Ledger.Timelines(ctx, "")
	if err != nil {
		return nil, err
	}
	made, err := l.Recoveries(ctx)
	if err != nil {
		return nil, err
	}
	recoveries := make(map[[2]string]*ledger.Recovery, len(made))
	for i := range made {
		recoveries[[2]string{made[i].Tenant, made[i].Timeline}] = &made[i]
	}
	out := make([]finding.TimelineStatus, 0, len(found))
	for _, t := range found {
		a := finding.TimelineStatus{
			TenantID: t.Tenant, TimelineID: t.Timeline.Timeline, Source: t.Source, Shadow: t.Shadow, State: finding.StateActive, FirstSeen: t.FirstSeen, LastSeen: t.LastSeen,
			LastPickedAt: given(t.LastPickedAt), LastVerifiedAt: given(t.LastVerifiedAt), LastVerifiedLSN: known(t.LastVerifiedLSN),
			OpenDiscrepancies: t.OpenDiscrepancies, Scan: t.Scan, ScannedAt: given(t.ScannedAt),
		}
		if r := recoveries[[2]string{t.Tenant, t.Timeline.Timeline}]; r != nil {
			if r.State == finding.StateDeleted {
				continue // since the timelines were listed
			}
			recovered(&a, r)
		}
		out = append(out, a)
	}
	if l.agents != nil {
		l.agents(ctx, out)
	}
	for i := range out {
		if t := &out[i]; t.State == finding.StateActive {
			t.LastRecordLSN = known(lastRecord(t))
		}
	}
	return out, nil
}

// lastRecord is up to where a timeline is known to have WAL: what recovery
// made, what agents have stored, what was verified, or what the newest scan has
// found whole. Nothing is asked of the archive for it.
func lastRecord(t *finding.TimelineStatus) (at pg.LSN) {
	for _, lsn := range []*pg.LSN{t.LastRecordLSN, t.WALBackupLSN, t.LastVerifiedLSN} {
		if lsn != nil {
			at = max(at, *lsn)
		}
	}
	if s := t.Scan; s != nil && len(s.Gaps) == 0 && s.MissingUnlisted == 0 && len(s.Damaged) == 0 && s.Present == s.Expected {
		at = max(at, s.To)
	}
	return at
}

// recovered adds how a timeline was made.
func recovered(a *finding.TimelineStatus, r *ledger.Recovery) {
	a.State, a.AncestorTimelineID, a.AncestorLSN = r.State, &r.Ancestor, known(r.AncestorLSN)
	a.TargetLSN, a.LastRecordLSN = known(r.TargetLSN), known(r.LastRecordLSN)
	a.Recovery = &finding.Recovery{
		Base: r.Base, BaseLSN: r.BaseLSN, FromLSN: known(r.FromLSN), ToLSN: known(r.ToLSN), ToTime: given(r.ToTime), Reason: r.Reason,
		DurableLSN: known(r.DurableLSN), ResumedLSN: known(r.ResumedLSN),
		Directory: r.Directory, CreatedAt: r.CreatedAt, StartedAt: given(r.StartedAt), EndedAt: given(r.EndedAt),
	}
}

// known is nil for the zero LSN.
func known(l pg.LSN) *pg.LSN {
	if l == pg.InvalidLSN {
		return nil
	}
	return &l
}

// given is nil for the zero time.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
