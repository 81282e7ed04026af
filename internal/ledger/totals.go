package ledger

import (
	"context"
	"database/sql"

	"redoubt/internal/finding"
)

// RunTotals counts the finished runs by verdict, those that retention took
// away included (redoubt_runs_total).
func (l *Ledger) RunTotals(ctx context.Context) (map[finding.Verdict]int64, error) {
	out := map[finding.Verdict]int64{}
	err := l.view(ctx, "count runs", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var v finding.Verdict
			var n int64
			err := rows.Scan(&v, &n)
			out[v] = n
			return err
		}, `SELECT verdict, count(*) FROM (SELECT verdict FROM runs WHERE finished_at IS NOT NULL UNION ALL SELECT verdict FROM pruned_runs)
			GROUP BY verdict`)
	})
	return out, err
}

// Summaries lists runs with their counts, the newest first.
func (l *Ledger) Summaries(ctx context.Context, f RunFilter) ([]finding.RunSummary, error) {
	var out []finding.RunSummary
	err := l.view(ctx, "summarize runs", func(tx *sql.Tx) error {
		runs, err := listRuns(ctx, tx, f)
		if err != nil {
			return err
		}
		for _, r := range runs {
			s := finding.Summarize(r)
			if err := countRun(ctx, tx, &s); err != nil {
				return err
			}
			out = append(out, s)
		}
		return nil
	})
	return out, err
}

// countRun fills in what Summarize would find in the run's timelines, without reading their spans whole.
func countRun(ctx context.Context, tx *sql.Tx, s *finding.RunSummary) error {
	if err := tx.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(discrepancy_counts_critical), 0), coalesce(sum(discrepancy_counts_warning), 0),
		(SELECT acknowledged FROM runs WHERE run_id = ?1) FROM spans WHERE run_id = ?1`, s.ID).Scan(&s.Spans, &s.Critical, &s.Warning, &s.Acknowledged); err != nil {
		return err
	}
	lost, err := lostWritesOfSpans(ctx, tx, s.ID)
	if err != nil {
		return err
	}
	return query(ctx, tx, func(rows *sql.Rows) error {
		s.Timelines++
		var tenant, timeline string
		var text sql.NullString
		if err := rows.Scan(&tenant, &timeline, &text); err != nil {
			return err
		}
		t := finding.RunTimeline{Spans: lost[tenant+"/"+timeline]}
		if text.Valid {
			t.Scan = new(finding.ScanTimeline)
			if err := fromJSON(text.String, t.Scan); err != nil {
				return err
			}
			s.MissingSegments += t.Scan.MissingSegments()
			s.DamagedSegments += int64(len(t.Scan.Damaged))
		}
		n, _ := t.LostWrites() // none is acknowledged in what is stored
		s.LostWrites += n
		return nil
	}, "SELECT tenant, timeline, scan FROM picks WHERE run_id = ?", s.ID)
}

// lostWritesOfSpans reads of a run's spans what they say of lost writes, if anything.
func lostWritesOfSpans(ctx context.Context, tx *sql.Tx, runID string) (map[string][]finding.Verification, error) {
	out := map[string][]finding.Verification{}
	err := query(ctx, tx, func(rows *sql.Rows) error {
		var tenant, timeline, listed string
		v := finding.Verification{Audit: &finding.Audit{}}
		if err := rows.Scan(&tenant, &timeline, &listed, &v.Audit.LostWrites); err != nil {
			return err
		}
		err := fromJSON(listed, &v.LostWrites)
		key := tenant + "/" + timeline
		out[key] = append(out[key], v)
		return err
	}, "SELECT tenant, timeline, lost_writes, audit_lost_writes FROM spans WHERE run_id = ? AND audit_lost_writes > 0", runID)
	return out, err
}
