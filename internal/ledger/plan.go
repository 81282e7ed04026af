package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// TimelineKey names a timeline.
type TimelineKey struct {
	Source   string // the configured source it is read from
	Tenant   string
	Timeline string
}

// Pick is one timeline of a run.
type Pick struct {
	TimelineKey
	Reasons []string // what of it cannot be verified, and why
	PutOff  bool     // the run's limit leaves no room for it: it goes on waiting
}

// Span is one planned span: from a base snapshot to the official snapshot
// that the replayed pages are compared with.
type Span struct {
	Number int // within the run, from 0; the order of execution
	TimelineKey
	TLI      pg.TLI
	Base     string // names of snapshots
	Official string
	Range    pg.Range
	Deferred string // why it is not verified in this run; empty: it is to be
}

// Plan is what a run is to do.
type Plan struct {
	Picks   []Pick
	Spans   []Span
	Reasons []string // what of the catalog could not be read
}

// unfinishedReason is what a span says of itself until its result is recorded.
const unfinishedReason = "not verified: the run has not come to it yet"

// SavePlan writes down what a started run is to do, once.
func (l *Ledger) SavePlan(ctx context.Context, runID string, at time.Time, p Plan) error {
	return l.update(ctx, "save the plan of run "+runID, func(tx *sql.Tx) error {
		reasons, err := jsonText(p.Reasons)
		if err != nil {
			return err
		}
		if err := changeOne(ctx, tx, "UPDATE runs SET planned_at = ?, reasons = ? WHERE run_id = ? AND planned_at IS NULL AND finished_at IS NULL",
			timeText(at), reasons, runID); err != nil {
			return err
		}
		for i, pick := range p.Picks {
			if err := savePick(ctx, tx, runID, i, at, pick); err != nil {
				return err
			}
		}
		for _, s := range p.Spans {
			if err := saveSpan(ctx, tx, runID, s); err != nil {
				return err
			}
		}
		return nil
	})
}

func savePick(ctx context.Context, tx *sql.Tx, runID string, ordinal int, at time.Time, p Pick) error {
	reasons, err := jsonText(p.Reasons)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO picks (run_id, ordinal, source, tenant, timeline, reasons) VALUES (?, ?, ?, ?, ?, ?)",
		runID, ordinal, p.Source, p.Tenant, p.Timeline, reasons); err != nil {
		return err
	}
	if err := seeTimeline(ctx, tx, at, Timeline{TimelineKey: p.TimelineKey}); err != nil {
		return err
	}
	if p.PutOff {
		return nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE timelines SET last_picked_at = ?, picks_in_vain = picks_in_vain + 1 WHERE tenant = ? AND timeline = ?",
		timeText(at), p.Tenant, p.Timeline)
	return err
}

func saveSpan(ctx context.Context, tx *sql.Tx, runID string, s Span) error {
	state, reason := "planned", unfinishedReason
	if s.Deferred != "" {
		state, reason = "deferred", s.Deferred
	}
	text, err := jsonText(finding.Verification{Verdict: finding.Inconclusive, Reasons: []string{reason}, Span: s.Range})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO spans (run_id, span, source, tenant, timeline, tli, base, official, state, verification)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		runID, s.Number, s.Source, s.Tenant, s.Timeline, uint32(s.TLI), s.Base, s.Official, state, text)
	return err
}

// Remaining is what of a planned run is still to be done: spans in their
// order of execution, and the timelines that are not scanned.
func (l *Ledger) Remaining(ctx context.Context, runID string) (spans []Span, scans []TimelineKey, err error) {
	err = l.view(ctx, "read what remains of run "+runID, func(tx *sql.Tx) error {
		if err := query(ctx, tx, func(rows *sql.Rows) error {
			s, err := scanSpan(rows)
			spans = append(spans, s)
			return err
		}, "SELECT "+spanColumns+" FROM spans WHERE run_id = ? AND state = 'planned' ORDER BY span", runID); err != nil {
			return err
		}
		return query(ctx, tx, func(rows *sql.Rows) error {
			var k TimelineKey
			err := rows.Scan(&k.Source, &k.Tenant, &k.Timeline)
			scans = append(scans, k)
			return err
		}, "SELECT source, tenant, timeline FROM picks WHERE run_id = ? AND scan IS NULL ORDER BY ordinal", runID)
	})
	return spans, scans, err
}

const spanColumns = "span, source, tenant, timeline, tli, base, official, span_from, span_to"

func scanSpan(rows *sql.Rows) (Span, error) {
	var (
		s        Span
		from, to string
	)
	if err := rows.Scan(&s.Number, &s.Source, &s.Tenant, &s.Timeline, &s.TLI, &s.Base, &s.Official, &from, &to); err != nil {
		return s, err
	}
	var err error
	if s.Range.From, err = pg.ParseLSN(from); err != nil {
		return s, err
	}
	s.Range.To, err = pg.ParseLSN(to)
	return s, err
}

// PicksBySeed are the picks of the newest planned run of a job with that
// seed, nil when there was none: a seed given again repeats a night's picks.
func (l *Ledger) PicksBySeed(ctx context.Context, job string, seed int64) ([]TimelineKey, error) {
	var out []TimelineKey
	err := l.view(ctx, "look for picks by seed", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			var k TimelineKey
			err := rows.Scan(&k.Source, &k.Tenant, &k.Timeline)
			out = append(out, k)
			return err
		}, `SELECT source, tenant, timeline FROM picks WHERE run_id = (
			SELECT run_id FROM runs WHERE job = ? AND seed = ? AND planned_at IS NOT NULL ORDER BY started_at DESC, run_id DESC LIMIT 1
			) ORDER BY ordinal`, job, seed)
	})
	return out, err
}

// runTimelines reads the picks of a run with their spans and scans.
func runTimelines(ctx context.Context, tx *sql.Tx, runID string) ([]finding.RunTimeline, error) {
	out := []finding.RunTimeline{}
	index := map[[2]string]int{}
	if err := query(ctx, tx, func(rows *sql.Rows) error {
		t := finding.RunTimeline{Spans: []finding.Verification{}}
		var reasons string
		var scan sql.NullString
		if err := rows.Scan(&t.Tenant, &t.Timeline, &reasons, &scan); err != nil {
			return err
		}
		if scan.Valid {
			t.Scan = new(finding.ScanTimeline)
			if err := fromJSON(scan.String, t.Scan); err != nil {
				return err
			}
		}
		index[[2]string{t.Tenant, t.Timeline}] = len(out)
		err := fromJSON(reasons, &t.Reasons)
		out = append(out, t)
		return err
	}, "SELECT tenant, timeline, reasons, scan FROM picks WHERE run_id = ? ORDER BY ordinal", runID); err != nil {
		return nil, err
	}
	if err := query(ctx, tx, func(rows *sql.Rows) error {
		var key [2]string
		var text string
		if err := rows.Scan(&key[0], &key[1], &text); err != nil {
			return err
		}
		var v finding.Verification
		err := fromJSON(text, &v)
		t := &out[index[key]] // the foreign key says that it is there
		t.Spans = append(t.Spans, v)
		return err
	}, "SELECT tenant, timeline, verification FROM spans WHERE run_id = ?", runID); err != nil {
		return nil, err
	}
	for i := range out {
		slices.SortStableFunc(out[i].Spans, func(a, b finding.Verification) int {
			return cmp.Or(cmp.Compare(a.Span.From, b.Span.From), cmp.Compare(a.Span.To, b.Span.To))
		})
	}
	return out, nil
}
