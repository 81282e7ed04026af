package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// Timeline is what a catalog says of a timeline.
type Timeline struct {
	TimelineKey
	Shadow bool // made by recovery: never picked
}

// TimelineState is what the ledger knows of a timeline.
type TimelineState struct {
	Timeline
	FirstSeen       time.Time
	LastSeen        time.Time // in a catalog
	LastPickedAt    time.Time // zero: never
	PicksInVain     int       // picks since a span of it was last verified
	LastVerifiedAt  time.Time // zero: never; see FinishRun
	LastVerifiedLSN pg.LSN
	// RunsWaited counts the runs of the job asked about that were planned
	// since the timeline was last picked, or first seen.
	RunsWaited int
	// OpenDiscrepancies counts the critical and warning ones that are not acknowledged.
	OpenDiscrepancies int64
	Scan              *finding.ScanTimeline // the newest, nil: never scanned
	ScannedAt         time.Time
}

// SeeTimelines writes down which timelines exist. One
// that recovery made is a shadow, whatever a catalog says.
func (l *Ledger) SeeTimelines(ctx context.Context, at time.Time, timelines []Timeline) error {
	return l.update(ctx, "note timelines", func(tx *sql.Tx) error {
		for _, t := range timelines {
			if err := seeTimeline(ctx, tx, at, t); err != nil {
				return err
			}
		}
		return nil
	})
}

func seeTimeline(ctx context.Context, tx *sql.Tx, at time.Time, t Timeline) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO timelines (tenant, timeline, source, shadow, first_seen, last_seen) 
		VALUES (?1, ?2, ?3, ?4 OR EXISTS (SELECT 1 FROM recoveries WHERE tenant = ?1 AND timeline = ?2), ?5, ?5)
		ON CONFLICT (tenant, timeline) DO UPDATE SET source = ?3, shadow = excluded.shadow, last_seen = ?5`,
		t.Tenant, t.Timeline, t.Source, t.Shadow, timeText(at))
	return err
}

// Timelines lists the timelines ever seen, in order of tenant and timeline.
// RunsWaited counts the runs of job.
func (l *Ledger) Timelines(ctx context.Context, job string) ([]TimelineState, error) {
	var out []TimelineState
	err := l.view(ctx, "list timelines", func(tx *sql.Tx) error {
		acks, err := holding(ctx, tx, l.now())
		if err != nil {
			return err
		}
		return query(ctx, tx, func(rows *sql.Rows) error {
			t, err := scanTimeline(rows)
			if t.Scan != nil {
				acks.MarkScan(t.Scan)
			}
			out = append(out, t)
			return err
		}, `SELECT source, tenant, timeline, shadow, first_seen, last_seen, last_picked_at, picks_in_vain,
			last_verified_at, last_verified_lsn, scan, scanned_at,
			(SELECT count(*) FROM runs WHERE job = ?2 AND planned_at > coalesce(t.last_picked_at, t.first_seen)) +
			(SELECT count(*) FROM pruned_runs WHERE job = ?2 AND planned_at > coalesce(t.last_picked_at, t.first_seen)),
			(SELECT count(*) FROM discrepancies d WHERE d.tenant = t.tenant AND d.timeline = t.timeline AND d.state = 'open' AND d.severity <> 'benign'
				AND `+unacknowledged+`)
			FROM timelines t ORDER BY tenant, timeline`, timeText(l.now()), job)
	})
	return out, err
}

func scanTimeline(rows *sql.Rows) (t TimelineState, err error) {
	var (
		first, last                       string
		picked, verified, scanned, lsn, s sql.NullString
	)
	if err := rows.Scan(&t.Source, &t.Tenant, &t.Timeline.Timeline, &t.Shadow, &first, &last, &picked, &t.PicksInVain,
		&verified, &lsn, &s, &scanned, &t.RunsWaited, &t.OpenDiscrepancies); err != nil {
		return t, err
	}
	var errs [6]error
	t.FirstSeen, errs[0] = parseTime(first)
	t.LastSeen, errs[1] = parseTime(last)
	t.LastPickedAt, errs[2] = parseOptionalTime(picked)
	t.LastVerifiedAt, errs[3] = parseOptionalTime(verified)
	t.LastVerifiedLSN, errs[4] = parseOptionalLSN(lsn)
	t.ScannedAt, errs[5] = parseOptionalTime(scanned)
	if err := errors.Join(errs[:]...); err != nil {
		return t, err
	}
	if s.Valid {
		t.Scan = new(finding.ScanTimeline)
		err = fromJSON(s.String, t.Scan)
	}
	return t, err
}

// noteVerified moves on the timelines of a finished run whose every span, as
// planned in this run, has been verified with nothing left open, in this run
// or before. The time is that of the span verified longest ago. Timelines of
// which any span was verified in this run were not picked in vain.
func noteVerified(ctx context.Context, tx *sql.Tx, runID string) error {
	oldest, newest := map[TimelineKey]string{}, map[TimelineKey]pg.LSN{}
	err := query(ctx, tx, func(rows *sql.Rows) error {
		var k TimelineKey
		var to string
		var at sql.NullString
		if err := rows.Scan(&k.Tenant, &k.Timeline, &to, &at); err != nil {
			return err
		}
		lsn, err := pg.ParseLSN(to)
		if err != nil {
			return err
		}
		if old, known := oldest[k]; !known || at.String < old {
			oldest[k] = at.String // empty, where a span was never verified, is the least
		}
		newest[k] = max(newest[k], lsn)
		return nil
	}, `SELECT tenant, timeline, span_to, (SELECT p.finished_at FROM spans p
			WHERE p.tenant = s.tenant AND p.timeline = s.timeline AND p.base = s.base AND p.official = s.official AND p.finished_at IS NOT NULL
			AND `+verifiedWhole+` ORDER BY p.finished_at DESC LIMIT 1)
		FROM spans s WHERE run_id = ?`, runID)
	if err != nil {
		return err
	}
	for k, at := range oldest {
		if at == "" {
			continue
		}
		if err := changeOne(ctx, tx, "UPDATE timelines SET last_verified_at = ?, last_verified_lsn = ? WHERE tenant = ? AND timeline = ?",
			at, newest[k].String(), k.Tenant, k.Timeline); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `UPDATE timelines SET picks_in_vain = 0 WHERE (tenant, timeline) IN (
		SELECT tenant, timeline FROM spans WHERE run_id = ? AND state = 'finished' AND `+verifiedWhole+`)`, runID)
	return err
}
