package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// FinishSpan records the result of a planned span, its discrepancies and
// what they change, in one transaction. Once it returns nil, the span is on disk.
// A span that is not planned, or recorded already, is ErrNotFound.
func (l *Ledger) FinishSpan(ctx context.Context, runID string, span int, at time.Time, v finding.Verification) error {
	return l.update(ctx, fmt.Sprintf("record span %d of run %s", span, runID), func(tx *sql.Tx) error {
		finiteTiming(&v.Timing)
		if err := keepRange(ctx, tx, runID, span, &v); err != nil {
			return err
		}
		text, err := jsonText(v)
		if err != nil {
			return err
		}
		if err := changeOne(ctx, tx, "UPDATE spans SET state = 'finished', finished_at = ?, verification = ? WHERE run_id = ? AND span = ? AND state = 'planned'",
			timeText(at), text, runID, span); err != nil {
			return err
		}
		s := sighting{runID: runID, at: at}
		if err := tx.QueryRowContext(ctx, "SELECT tenant, timeline, official FROM spans WHERE run_id = ? AND span = ?", runID, span).
			Scan(&s.tenant, &s.timeline, &s.official); err != nil {
			return err
		}
		return s.record(ctx, tx, v)
	})
}

// keepRange gives a result without a range, of a span that did not get so far, the planned one.
func keepRange(ctx context.Context, tx *sql.Tx, runID string, span int, v *finding.Verification) error {
	if v.Span != (pg.Range{}) {
		return nil
	}
	return query(ctx, tx, func(rows *sql.Rows) error {
		s, err := scanSpan(rows)
		v.Span = s.Range
		return err
	}, "SELECT "+spanColumns+" FROM spans WHERE run_id = ? AND span = ?", runID, span)
}

// finiteTiming replaces what JSON cannot say: a rate over no time at all.
func finiteTiming(t *finding.Timing) {
	for _, f := range []*float64{&t.WallSeconds, &t.WALMBPerSecond} {
		if math.IsInf(*f, 0) || math.IsNaN(*f) {
			*f = 0
		}
	}
}

// FinishScan records the scan of a picked timeline, in the run and as the timeline's newest.
func (l *Ledger) FinishScan(ctx context.Context, runID string, at time.Time, s finding.ScanTimeline) error {
	return l.update(ctx, fmt.Sprintf("record the scan of %s/%s", s.Tenant, s.Timeline), func(tx *sql.Tx) error {
		text, err := jsonText(s)
		if err != nil {
			return err
		}
		if err := changeOne(ctx, tx, "UPDATE picks SET scan = ?, scanned_at = ? WHERE run_id = ? AND tenant = ? AND timeline = ? AND scan IS NULL",
			text, timeText(at), runID, s.Tenant, s.Timeline); err != nil {
			return err
		}
		return changeOne(ctx, tx, "UPDATE timelines SET scan = ?, scanned_at = ? WHERE tenant = ? AND timeline = ?",
			text, timeText(at), s.Tenant, s.Timeline)
	})
}
