package ledger

import (
	"context"
	"database/sql"
	"time"

	"redoubt/internal/finding"
)

// State says whether a discrepancy is still believed to be there.
type State string

// A discrepancy is open while a snapshot that showed it exists and has not
// been verified without it since; then it is gone. Found again, it is open again.
const (
	StateOpen State = "open"
	StateGone State = "gone"
)

// Discrepancy is a finding over all runs.
type Discrepancy struct {
	finding.Discrepancy            // as last seen
	Tenant              string     `json:"tenant"`
	Timeline            string     `json:"timeline"`
	State               State      `json:"state"`
	FirstSeen           time.Time  `json:"first_seen"`
	FirstRunID          string     `json:"first_run_id"`
	LastSeen            time.Time  `json:"last_seen"`
	LastRunID           string     `json:"last_run_id"`
	GoneAt              *time.Time `json:"gone_at,omitempty"`
}

// sighting is where and when a span's discrepancies were seen.
type sighting struct {
	runID, tenant, timeline string
	official                string // name of the snapshot
	at                      time.Time
}

// record opens the discrepancies of v and closes those that v disproves.
func (s sighting) record(ctx context.Context, tx *sql.Tx, v finding.Verification) error {
	seen := make(map[string]bool, len(v.Discrepancies))
	for _, d := range v.Discrepancies {
		seen[d.ID] = true
		if err := s.open(ctx, tx, d); err != nil {
			return err
		}
	}
	if !disproves(v) {
		return nil
	}
	var gone []string
	if err := query(ctx, tx, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		if !seen[id] {
			gone = append(gone, id)
		}
		return err
	}, "SELECT id FROM sightings WHERE tenant = ? AND timeline = ? AND official = ?", s.tenant, s.timeline, s.official); err != nil {
		return err
	}
	for _, id := range gone {
		if _, err := tx.ExecContext(ctx, "DELETE FROM sightings WHERE tenant = ? AND timeline = ? AND id = ? AND official = ?",
			s.tenant, s.timeline, id, s.official); err != nil {
			return err
		}
	}
	return closeUnseen(ctx, tx, s.tenant, s.timeline, s.at)
}

func (s sighting) open(ctx context.Context, tx *sql.Tx, d finding.Discrepancy) error {
	text, err := jsonText(d)
	if err != nil {
		return err
	}
	at := timeText(s.at)
	if _, err := tx.ExecContext(ctx, `INSERT INTO discrepancies
		(tenant, timeline, id, state, first_seen, first_run_id, last_seen, last_run_id, discrepancy)
		VALUES (?1, ?2, ?3, 'open', ?4, ?5, ?4, ?5, ?6)
		ON CONFLICT (tenant, timeline, id) DO UPDATE SET
		state = 'open', gone_at = NULL, last_seen = ?4, last_run_id = ?5, discrepancy = ?6`,
		s.tenant, s.timeline, d.ID, at, s.runID, text); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO sightings (tenant, timeline, id, official, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (tenant, timeline, id, official) DO UPDATE SET seen_at = ?5`,
		s.tenant, s.timeline, d.ID, s.official, at)
	return err
}

// disproves reports whether v speaks against what it does not list: every
// block was judged, nothing stood in the way, and the list is not cut.
func disproves(v finding.Verification) bool {
	listed := int64(0)
	for _, d := range v.Discrepancies {
		if d.Severity != finding.Benign {
			listed++
		}
	}
	c := v.Coverage
	return (v.Verdict == finding.Clean || v.Verdict == finding.Discrepancies) && len(v.Reasons) == 0 &&
		c.BlocksTainted+c.BlocksUnverifiable+c.BlocksSkipped == 0 &&
		v.DiscrepancyCounts.Critical+v.DiscrepancyCounts.Warning == listed
}

func closeUnseen(ctx context.Context, tx *sql.Tx, tenant, timeline string, at time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE discrepancies SET state = 'gone', gone_at = ?3
		WHERE tenant = ?1 AND timeline = ?2 AND state = 'open' AND NOT EXISTS (
			SELECT 1 FROM sightings s WHERE s.tenant = discrepancies.tenant AND s.timeline = discrepancies.timeline AND s.id = discrepancies.id)`,
		tenant, timeline, timeText(at))
	return err
}

// KeepSnapshots closes the discrepancies that were seen only in snapshots
// which no longer exist. names are all snapshots of the timeline, broken
// ones too; an empty list closes nothing, since a listing that finds no
// snapshot at all is more likely wrong than true.
func (l *Ledger) KeepSnapshots(ctx context.Context, tenant, timeline string, at time.Time, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return l.update(ctx, "close discrepancies of expired snapshots", func(tx *sql.Tx) error {
		list, err := jsonText(names)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM sightings WHERE tenant = ? AND timeline = ?
			AND official NOT IN (SELECT value FROM json_each(?))`, tenant, timeline, list); err != nil {
			return err
		}
		return closeUnseen(ctx, tx, tenant, timeline, at)
	})
}

// DiscrepancyFilter chooses discrepancies; empty fields take all.
type DiscrepancyFilter struct {
	Tenant, Timeline string
	ID               string
	State            State
	Kind             finding.Kind
	Severity         finding.Severity
	Limit, Offset    int // Limit 0: all
}

// Discrepancies lists discrepancies, the last seen first.
func (l *Ledger) Discrepancies(ctx context.Context, f DiscrepancyFilter) ([]Discrepancy, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	var out []Discrepancy
	err := l.view(ctx, "list discrepancies", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			d, err := scanDiscrepancy(rows)
			out = append(out, d)
			return err
		}, `SELECT tenant, timeline, state, first_seen, first_run_id, last_seen, last_run_id, gone_at, discrepancy FROM discrepancies
			WHERE (?1 = '' OR tenant = ?1) AND (?2 = '' OR timeline = ?2) AND (?3 = '' OR id = ?3)
			AND (?4 = '' OR state = ?4) AND (?5 = '' OR kind = ?5) AND (?6 = '' OR severity = ?6)
			ORDER BY last_seen DESC, tenant, timeline, id LIMIT ?7 OFFSET ?8`,
			f.Tenant, f.Timeline, f.ID, string(f.State), string(f.Kind), string(f.Severity), limit, f.Offset)
	})
	return out, err
}

func scanDiscrepancy(rows *sql.Rows) (d Discrepancy, err error) {
	var first, last, text string
	var gone sql.NullString
	if err := rows.Scan(&d.Tenant, &d.Timeline, &d.State, &first, &d.FirstRunID, &last, &d.LastRunID, &gone, &text); err != nil {
		return d, err
	}
	if d.FirstSeen, err = parseTime(first); err != nil {
		return d, err
	}
	if d.LastSeen, err = parseTime(last); err != nil {
		return d, err
	}
	if gone.Valid {
		at, err := parseTime(gone.String)
		if err != nil {
			return d, err
		}
		d.GoneAt = &at
	}
	return d, fromJSON(text, &d.Discrepancy)
}

// OpenCount is the number of open discrepancies of one kind and severity.
type OpenCount struct {
	Kind     finding.Kind
	Severity finding.Severity
	Count    int64
}

// OpenCounts counts the open discrepancies (redoubt_open_discrepancies).
func (l *Ledger) OpenCounts(ctx context.Context) ([]OpenCount, error) {
	var out []OpenCount
	err := l.view(ctx, "count open discrepancies", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var c OpenCount
			err := rows.Scan(&c.Kind, &c.Severity, &c.Count)
			out = append(out, c)
			return err
		}, "SELECT kind, severity, count(*) FROM discrepancies WHERE state = 'open' GROUP BY kind, severity ORDER BY kind, severity")
	})
	return out, err
}
