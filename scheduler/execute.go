package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// timeLimit is why work is cancelled when the job's duration is over.
type timeLimit struct{ after time.Duration }

func (e *timeLimit) Error() string {
	return fmt.Sprintf("the job's time limit of %v was reached", e.after)
}

// execute does what is left of the plan: spans and scans side by side, each
// result recorded as soon as it is there. Its error is the context's or the ledger's.
func (b *batch) execute(ctx context.Context) error {
	spans, scans, err := b.Store.Remaining(ctx, b.id)
	if err != nil {
		return err
	}
	if b.Events.Planned != nil {
		b.Events.Planned(b.id, spans, scans)
	}
	b.log.Info("plan stands", "spans", len(spans), "scans", len(scans))
	// Once the ledger fails nothing that runs can be recorded: it is stopped.
	recording, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	working := recording
	if d := b.job.Duration; d > 0 {
		var cancel context.CancelFunc
		working, cancel = context.WithTimeoutCause(recording, d, &timeLimit{d})
		defer cancel()
	}
	var both errgroup.Group
	both.Go(func() error {
		return each(recording, b.job.ParallelSpans, spans, func(s ledger.Span) error {
			return b.span(working, recording, stop, SpanSpec{Span: s, RunID: b.id, Job: b.job.Name, Seed: b.seed})
		})
	})
	both.Go(func() error {
		return each(recording, b.job.ParallelSpans, scans, func(k ledger.TimelineKey) error {
			return b.scan(working, recording, stop, ScanSpec{TimelineKey: k, RunID: b.id, Job: b.job.Name})
		})
	})
	if err := both.Wait(); err != nil {
		return context.Cause(recording) // whichever came first: the end of ctx or the ledger's failure
	}
	return nil
}

// each calls f for each item in order, at most limit at once, and stops when ctx ends.
func each[T any](ctx context.Context, limit int, items []T, f func(T) error) error {
	var group errgroup.Group
	group.SetLimit(max(limit, 1))
	for _, item := range items {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return f(item) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// span verifies one span and records the result. It returns nil unless
// recording ended, or ends it because the ledger fails.
func (b *batch) span(working, recording context.Context, stop context.CancelCauseFunc, s SpanSpec) error {
	if b.Events.SpanStarted != nil && working.Err() == nil {
		b.Events.SpanStarted(s)
	}
	v, err := attempt(working, b, s, b.Verify)
	if recording.Err() != nil {
		return context.Cause(recording)
	}
	v = b.settle(v, err)
	if err := b.Store.FinishSpan(recording, b.id, s.Number, time.Now(), v); err != nil {
		stop(err)
		return err
	}
	b.log.Info("span is verified", "tenant", s.Tenant, "timeline", s.Timeline, "span", v.Span, "verdict", v.Verdict)
	if b.Events.SpanFinished != nil {
		b.Events.SpanFinished(s, v)
	}
	return nil
}

// scan scans one timeline and records the result; errors as span's.
func (b *batch) scan(working, recording context.Context, stop context.CancelCauseFunc, s ScanSpec) error {
	scan, err := attempt(working, b, s, b.Scan)
	if recording.Err() != nil {
		return context.Cause(recording)
	}
	scan.Tenant, scan.Timeline = s.Tenant, s.Timeline
	if err != nil {
		scan.Reasons = append(scan.Reasons, describe(err))
	}
	if err := b.Store.FinishScan(recording, b.id, time.Now(), scan); err != nil {
		stop(err)
		return err
	}
	b.log.Info("timeline is scanned", "tenant", s.Tenant, "timeline", s.Timeline, "gaps", len(scan.Gaps), "damaged", len(scan.Damaged))
	if b.Events.ScanFinished != nil {
		b.Events.ScanFinished(s, scan)
	}
	return nil
}

// attempt calls f, again where that may help, unless the time is over already.
func attempt[S, T any](working context.Context, b *batch, spec S, f func(context.Context, S) (T, error)) (out T, err error) {
	if working.Err() != nil {
		return out, fmt.Errorf("it was not begun: %w", context.Cause(working))
	}
	out, err = retry(working, b.job.Retries, b.transient, func(ctx context.Context) (T, error) { return f(ctx, spec) })
	if err != nil && working.Err() != nil {
		err = fmt.Errorf("it was cancelled: %w", context.Cause(working))
	}
	return out, err
}

func (r *Runner) transient(err error) bool {
	if r.Transient != nil {
		return r.Transient(err)
	}
	return Transient(err)
}

// describe makes an error the one line of a reason.
func describe(err error) string {
	var limit *timeLimit
	if errors.As(err, &limit) {
		return "not verified in this run: " + err.Error()
	}
	return err.Error()
}

// settle makes a result of what a verifier returned: an error is a reason,
// and the verdict is never better than what the result itself holds. What was
// found before the error stays found.
func (b *batch) settle(v finding.Verification, err error) finding.Verification {
	if err != nil {
		v.Reasons = append([]string{describe(err)}, v.Reasons...)
	}
	was := v.Verdict
	v.Verdict = settled(v)
	if v.Verdict == finding.Inconclusive && len(v.Reasons) == 0 {
		v.Reasons = []string{fmt.Sprintf("the verifier gave the verdict %q and no reason", was)}
	}
	if v.Engine == "" {
		v.Engine = b.job.Engine
	}
	return v
}
