package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"redoubt/internal/finding"
)

// ReviseSpans shows revise each finished span of a run together with the one
// before it, which ended at the snapshot that it starts from, and records what
// revise changes of its discrepancies. revise says whether it changed any; ids,
// kinds and severities must stay as they are.
func (l *Ledger) ReviseSpans(ctx context.Context, runID string, revise func(before, v *finding.Verification) bool) error {
	return l.update(ctx, fmt.Sprintf("revise the spans of run %s", runID), func(tx *sql.Tx) error {
		spans, err := finishedSpans(ctx, tx, runID)
		if err != nil {
			return err
		}
		type end struct {
			TimelineKey
			snapshot string
		}
		ends := make(map[end]*finding.Verification, len(spans))
		for i := range spans {
			ends[end{spans[i].TimelineKey, spans[i].Official}] = &spans[i].v
		}
		for i := range spans {
			s := &spans[i]
			before := ends[end{s.TimelineKey, s.Base}]
			if before == nil || !revise(before, &s.v) {
				continue
			}
			if err := s.store(ctx, tx, runID); err != nil {
				return err
			}
		}
		return nil
	})
}

// finishedSpan is a span with its result.
type finishedSpan struct {
	Span
	v finding.Verification
}

func finishedSpans(ctx context.Context, tx *sql.Tx, runID string) (out []finishedSpan, err error) {
	err = query(ctx, tx, func(rows *sql.Rows) error {
		var s finishedSpan
		var text string
		if err := rows.Scan(&s.Number, &s.Source, &s.Tenant, &s.Timeline, &s.Base, &s.Official, &text); err != nil {
			return err
		}
		out = append(out, s)
		return json.Unmarshal([]byte(text), &out[len(out)-1].v)
	}, `SELECT span, source, tenant, timeline, base, official, verification FROM spans
		WHERE run_id = ? AND state = 'finished' ORDER BY tenant, timeline, span`, runID)
	return out, err
}

// store writes a revised result, and the discrepancies that were last seen in this run.
func (s *finishedSpan) store(ctx context.Context, tx *sql.Tx, runID string) error {
	text, err := jsonText(s.v)
	if err != nil {
		return err
	}
	if err := changeOne(ctx, tx, "UPDATE spans SET verification = ? WHERE run_id = ? AND span = ?", text, runID, s.Number); err != nil {
		return err
	}
	for i := range s.v.Discrepancies {
		d := &s.v.Discrepancies[i]
		if text, err = jsonText(d); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE discrepancies SET discrepancy = ? WHERE tenant = ? AND timeline = ? AND id = ? AND last_run_id = ?",
			text, s.Tenant, s.Timeline, d.ID, runID); err != nil {
			return err
		}
	}
	return nil
}
