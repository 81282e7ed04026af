package wal_test

import (
	"errors"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestNeonSegment reads a segment that Neon's PostgreSQL 15 wrote: zeros
// before the timeline's start, so that the first page has no header. The
// directory is given by REDOUBT_NEON_DATA.
func TestNeonSegment(t *testing.T) {
	_, segment := pgtest.NeonSegment(t)
	const start, end = pg.LSN(0x14AEC08), pg.LSN(0x1FFFF98)
	for _, chunk := range []int{pg.DefaultSegmentSize, wal.PageSize} {
		for name, cfg := range map[string]wal.Config{
			"its start":           {Start: start},
			"initdb's checkpoint": {Start: 0x14AEB90},
			"the segment's start": {Start: 0x1000000, FindFirst: true, MayBeginLate: true},
		} {
			cfg.SegmentSize, cfg.Dialect = pg.DefaultSegmentSize, wal.Neon
			r := wal.NewReader(pagesOf(0x1000000, segment, pg.DefaultSegmentSize, chunk), cfg)
			var rec wal.Record
			var first pg.LSN
			n, tells := 0, map[wal.Tells]int{}
			err := r.Next(&rec)
			for ; err == nil; err = r.Next(&rec) {
				if n++; n == 1 {
					first = rec.LSN
				}
				said, err := rec.CheckDialect() // decodes heap records to their last byte
				if err != nil {
					t.Fatal(err)
				}
				tells[said]++
				if rec.Dialects().Has(wal.Postgres) != (said != wal.TellsDialect) {
					t.Fatalf("%s says %d, and fits %b", &rec, said, rec.Dialects())
				}
				if _, err := decoded(&rec); err != nil {
					t.Fatal(err)
				}
			}
			// The last record of the segment goes on in the next one.
			var missing *wal.MissingError
			if !errors.As(err, &missing) {
				t.Errorf("from %s: reading ended with %v, want the missing next segment", name, err)
			}
			if n != 72_925 || first != start || r.End() != end {
				t.Errorf("from %s: read %d records from %s to %s, want 72,925 from %s to %s", name, n, first, r.End(), start, end)
			}
			// 72,663 changes of heap tuples; of six there is but the page's image.
			if tells[wal.TellsDialect] != 72_657 || tells[wal.FitsSeveral] != 0 {
				t.Errorf("from %s: %d records tell the dialect, %d fit several; want 72,657 and none", name, tells[wal.TellsDialect], tells[wal.FitsSeveral])
			}
		}
	}
}
