package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// TestNeonSegment reads a segment that Neon's PostgreSQL 15 wrote: zeros
// before the timeline's start, so that the first page has no header. The
// directory is given by REDOUBT_NEON_DATA.
func TestNeonSegment(t *testing.T) {
	dir := os.Getenv("REDOUBT_NEON_DATA")
	if dir == "" {
		t.Skip("SKIPPED, DATA: REDOUBT_NEON_DATA names no directory with a WAL segment of Neon, which is not in the repository")
	}
	packed, err := os.ReadFile(filepath.Join(dir, "000000010000000000000001.zst"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	segment, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	const start, end = pg.LSN(0x14AEC08), pg.LSN(0x1FFFF98)
	for _, chunk := range []int{pg.DefaultSegmentSize, wal.PageSize} {
		r := wal.NewReader(pagesOf(0x1000000, segment, pg.DefaultSegmentSize, chunk), wal.Config{Start: start, SegmentSize: pg.DefaultSegmentSize})
		var rec wal.Record
		n := 0
		for err = r.Next(&rec); err == nil; err = r.Next(&rec) {
			if n == 0 && rec.LSN != start {
				t.Errorf("first record is at %s, want %s", rec.LSN, start)
			}
			n++
		}
		// The last record of the segment goes on in the next one.
		var missing *wal.MissingError
		if !errors.As(err, &missing) {
			t.Errorf("reading ended with %v, want the missing next segment", err)
		}
		if n != 72_925 || r.End() != end {
			t.Errorf("read %d records up to %s, want 72,925 up to %s", n, r.End(), end)
		}
	}
}
