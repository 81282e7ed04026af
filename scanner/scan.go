package scanner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// Timeline scans one timeline. What can't be checked is in the result's
// reasons; the error is that of a context that ended, or of a Memory that
// failed, and comes with what was found until then.
func Timeline(ctx context.Context, w WAL, opt Options) (Result, error) {
	r := Result{ScanTimeline: finding.ScanTimeline{Tenant: w.Tenant(), Timeline: w.ID(),
		Gaps: []finding.Gap{}, Damaged: []finding.Damaged{}, Unexpected: []string{}, LostWrites: []finding.StaleImage{}}}
	s := &survey{present: map[pg.TLI]*runs{}, listed: map[pg.TLI][]walfile.Entry{}, histories: map[pg.TLI]wal.History{}}
	err := scan(ctx, w, &opt, s, &r)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	finish(s, &r)
	return r, err
}

func scan(ctx context.Context, w WAL, opt *Options, s *survey, r *Result) error {
	if opt.To != 0 && opt.To <= opt.From {
		return fmt.Errorf("scan %s/%s: the range from %s to %s is empty", w.Tenant(), w.ID(), opt.From, opt.To)
	}
	id, err := w.Identify(ctx)
	if errors.Is(err, walfile.ErrNoWAL) {
		s.doubt("there are no WAL segments: there is nothing to check")
		return nil
	}
	if err != nil {
		s.doubt("%v", err)
		return nil
	}
	s.identity, s.size = id, id.SegmentSize
	r.SegmentSize = id.SegmentSize
	complete := s.look(ctx, w, opt.Listing)
	r.ObjectsListed = s.objects
	if !complete || ctx.Err() != nil {
		return nil
	}
	s.readHistories(ctx, w)
	recheck(ctx, w, s, opt)
	x := expect(s, opt)
	r.TLI, r.From, r.To = x.newest, x.from, x.to
	r.Expected, r.Present = x.counts(s)
	if opt.Said != nil {
		r.Servers = opt.Said.Servers
	}
	if r.Expected == 0 && (opt.Said == nil || opt.From != 0 || opt.To != 0) {
		s.doubt("no segment is expected in the range asked for: nothing was checked")
	}
	r.Gaps, r.MissingUnlisted = x.gaps(s, opt)
	if err := requeue(ctx, w, opt, s, r.Gaps); err != nil {
		return err
	}
	if opt.Deep {
		if err := newDeep(w, opt, s, x, r).run(ctx); err != nil {
			return err
		}
	}
	if opt.Audit {
		newAudit(w, s, x, r, opt.AuditBlocks).run(ctx)
	}
	return nil
}

// maxRecheck is how many missing segments are looked up once more: segments
// may be uploaded out of order while the listing goes on.
const maxRecheck = 256

// recheck looks up segments that the listing did not show, before anybody is
// alarmed.
func recheck(ctx context.Context, w WAL, s *survey, opt *Options) {
	x := expect(s, opt)
	left, waited := maxRecheck, false
	for _, tli := range sortedKeys(x.expected) {
		for _, r := range x.expected[tli].minus(s.of(tli)) {
			if !waited && !pause(ctx, opt.Settle) {
				return
			}
			waited = true
			for n := r.from; n < r.to; n++ {
				if left--; left < 0 {
					return
				}
				copies, err := w.Find(ctx, tli, n)
				if err != nil {
					s.doubt("%s, which the listing did not show, could not be looked up: %v", pg.SegmentName(tli, n, s.size), err)
					return
				}
				for _, e := range copies {
					if !e.Irregular {
						s.see(e)
					}
				}
			}
		}
	}
}

// pause reports whether d has passed before the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func requeue(ctx context.Context, w WAL, opt *Options, s *survey, gaps []finding.Gap) error {
	if opt.Requeuer == nil {
		return nil
	}
	for i := range gaps {
		status, err := opt.Requeuer.Requeue(ctx, w.Tenant(), w.ID(), gaps[i])
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.doubt("the gap from %s to %s could not be handed on: %v", gaps[i].From, gaps[i].To, err)
			continue
		}
		gaps[i].Status = status
	}
	return nil
}

// finish moves what was collected into the result, in order, bounded, and with ids.
func finish(s *survey, r *Result) {
	slices.SortStableFunc(s.damaged, func(a, b finding.Damaged) int { return cmp.Compare(a.Segment, b.Segment) })
	r.Damaged = append(r.Damaged, s.damaged...)
	if more := s.hurt - int64(len(s.damaged)); more > 0 {
		r.Damaged = append(r.Damaged, finding.Damaged{Reason: fmt.Sprintf("and at least %d more", more)})
	}
	slices.Sort(s.unexpected)
	r.Unexpected = append(r.Unexpected, s.unexpected...)
	if more := s.strays - int64(len(s.unexpected)); more > 0 {
		r.Unexpected = append(r.Unexpected, fmt.Sprintf("and %d more", more))
	}
	r.Reasons = append(r.Reasons, s.reasons...)
	if more := s.doubts - int64(len(s.reasons)); more > 0 {
		r.Reasons = append(r.Reasons, fmt.Sprintf("and %d more", more))
	}
	r.Identify()
}

// Verdict judges one timeline: gaps and damage that count are findings;
// without them, a reason why something could not be checked is inconclusive.
func Verdict(t *finding.ScanTimeline) finding.Verdict {
	switch {
	case t.MissingSegments() > 0 || t.DamagedSegments() > 0 || t.CountingLostWrites() > 0:
		return finding.Findings
	case len(t.Reasons) > 0:
		return finding.Inconclusive
	}
	return finding.Clean
}

// Summarize makes one scan of those of several timelines. Reasons are those
// that concern none of them; without any timeline a scan is inconclusive.
func Summarize(results []Result, reasons []string, took time.Duration) finding.Scan {
	out := finding.Scan{Verdict: finding.Clean, Reasons: append([]string{}, reasons...),
		Timelines: []finding.ScanTimeline{}, Timing: finding.ScanTiming{WallSeconds: took.Seconds()}}
	if len(results) == 0 && len(reasons) == 0 {
		out.Reasons = append(out.Reasons, "there are no timelines: nothing was checked")
	}
	if len(out.Reasons) > 0 {
		out.Verdict = finding.Inconclusive
	}
	for i := range results {
		r := &results[i]
		out.Timelines = append(out.Timelines, r.ScanTimeline)
		out.Timing.ObjectsListed += r.ObjectsListed
		for _, why := range r.Reasons {
			out.Reasons = append(out.Reasons, strings.Join([]string{r.Tenant, r.Timeline}, "/")+": "+why)
		}
		switch v := Verdict(&r.ScanTimeline); {
		case v == finding.Findings:
			out.Verdict = v
		case v == finding.Inconclusive && out.Verdict == finding.Clean:
			out.Verdict = v
		}
	}
	return out
}

func sortedKeys[V any](m map[pg.TLI]V) []pg.TLI { return slices.Sorted(maps.Keys(m)) }
