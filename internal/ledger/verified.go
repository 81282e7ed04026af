package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// VerifiedSpan is a span that was clean the last time it was looked at, all of it.
type VerifiedSpan struct {
	Base, Official string // names of snapshots
	Range          pg.Range
}

// VerifiedSpans lists the spans of a timeline whose newest result is clean and
// left nothing out: no sample, no block that could not be judged.
func (l *Ledger) VerifiedSpans(ctx context.Context, tenant, timeline string) (out []VerifiedSpan, err error) {
	err = l.view(ctx, fmt.Sprintf("read the verified spans of %s/%s", tenant, timeline), func(tx *sql.Tx) error {
		out = nil
		seen := make(map[[2]string]bool)
		return query(ctx, tx, func(rows *sql.Rows) error {
			var base, official, text string
			if err := rows.Scan(&base, &official, &text); err != nil {
				return err
			}
			pair := [2]string{base, official}
			if seen[pair] {
				return nil
			}
			seen[pair] = true
			var v finding.Verification
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				return err
			}
			if v.Verdict == finding.Clean && v.Coverage.BlocksSkipped == 0 && v.Coverage.BlocksTainted == 0 && v.Coverage.BlocksUnverifiable == 0 {
				out = append(out, VerifiedSpan{base, official, v.Span})
			}
			return nil
		}, "SELECT base, official, verification FROM spans WHERE tenant = ? AND timeline = ? AND state = 'finished' ORDER BY finished_at DESC, run_id DESC, span DESC", tenant, timeline)
	})
	return out, err
}
