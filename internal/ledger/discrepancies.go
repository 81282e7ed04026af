package ledger

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"redoubt/internal/finding"
)

// States of a discrepancy. It is open while a snapshot that showed it exists
// and has not been verified without it since; then it is gone. Found again, it
// is open again.
const (
	StateOpen         = "open"
	StateGone         = "gone"
	StateAcknowledged = "acknowledged" // open, and does not count for the time being
)

// Discrepancy is a finding over all runs.
type Discrepancy = finding.Tracked

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
		(tenant, timeline, id, state, first_seen, first_run_id, last_seen, last_run_id, discrepancy, search, kind, severity)
		VALUES (?1, ?2, ?3, 'open', ?4, ?5, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (tenant, timeline, id) DO UPDATE SET
		state = 'open', gone_at = NULL, last_seen = ?4, last_run_id = ?5, discrepancy = ?6, search = ?7, kind = ?8, severity = ?9`,
		s.tenant, s.timeline, d.ID, at, s.runID, text, searchText(&d), string(d.Kind), string(d.Severity)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO sightings (tenant, timeline, id, official, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (tenant, timeline, id, official) DO UPDATE SET seen_at = ?5`,
		s.tenant, s.timeline, d.ID, s.official, at)
	return err
}

// searchText is where the text of a filter is looked for.
func searchText(d *finding.Discrepancy) string {
	words := []string{d.ID}
	if r := d.Relation; r != nil {
		words = append(words, r.DatabaseName, r.Name, r.IndexOf, r.ToastOf)
	}
	return strings.ToLower(strings.Join(append(words, d.File), " "))
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
// snapshot at all is more likely wrong than true. What was seen at an LSN of a
// range ("NAME@LSN") stays open as long as the range is there: that its pages at
// that LSN cannot be read any more mends none of the later ones.
func (l *Ledger) KeepSnapshots(ctx context.Context, tenant, timeline string, at time.Time, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return l.update(ctx, "close discrepancies of expired snapshots", func(tx *sql.Tx) error {
		list, err := jsonText(names)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM sightings WHERE tenant = ?1 AND timeline = ?2
			AND official NOT IN (SELECT value FROM json_each(?3))
			AND NOT EXISTS (SELECT 1 FROM json_each(?3) WHERE substr(official, 1, length(value) + 1) = value || '@')`, tenant, timeline, list); err != nil {
			return err
		}
		return closeUnseen(ctx, tx, tenant, timeline, at)
	})
}

// DiscrepancyFilter chooses discrepancies; empty fields take all.
type DiscrepancyFilter struct {
	Tenant, Timeline string
	State            string // empty: any
	Kind             finding.Kind
	Severity         finding.Severity
	Text             string // part of a name of the relation, the file or the id, in any case
	After            *DiscrepancyPlace
	Limit            int // 0: all
}

// DiscrepancyPlace is a place in the list of discrepancies: that of the last one of a page.
type DiscrepancyPlace struct {
	LastSeen             time.Time
	Tenant, Timeline, ID string
}

const discrepancyColumns = `d.tenant, d.timeline, d.state, d.first_seen, d.first_run_id, d.last_seen, d.last_run_id, d.gone_at,
	a.reason, a."by", a.at, a.until, `

// discrepancyJoin finds the acknowledgement that holds at the time ?1.
const discrepancyJoin = ` LEFT JOIN acknowledgements a ON a.tenant = d.tenant AND a.timeline = d.timeline AND a.id = d.id
	AND a.ended_at IS NULL AND a.until > ?1 AND a.severity = d.severity AND d.state = 'open' `

const listDiscrepancies = "SELECT " + discrepancyColumns + `json_remove(d.discrepancy, '$.pages', '$.records') FROM (
	SELECT d.rowid AS r FROM discrepancies d INDEXED BY discrepancies_by_time` + discrepancyJoin + `
	WHERE (d.last_seen, d.tenant, d.timeline, d.id) < (?2, ?3, ?4, ?5)
	AND (?6 = '' OR d.tenant = ?6) AND (?7 = '' OR d.timeline = ?7) AND (?8 = '' OR d.kind = ?8) AND (?9 = '' OR d.severity = ?9)
	AND (?10 = '' OR iif(a.id IS NULL, d.state, 'acknowledged') = ?10)
	AND (?11 = '' OR instr(d.search, ?11) > 0)
	ORDER BY d.last_seen DESC, d.tenant DESC, d.timeline DESC, d.id DESC LIMIT ?12
	) k JOIN discrepancies d ON d.rowid = k.r` + discrepancyJoin + `ORDER BY d.last_seen DESC, d.tenant DESC, d.timeline DESC, d.id DESC`

// Discrepancies lists discrepancies, the last seen first, without their pages
// and records. The rows that fit are found in the index alone: rows are long.
func (l *Ledger) Discrepancies(ctx context.Context, f DiscrepancyFilter) ([]Discrepancy, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	after := DiscrepancyPlace{LastSeen: endOfTime}
	if f.After != nil {
		after = *f.After
	}
	var out []Discrepancy
	err := l.view(ctx, "list discrepancies", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			d, err := scanDiscrepancy(rows)
			out = append(out, d)
			return err
		}, listDiscrepancies,
			timeText(l.now()), timeText(after.LastSeen), after.Tenant, after.Timeline, after.ID,
			f.Tenant, f.Timeline, string(f.Kind), string(f.Severity), f.State, strings.ToLower(f.Text), limit)
	})
	return out, err
}

// Discrepancy is a discrepancy whole, the one seen last where several
// timelines have one with that id. An unknown one is ErrNotFound.
func (l *Ledger) Discrepancy(ctx context.Context, id string) (out Discrepancy, err error) {
	err = l.view(ctx, "read discrepancy "+id, func(tx *sql.Tx) error {
		found := false
		if err := query(ctx, tx, func(rows *sql.Rows) (err error) {
			found = true
			out, err = scanDiscrepancy(rows)
			return err
		}, "SELECT "+discrepancyColumns+"d.discrepancy FROM discrepancies d"+discrepancyJoin+"WHERE d.id = ?2 ORDER BY d.last_seen DESC LIMIT 1",
			timeText(l.now()), id); err != nil {
			return err
		}
		if !found {
			return ErrNotFound
		}
		return nil
	})
	return out, err
}

// SpanOf is the verification that saw a discrepancy last, without the list of
// its discrepancies; zero if retention took it away.
func (l *Ledger) SpanOf(ctx context.Context, d Discrepancy) (v finding.Verification, err error) {
	err = l.view(ctx, "read the span of discrepancy "+d.ID, func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			return fromJSON(text, &v)
		}, `SELECT json_remove(verification, '$.discrepancies') FROM spans s WHERE run_id = ? AND tenant = ? AND timeline = ?
			AND EXISTS (SELECT 1 FROM json_each(s.verification, '$.discrepancies') e WHERE json_extract(e.value, '$.id') = ?) ORDER BY span DESC LIMIT 1`,
			d.LastRunID, d.Tenant, d.Timeline, d.ID)
	})
	return v, err
}

func scanDiscrepancy(rows *sql.Rows) (d Discrepancy, err error) {
	var first, last, text string
	var gone, reason, by, at, until sql.NullString
	if err := rows.Scan(&d.Tenant, &d.Timeline, &d.State, &first, &d.FirstRunID, &last, &d.LastRunID, &gone, &reason, &by, &at, &until, &text); err != nil {
		return d, err
	}
	var errs [5]error
	if errs[0] = fromJSON(text, &d.Discrepancy); reason.Valid {
		d.State, d.Acknowledged = StateAcknowledged, &finding.Acknowledgement{Reason: reason.String, By: by.String}
		d.Acknowledged.At, errs[1] = parseTime(at.String)
		d.Acknowledged.Until, errs[2] = parseTime(until.String)
	}
	d.FirstSeen, errs[3] = parseTime(first)
	d.LastSeen, errs[4] = parseTime(last)
	if gone.Valid {
		at, err := parseTime(gone.String)
		d.GoneAt = &at
		return d, errors.Join(err, errors.Join(errs[:]...))
	}
	return d, errors.Join(errs[:]...)
}

// OpenCount is the number of open discrepancies of one kind and severity.
type OpenCount struct {
	Kind     finding.Kind
	Severity finding.Severity
	Count    int64
}

// OpenCounts counts the open discrepancies that count (redoubt_open_discrepancies).
func (l *Ledger) OpenCounts(ctx context.Context) ([]OpenCount, error) {
	var out []OpenCount
	err := l.view(ctx, "count open discrepancies", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var c OpenCount
			err := rows.Scan(&c.Kind, &c.Severity, &c.Count)
			out = append(out, c)
			return err
		}, "SELECT d.kind, d.severity, count(*) FROM discrepancies d WHERE d.state = 'open' AND "+unacknowledged+" GROUP BY d.kind, d.severity ORDER BY d.kind, d.severity",
			timeText(l.now()))
	})
	return out, err
}

// unacknowledged is true of a discrepancy d without an acknowledgement that holds at the time ?1.
const unacknowledged = `NOT EXISTS (SELECT 1 FROM acknowledgements a WHERE a.tenant = d.tenant AND a.timeline = d.timeline AND a.id = d.id
	AND a.ended_at IS NULL AND a.until > ?1 AND a.severity = d.severity)`
