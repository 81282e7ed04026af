package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"redoubt/internal/finding"
)

// RunStart is what is known of a run before it is planned.
type RunStart struct {
	RunID     string
	Job       string
	Seed      int64
	StartedAt time.Time
	// Tick is the time of the schedule that the run answers, zero for a run
	// by hand. Ticks up to it are accounted for in the same transaction.
	Tick time.Time
}

// UnfinishedRun is a run that was started and never finished.
type UnfinishedRun struct {
	RunID     string
	Seed      int64
	StartedAt time.Time
	Planned   bool // its plan is written down
}

// StartRun writes down that a run begins. A job with an unfinished run is ErrUnfinished.
func (l *Ledger) StartRun(ctx context.Context, r RunStart) error {
	return l.update(ctx, "start run "+r.RunID, func(tx *sql.Tx) error {
		var other string
		err := tx.QueryRowContext(ctx, "SELECT run_id FROM runs WHERE job = ? AND finished_at IS NULL", r.Job).Scan(&other)
		if err == nil {
			return fmt.Errorf("job %s: %w (%s)", r.Job, ErrUnfinished, other)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO runs (run_id, job, seed, started_at) VALUES (?, ?, ?, ?)",
			r.RunID, r.Job, r.Seed, timeText(r.StartedAt)); err != nil {
			return err
		}
		if r.Tick.IsZero() {
			return nil
		}
		return account(ctx, tx, r.Job, 0, r.Tick)
	})
}

// Unfinished is the job's unfinished run, nil when there is none. Unless
// another process holds the job's lock, nobody works on it any more.
func (l *Ledger) Unfinished(ctx context.Context, job string) (*UnfinishedRun, error) {
	var out *UnfinishedRun
	err := l.view(ctx, "look for an unfinished run of "+job, func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var r UnfinishedRun
			var started string
			err := rows.Scan(&r.RunID, &r.Seed, &started, &r.Planned)
			if err != nil {
				return err
			}
			r.StartedAt, err = parseTime(started)
			out = &r
			return err
		}, "SELECT run_id, seed, started_at, planned_at IS NOT NULL FROM runs WHERE job = ? AND finished_at IS NULL", job)
	})
	return out, err
}

// FinishRun closes a run. It refuses while spans or scans of its plan are
// still to be done: a run that stopped early stays unfinished. acknowledged is
// how many of its findings did not count in the verdict.
func (l *Ledger) FinishRun(ctx context.Context, runID string, at time.Time, verdict finding.Verdict, reasons []string, acknowledged int64) error {
	return l.update(ctx, "finish run "+runID, func(tx *sql.Tx) error {
		var spans, scans int
		if err := tx.QueryRowContext(ctx, `SELECT
			(SELECT count(*) FROM spans WHERE run_id = ?1 AND state = 'planned'),
			(SELECT count(*) FROM picks WHERE run_id = ?1 AND scan IS NULL)`, runID).Scan(&spans, &scans); err != nil {
			return err
		}
		if spans+scans > 0 {
			return fmt.Errorf("%d spans and %d scans of its plan are not done", spans, scans)
		}
		text, err := jsonText(reasons)
		if err != nil {
			return err
		}
		if err := changeOne(ctx, tx, "UPDATE runs SET finished_at = ?, verdict = ?, reasons = ?, acknowledged = ? WHERE run_id = ? AND finished_at IS NULL AND planned_at IS NOT NULL",
			timeText(at), string(verdict), text, acknowledged, runID); err != nil {
			return err
		}
		return noteVerified(ctx, tx, runID)
	})
}

// changeOne runs a statement that must change exactly one row.
func changeOne(ctx context.Context, tx *sql.Tx, stmt string, args ...any) error {
	res, err := tx.ExecContext(ctx, stmt, args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n != 1 {
		err = fmt.Errorf("%w, or done already", ErrNotFound)
	}
	return err
}

// RunFilter chooses runs; its zero value takes all.
type RunFilter struct {
	Job           string // empty: any
	Limit, Offset int    // Limit 0: all
}

// Runs lists runs without their timelines, the newest first. The verdict of
// an unfinished run is empty.
func (l *Ledger) Runs(ctx context.Context, f RunFilter) (out []finding.Run, err error) {
	err = l.view(ctx, "list runs", func(tx *sql.Tx) (err error) {
		out, err = listRuns(ctx, tx, f)
		return err
	})
	return out, err
}

func listRuns(ctx context.Context, tx *sql.Tx, f RunFilter) ([]finding.Run, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	var out []finding.Run
	err := query(ctx, tx, func(rows *sql.Rows) error {
		r, err := scanRun(rows)
		out = append(out, r)
		return err
	}, "SELECT "+runColumns+" FROM runs WHERE ?1 = '' OR job = ?1 ORDER BY started_at DESC, run_id DESC LIMIT ?2 OFFSET ?3", f.Job, limit, f.Offset)
	return out, err
}

const runColumns = "run_id, job, seed, started_at, finished_at, coalesce(verdict, ''), reasons"

func scanRun(rows *sql.Rows) (finding.Run, error) {
	var (
		r                finding.Run
		started, reasons string
		finished         sql.NullString
	)
	if err := rows.Scan(&r.ID, &r.Job, &r.Seed, &started, &finished, &r.Verdict, &reasons); err != nil {
		return r, err
	}
	var err error
	if r.StartedAt, err = parseTime(started); err != nil {
		return r, err
	}
	if finished.Valid {
		at, err := parseTime(finished.String)
		if err != nil {
			return r, err
		}
		r.FinishedAt = &at
	}
	return r, fromJSON(reasons, &r.Reasons)
}

// Run reads a run back whole: its picked timelines in order, the spans of
// each by LSN. Spans that were not replayed are there as inconclusive ones
// that say so. Findings are marked whose acknowledgement holds, or held when
// the run ended. A run that the ledger does not have is ErrNotFound.
func (l *Ledger) Run(ctx context.Context, runID string) (finding.Run, error) {
	var out finding.Run
	err := l.view(ctx, "read run "+runID, func(tx *sql.Tx) error {
		found := false
		if err := query(ctx, tx, func(rows *sql.Rows) (err error) {
			found = true
			out, err = scanRun(rows)
			return err
		}, "SELECT "+runColumns+" FROM runs WHERE run_id = ?", runID); err != nil {
			return err
		}
		if !found {
			return ErrNotFound
		}
		var err error
		if out.Timelines, err = runTimelines(ctx, tx, runID); err != nil {
			return err
		}
		times := []time.Time{l.now()}
		if out.FinishedAt != nil {
			times = append(times[:0], *out.FinishedAt, l.now())
		}
		acks, err := holding(ctx, tx, times...)
		if err != nil {
			return err
		}
		acks.MarkRun(&out)
		return nil
	})
	return out, err
}
