package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Bounds of one transaction of Prune: others who want to write wait for one at a time.
const (
	pruneRows = 1000
	pruneRuns = 20
)

// Pruned counts what Prune took away.
type Pruned struct {
	Runs, Discrepancies, Acknowledgements, Segments int64
}

// neededRuns are the runs that are never taken away: those that saw an open
// discrepancy first or last, the newest finished one of each job, and for each
// timeline the newest one that planned spans of it and, for each of these
// spans, the one that last verified it with nothing left open. On the latter
// rest last_verified_at and with it what is picked.
const neededRuns = `
	SELECT first_run_id AS run_id FROM discrepancies UNION SELECT last_run_id FROM discrepancies
	UNION SELECT run_id FROM (SELECT run_id, max(finished_at) FROM runs WHERE finished_at IS NOT NULL GROUP BY job)
	UNION SELECT run_id FROM newest
	UNION SELECT (SELECT p.run_id FROM spans p
		WHERE p.tenant = s.tenant AND p.timeline = s.timeline AND p.base = s.base AND p.official = s.official AND p.finished_at IS NOT NULL
		AND p.verdict IN ('clean', 'discrepancies') AND json_array_length(p.verification, '$.reasons') = 0 ORDER BY p.finished_at DESC LIMIT 1)
		FROM newest n JOIN spans s ON s.run_id = n.run_id AND s.tenant = n.tenant AND s.timeline = n.timeline`

const newestPlans = `newest AS (
	SELECT p.tenant, p.timeline, p.run_id, max(r.started_at) FROM picks p JOIN runs r ON r.run_id = p.run_id
	WHERE EXISTS (SELECT 1 FROM spans s WHERE s.run_id = p.run_id AND s.tenant = p.tenant AND s.timeline = p.timeline)
	GROUP BY p.tenant, p.timeline)`

// Needed are the runs that Prune never takes away.
func (l *Ledger) Needed(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	err := l.view(ctx, "look for runs that are needed", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var id sql.NullString
			err := rows.Scan(&id)
			if id.Valid {
				out[id.String] = true
			}
			return err
		}, "WITH "+newestPlans+neededRuns)
	})
	return out, err
}

// Prune takes away what is older than before: discrepancies that have been
// gone since earlier, runs that finished earlier with their spans,
// acknowledgements that ended or expired earlier, and what is remembered of
// segments read earlier (they are read again where they are still there). Then
// it gives the space back to the file system.
//
// It never takes an open discrepancy, a run that is not finished, or one that
// is Needed. Each of its transactions leaves a whole ledger; one that is
// killed is gone on with by the next.
func (l *Ledger) Prune(ctx context.Context, before time.Time) (p Pruned, err error) {
	for _, step := range []struct {
		count *int64
		stmt  string
	}{
		{&p.Discrepancies, `DELETE FROM discrepancies WHERE rowid IN (
			SELECT rowid FROM discrepancies WHERE state = 'gone' AND gone_at < ?1 LIMIT ?2)`},
		{&p.Runs, ""},
		{&p.Acknowledgements, `DELETE FROM acknowledgements WHERE acknowledgement IN (
			SELECT acknowledgement FROM acknowledgements a WHERE coalesce(ended_at, until) < ?1
			AND NOT EXISTS (SELECT 1 FROM runs WHERE finished_at BETWEEN a.at AND coalesce(a.ended_at, a.until)) LIMIT ?2)`},
		{&p.Segments, `DELETE FROM segments WHERE (tenant, timeline, segment) IN (
			SELECT tenant, timeline, segment FROM segments WHERE read_at < ?1 LIMIT ?2)`},
	} {
		for more := true; more; {
			err := l.update(ctx, "take away what is old", func(tx *sql.Tx) (err error) {
				var n int64
				if step.stmt == "" {
					n, err = takeRuns(ctx, tx, timeText(before))
				} else {
					n, err = affected(tx.ExecContext(ctx, step.stmt, timeText(before), pruneRows))
				}
				*step.count += n
				more = n > 0
				return err
			})
			if err != nil {
				return p, err
			}
		}
	}
	return p, l.shrink(ctx)
}

func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// takeRuns takes away some old runs; counters and waiting times go on from what stays of them.
func takeRuns(ctx context.Context, tx *sql.Tx, before string) (int64, error) {
	var ids []string
	if err := query(ctx, tx, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, "WITH "+newestPlans+", needed AS ("+neededRuns+`)
		SELECT run_id FROM runs WHERE finished_at < ?1 AND run_id NOT IN (SELECT run_id FROM needed WHERE run_id IS NOT NULL)
		ORDER BY finished_at LIMIT ?2`, before, pruneRuns); err != nil {
		return 0, err
	}
	for _, id := range ids {
		for _, stmt := range []string{
			"DELETE FROM spans WHERE run_id = ?",
			"DELETE FROM picks WHERE run_id = ?",
			`INSERT INTO pruned_runs (run_id, job, started_at, planned_at, finished_at, verdict)
				SELECT run_id, job, started_at, planned_at, finished_at, verdict FROM runs WHERE run_id = ?`,
			"DELETE FROM runs WHERE run_id = ?",
		} {
			if _, err := tx.ExecContext(ctx, stmt, id); err != nil {
				return 0, err
			}
		}
	}
	return int64(len(ids)), nil
}

// keepFreePages are left in the file for what comes.
const keepFreePages = 256

// shrink gives free pages back to the file system. A file made before that
// was possible is written anew once.
func (l *Ledger) shrink(ctx context.Context) error {
	var free, mode int
	for stmt, dst := range map[string]*int{"PRAGMA freelist_count": &free, "PRAGMA auto_vacuum": &mode} {
		if err := l.write.QueryRowContext(ctx, stmt).Scan(dst); err != nil {
			return explainShrink(err)
		}
	}
	if free <= keepFreePages {
		return nil
	}
	if mode != incrementalVacuum {
		if _, err := l.write.ExecContext(ctx, "PRAGMA auto_vacuum = incremental; VACUUM"); err != nil {
			return explainShrink(err)
		}
	}
	for free > keepFreePages && mode == incrementalVacuum {
		if err := l.giveBack(ctx); err != nil {
			return explainShrink(err)
		}
		left := free
		if err := l.write.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free); err != nil || free >= left {
			return explainShrink(err)
		}
	}
	// The file itself becomes short once the write-ahead log is folded into it;
	// if readers are in the way, that happens later.
	_, err := l.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return explainShrink(err)
}

// incrementalVacuum is SQLite's number of the mode.
const incrementalVacuum = 2

// giveBack gives some pages back: the statement does so row by row.
func (l *Ledger) giveBack(ctx context.Context) (err error) {
	rows, err := l.write.QueryContext(ctx, "PRAGMA incremental_vacuum(4096)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
	}
	return rows.Err()
}

func explainShrink(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger: give free space back: %w", explain(err))
}
