package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// SpanName names a span within its timeline by the snapshots it lies between.
type SpanName struct{ Base, Official string }

// SpanPast is what became of a span in earlier runs.
type SpanPast struct {
	Attempts    int       // that came to an end, whatever they found
	LastAttempt time.Time // zero: never
	Verified    bool      // one of them reached a verdict that leaves nothing open
}

// SpansPast is what became of a timeline's spans.
func (l *Ledger) SpansPast(ctx context.Context, tenant, timeline string) (map[SpanName]SpanPast, error) {
	out := make(map[SpanName]SpanPast)
	err := l.view(ctx, fmt.Sprintf("read the past of the spans of %s/%s", tenant, timeline), func(tx *sql.Tx) error {
		clear(out)
		return query(ctx, tx, func(rows *sql.Rows) error {
			var name SpanName
			var p SpanPast
			var last string
			if err := rows.Scan(&name.Base, &name.Official, &p.Attempts, &last, &p.Verified); err != nil {
				return err
			}
			var err error
			p.LastAttempt, err = parseTime(last)
			out[name] = p
			return err
		}, `SELECT base, official, count(*), max(finished_at), max(`+verifiedWhole+`)
			FROM spans WHERE tenant = ? AND timeline = ? AND state = 'finished' GROUP BY base, official`, tenant, timeline)
	})
	return out, err
}

// verifiedWhole says that a finished span reached a verdict that leaves nothing open.
const verifiedWhole = `(verdict IN ('clean', 'discrepancies') AND json_array_length(verification, '$.reasons') = 0)`

// SpanCost is what a span that reached a verdict took.
type SpanCost struct {
	Tenant, Timeline string
	WALBytes         int64
	Blocks           int64 // compared
	WallSeconds      float64
	ScratchBytes     int64
}

// SpanCosts are those of the newest spans, n at most.
func (l *Ledger) SpanCosts(ctx context.Context, n int) (out []SpanCost, err error) {
	err = l.view(ctx, "read what spans took", func(tx *sql.Tx) error {
		out = nil
		return query(ctx, tx, func(rows *sql.Rows) error {
			var c SpanCost
			err := rows.Scan(&c.Tenant, &c.Timeline, &c.WALBytes, &c.Blocks, &c.WallSeconds, &c.ScratchBytes)
			out = append(out, c)
			return err
		}, `SELECT tenant, timeline, coalesce(wal_bytes, 0), coalesce(coverage_blocks_compared, 0) + coalesce(coverage_blocks_untouched_compared, 0),
			coalesce(timing_wall_seconds, 0), coalesce(timing_scratch_bytes, 0)
			FROM spans WHERE state = 'finished' AND verdict IN ('clean', 'discrepancies') ORDER BY finished_at DESC LIMIT ?`, n)
	})
	return out, err
}
