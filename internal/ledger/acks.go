package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"redoubt/internal/finding"
)

// Bounds of an acknowledgement.
const (
	maxAckReason = 2000 // bytes
	maxAckBy     = 200  // bytes
	maxAckYears  = 10   // a typo, not a plan
)

// AckError says why a finding cannot be acknowledged as asked for.
type AckError struct{ message string }

func (e *AckError) Error() string { return e.message }

func refuseAck(format string, args ...any) error { return &AckError{fmt.Sprintf(format, args...)} }

// AckRequest asks to acknowledge a finding.
type AckRequest struct {
	ID     string // of a discrepancy, or of what a scan found
	Reason string
	By     string
	At     time.Time
	Until  time.Time
}

// oneLine makes all white space single spaces.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (r *AckRequest) check() error {
	r.Reason, r.By = oneLine(r.Reason), oneLine(r.By)
	switch {
	case r.Reason == "":
		return refuseAck("a reason is needed")
	case len(r.Reason) > maxAckReason || len(r.By) > maxAckBy:
		return refuseAck("the reason may have %d bytes, the name %d", maxAckReason, maxAckBy)
	case !utf8.ValidString(r.Reason) || !utf8.ValidString(r.By):
		return refuseAck("reason and name must be UTF-8")
	case r.By == "":
		return refuseAck("a name is needed: who acknowledges this?")
	case !r.Until.After(r.At):
		return refuseAck("it expires at %s, which is not in the future", r.Until.UTC().Format(time.RFC3339))
	case r.Until.After(r.At.AddDate(maxAckYears, 0, 0)):
		return refuseAck("it expires in more than %d years", maxAckYears)
	}
	return nil
}

// Ack is an acknowledgement as the ledger keeps it.
type Ack = finding.AckRecord

// Acknowledge writes down that a finding is known. One that stands already is
// replaced and kept as ended. An id that no open finding has is ErrNotFound;
// what cannot be acknowledged is an AckError.
func (l *Ledger) Acknowledge(ctx context.Context, r AckRequest) (out Ack, err error) {
	if err := r.check(); err != nil {
		return out, err
	}
	err = l.update(ctx, "acknowledge "+r.ID, func(tx *sql.Tx) error {
		if out, err = findFinding(ctx, tx, r.ID); err != nil {
			return err
		}
		out.Acknowledgement = finding.Acknowledgement{Reason: r.Reason, By: r.By, At: r.At.UTC(), Until: r.Until.UTC()}
		if _, err := endAck(ctx, tx, out.Tenant, out.Timeline, out.ID, r.By, r.At); err != nil {
			return err
		}
		segments, err := jsonText(out.Segments)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO acknowledgements (tenant, timeline, id, finding, about, severity, segments, reason, "by", at, until)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, out.Tenant, out.Timeline, out.ID, out.Finding, out.About, string(out.Severity), segments,
			out.Reason, out.By, timeText(out.At), timeText(out.Until))
		return err
	})
	return out, err
}

// Unacknowledge ends the standing acknowledgement of a finding, so that it
// counts again at once. Without one it is ErrNotFound.
func (l *Ledger) Unacknowledge(ctx context.Context, id, by string, at time.Time) error {
	if by = oneLine(by); by == "" || len(by) > maxAckBy || !utf8.ValidString(by) {
		return refuseAck("a name is needed, of at most %d bytes: who removes this?", maxAckBy)
	}
	return l.update(ctx, "remove the acknowledgement of "+id, func(tx *sql.Tx) error {
		n, err := endAck(ctx, tx, "", "", id, by, at)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		return err
	})
}

func endAck(ctx context.Context, tx *sql.Tx, tenant, timeline, id, by string, at time.Time) (int64, error) {
	res, err := tx.ExecContext(ctx, `UPDATE acknowledgements SET ended_at = ?4, ended_by = ?5
		WHERE (?1 = '' OR tenant = ?1) AND (?2 = '' OR timeline = ?2) AND id = ?3 AND ended_at IS NULL`,
		tenant, timeline, id, timeText(at), by)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// findFinding looks for what may be acknowledged under an id: an open
// discrepancy that counts, or a gap or a damaged segment of the newest scan or
// run of a timeline.
func findFinding(ctx context.Context, tx *sql.Tx, id string) (Ack, error) {
	found, err := findDiscrepancy(ctx, tx, id)
	if err != nil || found != nil {
		return deref(found), err
	}
	found, err = findInScans(ctx, tx, id)
	if err != nil || found != nil {
		return deref(found), err
	}
	found, err = findInSpans(ctx, tx, id)
	if err == nil && found == nil {
		err = ErrNotFound
	}
	return deref(found), err
}

func deref(a *Ack) Ack {
	if a == nil {
		return Ack{}
	}
	return *a
}

func findDiscrepancy(ctx context.Context, tx *sql.Tx, id string) (*Ack, error) {
	var out *Ack
	err := query(ctx, tx, func(rows *sql.Rows) error {
		d, err := scanDiscrepancy(rows)
		switch {
		case err != nil:
			return err
		case out != nil:
			return refuseAck("several timelines have a discrepancy %s", id)
		case d.State == StateGone:
			return refuseAck("discrepancy %s is gone: there is nothing to acknowledge", id)
		case d.Severity == finding.Benign:
			return refuseAck("discrepancy %s is benign: it never counts", id)
		}
		out = &Ack{Tenant: d.Tenant, Timeline: d.Timeline, ID: id, Finding: "discrepancy", About: aboutDiscrepancy(&d.Discrepancy), Severity: d.Severity}
		return nil
	}, "SELECT "+discrepancyColumns+"d.discrepancy FROM discrepancies d"+discrepancyJoin+"WHERE d.id = ?2", timeText(endOfTime), id)
	return out, err
}

func aboutDiscrepancy(d *finding.Discrepancy) string {
	words := []string{string(d.Severity), strings.ReplaceAll(string(d.Kind), "_", " ")}
	if d.Relation != nil && d.Relation.Name != "" {
		words = append(words, d.Relation.Name)
	}
	if d.File != "" {
		words = append(words, d.File)
	}
	if d.Block != nil {
		words = append(words, fmt.Sprint("block ", *d.Block))
	}
	return strings.Join(words, " ")
}

func findInScans(ctx context.Context, tx *sql.Tx, id string) (*Ack, error) {
	var out *Ack
	err := query(ctx, tx, func(rows *sql.Rows) error {
		var text string
		if err := rows.Scan(&text); err != nil || out != nil {
			return err
		}
		var s finding.ScanTimeline
		if err := fromJSON(text, &s); err != nil {
			return err
		}
		s.Identify()
		out = gapAck(s.Tenant, s.Timeline, s.Gaps, id)
		for _, d := range s.Damaged {
			if d.ID == id && id != "" {
				out = &Ack{Tenant: s.Tenant, Timeline: s.Timeline, ID: id, Finding: "damaged", About: "damaged segment " + d.Segment + ": " + d.Reason}
			}
		}
		if out == nil {
			out = lostWriteAck(s.Tenant, s.Timeline, s.LostWrites, id)
		}
		return nil
	}, "SELECT scan FROM timelines WHERE scan IS NOT NULL")
	return out, err
}

// findInSpans looks at gaps and lost writes that the newest run of a timeline
// met and its scan did not.
func findInSpans(ctx context.Context, tx *sql.Tx, id string) (*Ack, error) {
	var out *Ack
	err := query(ctx, tx, func(rows *sql.Rows) error {
		var tenant, timeline, gaps, lost string
		if err := rows.Scan(&tenant, &timeline, &gaps, &lost); err != nil || out != nil {
			return err
		}
		var v finding.Verification
		if err := errors.Join(fromJSON(gaps, &v.Gaps), fromJSON(lost, &v.LostWrites)); err != nil {
			return err
		}
		v.Identify(tenant, timeline)
		if out = gapAck(tenant, timeline, v.Gaps, id); out == nil {
			out = lostWriteAck(tenant, timeline, v.LostWrites, id)
		}
		return nil
	}, `SELECT s.tenant, s.timeline, coalesce(s.gaps, '[]'), coalesce(s.lost_writes, '[]') FROM spans s
		WHERE (json_array_length(s.verification, '$.gaps') > 0 OR json_array_length(s.verification, '$.lost_writes') > 0) AND s.run_id = (SELECT r.run_id FROM picks p JOIN runs r ON r.run_id = p.run_id
			WHERE p.tenant = s.tenant AND p.timeline = s.timeline ORDER BY r.started_at DESC, r.run_id DESC LIMIT 1)`)
	return out, err
}

func gapAck(tenant, timeline string, gaps []finding.Gap, id string) *Ack {
	for _, g := range gaps {
		if g.ID == id && id != "" {
			return &Ack{Tenant: tenant, Timeline: timeline, ID: id, Finding: "gap", Segments: g.Segments,
				About: fmt.Sprintf("WAL missing from %s to %s", g.From, g.To)}
		}
	}
	return nil
}

func lostWriteAck(tenant, timeline string, lost []finding.StaleImage, id string) *Ack {
	for i := range lost {
		if w := &lost[i]; w.ID == id && id != "" {
			return &Ack{Tenant: tenant, Timeline: timeline, ID: id, Finding: "lost_write",
				About: fmt.Sprintf("write lost by the primary: %d/%d/%d %s block %d, image at %s", w.Relation.Tablespace, w.Relation.Database, w.Relation.RelFileNode, w.Relation.Fork, w.Block, w.At)}
		}
	}
	return nil
}

// Finding says what may be acknowledged under an id; ErrNotFound, AckError.
func (l *Ledger) Finding(ctx context.Context, id string) (out Ack, err error) {
	err = l.view(ctx, "look for finding "+id, func(tx *sql.Tx) error {
		out, err = findFinding(ctx, tx, id)
		return err
	})
	return out, err
}

// AckFilter chooses acknowledgements.
type AckFilter struct {
	ID    string // of the finding; empty: any
	All   bool   // those too that have expired or were ended
	Limit int    // 0: all
}

// Acks lists acknowledgements, the newest first.
func (l *Ledger) Acks(ctx context.Context, f AckFilter) ([]Ack, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	var out []Ack
	err := l.view(ctx, "list acknowledgements", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			a, err := scanAck(rows)
			out = append(out, a)
			return err
		}, "SELECT "+ackColumns+` FROM acknowledgements
			WHERE (?1 = '' OR id = ?1) AND (?2 OR (ended_at IS NULL AND until > ?3)) ORDER BY acknowledgement DESC LIMIT ?4`,
			f.ID, f.All, timeText(l.now()), limit)
	})
	return out, err
}

const ackColumns = `tenant, timeline, id, finding, about, severity, segments, reason, "by", at, until, ended_at, coalesce(ended_by, '')`

func scanAck(rows *sql.Rows) (a Ack, err error) {
	var segments, at, until string
	var ended sql.NullString
	if err := rows.Scan(&a.Tenant, &a.Timeline, &a.ID, &a.Finding, &a.About, &a.Severity, &segments, &a.Reason, &a.By, &at, &until, &ended, &a.EndedBy); err != nil {
		return a, err
	}
	if err := fromJSON(segments, &a.Segments); err != nil {
		return a, err
	}
	var errs [3]error
	a.At, errs[0] = parseTime(at)
	a.Until, errs[1] = parseTime(until)
	if ended.Valid {
		a.EndedAt = new(time.Time)
		*a.EndedAt, errs[2] = parseTime(ended.String)
	}
	return a, errors.Join(errs[:]...)
}

// Acknowledgements are those that hold now.
func (l *Ledger) Acknowledgements(ctx context.Context) (out *finding.Acknowledgements, err error) {
	err = l.view(ctx, "read acknowledgements", func(tx *sql.Tx) error {
		out, err = holding(ctx, tx, l.now())
		return err
	})
	return out, err
}

// holding are the acknowledgements that hold, or held, at any of the given times.
func holding(ctx context.Context, tx *sql.Tx, times ...time.Time) (*finding.Acknowledgements, error) {
	out := &finding.Acknowledgements{}
	for _, at := range times { // of two for one finding the later time's is taken
		if err := query(ctx, tx, func(rows *sql.Rows) error {
			a, err := scanAck(rows)
			out.Add(a.Tenant, a.Timeline, a.ID, a.Severity, a.Segments, a.Acknowledgement)
			return err
		}, "SELECT "+ackColumns+" FROM acknowledgements WHERE at <= ?1 AND until > ?1 AND (ended_at IS NULL OR ended_at > ?1) ORDER BY acknowledgement", timeText(at)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
