package ledger

import (
	"context"
	"database/sql"
	"time"

	"redoubt/internal/finding"
)

// JobState is what the ledger knows of a job.
type JobState struct {
	Job            string
	MissedRuns     int64
	AccountedUntil time.Time    // ticks up to here were run or counted as missed; zero: the job is new
	LastRun        *finding.Run // the newest finished one, without its timelines; nil: none
}

// Job is the state of one job; a job never heard of has the zero state.
func (l *Ledger) Job(ctx context.Context, job string) (JobState, error) {
	out := JobState{Job: job}
	err := l.view(ctx, "read job "+job, func(tx *sql.Tx) error {
		if err := query(ctx, tx, func(rows *sql.Rows) error {
			var until string
			err := rows.Scan(&out.MissedRuns, &until)
			if err != nil {
				return err
			}
			out.AccountedUntil, err = parseTime(until)
			return err
		}, "SELECT missed_runs, accounted_until FROM jobs WHERE job = ?", job); err != nil {
			return err
		}
		return query(ctx, tx, func(rows *sql.Rows) error {
			r, err := scanRun(rows)
			out.LastRun = &r
			return err
		}, "SELECT "+runColumns+" FROM runs WHERE job = ? AND finished_at IS NOT NULL ORDER BY finished_at DESC, run_id DESC LIMIT 1", job)
	})
	return out, err
}

// MissRuns adds to a job's missed runs and accounts for its ticks up to until.
func (l *Ledger) MissRuns(ctx context.Context, job string, missed int64, until time.Time) error {
	return l.update(ctx, "count missed runs of "+job, func(tx *sql.Tx) error {
		return account(ctx, tx, job, missed, until)
	})
}

func account(ctx context.Context, tx *sql.Tx, job string, missed int64, until time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO jobs (job, missed_runs, accounted_until) VALUES (?1, ?2, ?3)
		ON CONFLICT (job) DO UPDATE SET missed_runs = missed_runs + ?2, accounted_until = max(accounted_until, ?3)`,
		job, missed, timeText(until))
	return err
}

// Jobs lists the states of all jobs that ever ran or missed a run.
func (l *Ledger) Jobs(ctx context.Context) ([]JobState, error) {
	var names []string
	err := l.view(ctx, "list jobs", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var name string
			err := rows.Scan(&name)
			names = append(names, name)
			return err
		}, "SELECT job FROM jobs UNION SELECT job FROM runs ORDER BY job")
	})
	if err != nil {
		return nil, err
	}
	var out []JobState
	for _, name := range names {
		s, err := l.Job(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
