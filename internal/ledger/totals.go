package ledger

import (
	"context"
	"database/sql"

	"redoubt/internal/finding"
)

// SpanCount is the number of finished spans with one verdict by one engine.
type SpanCount struct {
	Verdict finding.Verdict
	Engine  string
	Count   int64
}

// Totals are sums over all runs; they only grow.
type Totals struct {
	Runs           map[finding.Verdict]int64 // finished ones
	Spans          []SpanCount
	Discrepancies  []OpenCount // ever seen, gone or not
	BlocksCompared int64
	Unverifiable   map[string]int64 // blocks, by why: tainted, overwritten_by_wal, file_copy
	WALBytes       int64            // replayed
	MissedRuns     int64
}

// Totals sums up what the contract's counters count.
func (l *Ledger) Totals(ctx context.Context) (Totals, error) {
	t := Totals{Runs: map[finding.Verdict]int64{}}
	err := l.view(ctx, "sum up", func(tx *sql.Tx) error {
		if err := countRuns(ctx, tx, t.Runs); err != nil {
			return err
		}
		if err := query(ctx, tx, func(rows *sql.Rows) error {
			var c SpanCount
			err := rows.Scan(&c.Verdict, &c.Engine, &c.Count)
			t.Spans = append(t.Spans, c)
			return err
		}, "SELECT verdict, engine, count(*) FROM spans WHERE state = 'finished' GROUP BY verdict, engine ORDER BY verdict, engine"); err != nil {
			return err
		}
		if err := query(ctx, tx, func(rows *sql.Rows) error {
			var c OpenCount
			err := rows.Scan(&c.Kind, &c.Severity, &c.Count)
			t.Discrepancies = append(t.Discrepancies, c)
			return err
		}, "SELECT kind, severity, count(*) FROM discrepancies GROUP BY kind, severity ORDER BY kind, severity"); err != nil {
			return err
		}
		return t.sums(ctx, tx)
	})
	return t, err
}

// RunTotals counts the finished runs by verdict (redoubt_runs_total).
func (l *Ledger) RunTotals(ctx context.Context) (map[finding.Verdict]int64, error) {
	out := map[finding.Verdict]int64{}
	err := l.view(ctx, "count runs", func(tx *sql.Tx) error { return countRuns(ctx, tx, out) })
	return out, err
}

func countRuns(ctx context.Context, tx *sql.Tx, out map[finding.Verdict]int64) error {
	return query(ctx, tx, func(rows *sql.Rows) error {
		var v finding.Verdict
		var n int64
		err := rows.Scan(&v, &n)
		out[v] = n
		return err
	}, "SELECT verdict, count(*) FROM runs WHERE finished_at IS NOT NULL GROUP BY verdict")
}

func (t *Totals) sums(ctx context.Context, tx *sql.Tx) error {
	var tainted, overwritten, copied int64
	err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(coverage_blocks_compared), 0), coalesce(sum(coverage_blocks_tainted), 0),
		coalesce(sum(coverage_blocks_overwritten_by_wal), 0), coalesce(sum(coverage_blocks_unverifiable), 0), coalesce(sum(wal_bytes), 0),
		(SELECT coalesce(sum(missed_runs), 0) FROM jobs)
		FROM spans WHERE state = 'finished'`).
		Scan(&t.BlocksCompared, &tainted, &overwritten, &copied, &t.WALBytes, &t.MissedRuns)
	t.Unverifiable = map[string]int64{"tainted": tainted, "overwritten_by_wal": overwritten, "file_copy": copied}
	return err
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
	if err := tx.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(discrepancy_counts_critical), 0), coalesce(sum(discrepancy_counts_warning), 0)
		FROM spans WHERE run_id = ?`, s.ID).Scan(&s.Spans, &s.Critical, &s.Warning); err != nil {
		return err
	}
	return query(ctx, tx, func(rows *sql.Rows) error {
		s.Timelines++
		var text sql.NullString
		if err := rows.Scan(&text); err != nil || !text.Valid {
			return err
		}
		var scan finding.ScanTimeline
		if err := fromJSON(text.String, &scan); err != nil {
			return err
		}
		s.MissingSegments += scan.MissingSegments()
		s.DamagedSegments += int64(len(scan.Damaged))
		return nil
	}, "SELECT scan FROM picks WHERE run_id = ?", s.ID)
}
