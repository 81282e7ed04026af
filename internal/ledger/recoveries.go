package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// Recovery is a timeline made by recovery. Zero LSNs and times are those not given or not known.
type Recovery struct {
	TimelineKey                 // the new timeline; its source is the ancestor's
	Ancestor      string        // the timeline whose WAL it is made from
	AncestorLSN   pg.LSN        // where it leaves that timeline
	Base          string        // name of the snapshot
	BaseLSN       pg.LSN        // at which it is consistent
	FromLSN       pg.LSN        // as asked for
	ToLSN         pg.LSN        // as asked for
	ToTime        time.Time     // as asked for
	TargetLSN     pg.LSN        // what is to be reached
	LastRecordLSN pg.LSN        // what is reached
	DurableLSN    pg.LSN        // the newest durable point: a recovery that was killed goes on from there
	ResumedLSN    pg.LSN        // the durable point that it went on from last
	State         finding.State // of the timeline
	Reason        string        // why it failed, what is doubtful about it or, under way, why it is tried again
	Directory     string
	CreatedAt     time.Time
	StartedAt     time.Time
	EndedAt       time.Time
}

// Errors of recoveries.
var (
	ErrUnderWay  = errors.New("it is being recovered or deleted")
	ErrNotShadow = errors.New("it is no timeline made by recovery")
	ErrUsed      = errors.New("its id was that of a timeline that is deleted")
	ErrAdvanced  = errors.New("it is not less advanced than that")
)

// StartRecovery writes down that a timeline is to be made, and makes it
// visible in Timelines. It may be one made before, less advanced than FromLSN,
// that is not under way: that is replaced. ErrUnderWay, ErrNotShadow, ErrUsed, ErrAdvanced.
func (l *Ledger) StartRecovery(ctx context.Context, r Recovery) error {
	return l.update(ctx, "start recovery into "+r.Timeline, func(tx *sql.Tx) error {
		if err := mayRecover(ctx, tx, r); err != nil {
			return err
		}
		if err := seeTimeline(ctx, tx, r.CreatedAt, Timeline{r.TimelineKey, true}); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO recoveries (tenant, timeline, source, ancestor_timeline_id, base, base_lsn, from_lsn, to_lsn, to_time, target_lsn,
			state, directory, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'recovering', ?, ?)`,
			r.Tenant, r.Timeline, r.Source, r.Ancestor, r.Base, r.BaseLSN.String(), lsnOrNull(r.FromLSN), lsnOrNull(r.ToLSN), timeOrNull(r.ToTime), lsnOrNull(r.ToLSN),
			r.Directory, timeText(r.CreatedAt))
		return err
	})
}

func mayRecover(ctx context.Context, tx *sql.Tx, r Recovery) error {
	old, err := recoveryOf(ctx, tx, r.Tenant, r.Timeline)
	if errors.Is(err, ErrNotFound) {
		var there bool
		err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM timelines WHERE tenant = ? AND timeline = ?)", r.Tenant, r.Timeline).Scan(&there)
		if err == nil && there {
			err = ErrNotShadow
		}
		return err
	}
	switch {
	case err != nil:
		return err
	case old.State == finding.StateRecovering || old.State == finding.StateDeleting:
		return ErrUnderWay
	case old.State == finding.StateDeleted:
		return ErrUsed
	case old.LastRecordLSN >= r.FromLSN:
		return fmt.Errorf("%w: it has reached %s", ErrAdvanced, old.LastRecordLSN)
	}
	return nil
}

// Reached is how far a recovery is; zero LSNs are not known.
type Reached struct {
	Target  pg.LSN // what is to be reached
	Last    pg.LSN // what is reached
	Durable pg.LSN // the newest durable point
	Resumed pg.LSN // the durable point that it went on from
	Trouble string // why it has to be tried again, empty: it need not
}

// NoteRecovery writes down how far a recovery is; zero LSNs change nothing. If
// it is not under way any more, say because it was cancelled, that is ErrNotFound.
func (l *Ledger) NoteRecovery(ctx context.Context, tenant, timeline string, at time.Time, to Reached) error {
	return l.update(ctx, "note recovery into "+timeline, func(tx *sql.Tx) error {
		return changeRecovery(ctx, tx, `UPDATE recoveries SET started_at = coalesce(started_at, ?), target_lsn = coalesce(?, target_lsn), last_record_lsn = coalesce(?, last_record_lsn),
			durable_lsn = coalesce(?, durable_lsn), resumed_lsn = coalesce(?, resumed_lsn), reason = ?
			WHERE tenant = ? AND timeline = ? AND state = 'recovering'`, timeText(at), lsnOrNull(to.Target), lsnOrNull(to.Last),
			lsnOrNull(to.Durable), lsnOrNull(to.Resumed), to.Trouble, tenant, timeline)
	})
}

// FinishRecovery ends a recovery whose target was reached: the timeline is
// active, and leaves its ancestor at the end of the last record. doubt says
// what is doubtful about it, if anything is. If it is not under way any more
// that is ErrNotFound.
func (l *Ledger) FinishRecovery(ctx context.Context, tenant, timeline string, at time.Time, target, last pg.LSN, doubt string) error {
	return l.update(ctx, "finish recovery into "+timeline, func(tx *sql.Tx) error {
		return changeRecovery(ctx, tx, `UPDATE recoveries SET state = 'active', ended_at = ?1, target_lsn = ?2, ancestor_lsn = ?3, last_record_lsn = ?3, reason = ?6
			WHERE tenant = ?4 AND timeline = ?5 AND state = 'recovering'`, timeText(at), lsnOrNull(target), lsnOrNull(last), tenant, timeline, doubt)
	})
}

// FailRecovery ends a recovery that cannot be done, for a reason. ErrNotFound as FinishRecovery.
func (l *Ledger) FailRecovery(ctx context.Context, tenant, timeline string, at time.Time, reason string) error {
	return l.update(ctx, "end recovery into "+timeline, func(tx *sql.Tx) error {
		return changeRecovery(ctx, tx, "UPDATE recoveries SET state = 'failed', ended_at = ?, reason = ? WHERE tenant = ? AND timeline = ? AND state = 'recovering'",
			timeText(at), reason, tenant, timeline)
	})
}

// CancelRecovery ends a recovery that is under way; otherwise ErrNotFound.
func (l *Ledger) CancelRecovery(ctx context.Context, tenant, timeline string, at time.Time) error {
	return l.update(ctx, "cancel recovery into "+timeline, func(tx *sql.Tx) error {
		return changeRecovery(ctx, tx, "UPDATE recoveries SET state = 'cancelled', ended_at = ? WHERE tenant = ? AND timeline = ? AND state = 'recovering'",
			timeText(at), tenant, timeline)
	})
}

// StartDelete writes down that a timeline made by recovery is to go; one that
// is under way is ErrUnderWay. To say it again changes nothing.
func (l *Ledger) StartDelete(ctx context.Context, tenant, timeline string) error {
	return l.update(ctx, "delete timeline "+timeline, func(tx *sql.Tx) error {
		old, err := recoveryOf(ctx, tx, tenant, timeline)
		switch {
		case err != nil:
			return err
		case old.State == finding.StateRecovering:
			return ErrUnderWay
		case old.State == finding.StateDeleted:
			return ErrNotFound
		}
		return changeRecovery(ctx, tx, "UPDATE recoveries SET state = 'deleting' WHERE tenant = ? AND timeline = ?", tenant, timeline)
	})
}

// FinishDelete takes a timeline out of Timelines once its directory is gone.
func (l *Ledger) FinishDelete(ctx context.Context, tenant, timeline string) error {
	return l.update(ctx, "delete timeline "+timeline, func(tx *sql.Tx) error {
		if err := changeRecovery(ctx, tx, "UPDATE recoveries SET state = 'deleted' WHERE tenant = ? AND timeline = ? AND state = 'deleting'", tenant, timeline); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM timelines WHERE tenant = ? AND timeline = ? AND shadow", tenant, timeline)
		return err
	})
}

func changeRecovery(ctx context.Context, tx *sql.Tx, stmt string, args ...any) error {
	res, err := tx.ExecContext(ctx, stmt, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrNotFound)
	}
	return nil
}

// Recovery is one timeline made by recovery, or ErrNotFound.
func (l *Ledger) Recovery(ctx context.Context, tenant, timeline string) (out Recovery, err error) {
	err = l.view(ctx, "read recovery into "+timeline, func(tx *sql.Tx) error {
		out, err = recoveryOf(ctx, tx, tenant, timeline)
		return err
	})
	return out, err
}

// Recoveries lists the timelines made by recovery in any of the states, all
// without one, the oldest first.
func (l *Ledger) Recoveries(ctx context.Context, states ...finding.State) (out []Recovery, err error) {
	where, args := "", make([]any, len(states))
	for i, s := range states {
		args[i] = s
	}
	if len(states) > 0 {
		where = "WHERE state IN (?" + strings.Repeat(", ?", len(states)-1) + ")"
	}
	err = l.view(ctx, "list recoveries", func(tx *sql.Tx) error {
		out, err = recoveries(ctx, tx, where, args...)
		return err
	})
	return out, err
}

func recoveryOf(ctx context.Context, tx *sql.Tx, tenant, timeline string) (Recovery, error) {
	found, err := recoveries(ctx, tx, "WHERE tenant = ? AND timeline = ?", tenant, timeline)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Recovery{}, err
	}
	return found[0], nil
}

func recoveries(ctx context.Context, tx *sql.Tx, where string, args ...any) (out []Recovery, err error) {
	err = query(ctx, tx, func(rows *sql.Rows) error {
		r, err := scanRecovery(rows)
		out = append(out, r)
		return err
	}, `SELECT tenant, timeline, source, ancestor_timeline_id, base, state, reason, directory,
		ancestor_lsn, base_lsn, from_lsn, to_lsn, target_lsn, last_record_lsn, durable_lsn, resumed_lsn, to_time, created_at, started_at, ended_at
		FROM recoveries `+where+" ORDER BY created_at, tenant, timeline", args...)
	return out, err
}

func scanRecovery(rows *sql.Rows) (r Recovery, err error) {
	var lsns [8]sql.NullString
	var times [4]sql.NullString
	if err := rows.Scan(&r.Tenant, &r.Timeline, &r.Source, &r.Ancestor, &r.Base, &r.State, &r.Reason, &r.Directory,
		&lsns[0], &lsns[1], &lsns[2], &lsns[3], &lsns[4], &lsns[5], &lsns[6], &lsns[7], &times[0], &times[1], &times[2], &times[3]); err != nil {
		return r, err
	}
	var errs []error
	for i, dst := range []*pg.LSN{&r.AncestorLSN, &r.BaseLSN, &r.FromLSN, &r.ToLSN, &r.TargetLSN, &r.LastRecordLSN, &r.DurableLSN, &r.ResumedLSN} {
		if *dst, err = parseOptionalLSN(lsns[i]); err != nil {
			errs = append(errs, err)
		}
	}
	for i, dst := range []*time.Time{&r.ToTime, &r.CreatedAt, &r.StartedAt, &r.EndedAt} {
		if *dst, err = parseOptionalTime(times[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return r, errors.Join(errs...)
}

func lsnOrNull(l pg.LSN) sql.NullString {
	return sql.NullString{String: l.String(), Valid: l != pg.InvalidLSN}
}

func timeOrNull(t time.Time) sql.NullString {
	return sql.NullString{String: timeText(t), Valid: !t.IsZero()}
}
