package wal_test

import (
	"errors"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// lateWAL is a segment whose first records were never stored: all before the
// record at index first is zeros.
func lateWAL(t *testing.T, first int) (b *builder, data []byte) {
	t.Helper()
	b = newBuilder(15, pg.MinSegmentSize)
	for range 700 {
		b.noop(130)
	}
	data = slices.Clone(b.bytes())
	clear(data[:b.lsns[first]-b.start])
	return b, data
}

// TestLateStart reads a timeline that begins in the middle of a page, as Neon's do.
func TestLateStart(t *testing.T) {
	for _, first := range []int{30, 200, 201, 259} { // 30 is on the segment's first page
		b, data := lateWAL(t, first)
		at := b.lsns[first]
		for _, c := range []struct {
			name string
			cfg  wal.Config
			late bool
			ok   bool
		}{
			{"from its first record", wal.Config{Start: at}, false, true},
			{"from the record before", wal.Config{Start: b.lsns[first-1]}, true, true},
			{"from one before that", wal.Config{Start: b.lsns[first-2]}, true, false},
			{"from the segment's start", wal.Config{Start: b.start, FindFirst: true, MayBeginLate: true}, true, true},
			{"from the segment's start, unasked", wal.Config{Start: b.start, FindFirst: true}, false, false},
		} {
			for _, chunk := range []int{int(b.segment), wal.PageSize} {
				c.cfg.SegmentSize = b.segment
				r := wal.NewReader(pagesOf(b.start, data, b.segment, chunk), c.cfg)
				recs, err := read(r)
				if !c.ok {
					if len(recs) > 0 {
						t.Errorf("%d %s: %d records were read", first, c.name, len(recs))
					}
					var end *wal.EndError
					if !errors.As(err, &end) {
						t.Errorf("%d %s: error %v", first, c.name, err)
					}
					continue
				}
				if len(recs) != 700-first || recs[0].LSN != at || !isEnd(err, wal.EndZeroLength, 0) && !isEnd(err, wal.EndZeroPage, 0) {
					t.Fatalf("%d %s: %d records, then %v", first, c.name, len(recs), err)
				}
				if c.late != (r.Late() != 0) || c.late && r.Late() != at {
					t.Errorf("%d %s: late %s, want %s", first, c.name, r.Late(), at)
				}
			}
		}
	}
}

// TestLateStartIsNoEnd: zeros behind the WAL are its end, not a late start.
func TestLateStartIsNoEnd(t *testing.T) {
	b, _ := lateWAL(t, 1)
	end := (b.pos() + 7) &^ 7
	for name, cfg := range map[string]wal.Config{
		"where the WAL ends":      {Start: end},
		"on a page behind it":     {Start: end + 5*wal.PageSize},
		"a page that is all zero": {Start: (end + 2*wal.PageSize) &^ (wal.PageSize - 1), FindFirst: true, MayBeginLate: true},
	} {
		cfg.SegmentSize = b.segment
		recs, err := read(wal.NewReader(pagesOf(b.start, b.bytes(), b.segment, wal.PageSize), cfg))
		if len(recs) != 0 || !isEnd(err, wal.EndZeroLength, 0) && !isEnd(err, wal.EndZeroPage, 0) {
			t.Errorf("%s: %d records, then %v", name, len(recs), err)
		}
	}
}
