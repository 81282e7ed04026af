package scanner

import (
	"context"
	"fmt"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

// million is a normal archive: 15 TiB of WAL in segments of 16 MiB.
const million = 1_000_000

// generated is a bucket with the WAL of so many segments, of which every
// step-th is there.
func generated(t testing.TB, segments, step int) *storage.Store {
	t.Helper()
	number := func(i int) pg.SegmentNo { return pg.SegmentNo(1 + i*step) }
	g := &storagetest.Generated{Count: segments / step, Size: pg.DefaultSegmentSize,
		Name: func(i int) string { return pg.SegmentName(1, number(i), pg.DefaultSegmentSize) },
		Head: func(i int) []byte { return pgtest.SegmentHead(1, number(i), pg.DefaultSegmentSize, 7) },
	}
	s, err := storage.Open(t.Context(), g.Serve(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// listAlone reads a listing and throws the keys away.
func listAlone(ctx context.Context, s *storage.Store) (n int, err error) {
	for _, err := range s.List(ctx, "", storage.ListOptions{Dirs: true}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// BenchmarkMillionSegmentsOnS3 checks a million segments through the client of
// S3, and lists them alone through the same client, in turns.
func BenchmarkMillionSegmentsOnS3(b *testing.B) {
	s := generated(b, million, 1)
	var listed, scanned time.Duration
	for b.Loop() {
		start := time.Now()
		if n, err := listAlone(b.Context(), s); n != million || err != nil {
			b.Fatal(n, err)
		}
		half := time.Now()
		r, err := Timeline(b.Context(), timeline(b, s), Options{})
		if err != nil || r.Present != million || len(r.Gaps) != 0 {
			b.Fatal(summary(&r), err)
		}
		listed, scanned = listed+half.Sub(start), scanned+time.Since(half)
	}
	b.ReportMetric(listed.Seconds()/float64(b.N), "list-s")
	b.ReportMetric(scanned.Seconds()/float64(b.N), "scan-s")
	b.ReportMetric(scanned.Seconds()/listed.Seconds(), "scan/list")
}

// Of many gaps the first are listed, and all are counted.
func TestManyGaps(t *testing.T) {
	w := archiveOf()
	for n := pg.SegmentNo(1); n <= 2*(maxGaps+5); n += 2 {
		w.keys = append(w.keys, name(1, n))
	}
	r, err := Timeline(t.Context(), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Gaps) != maxGaps || r.MissingUnlisted != 4 || r.MissingSegments() != maxGaps+4 || Verdict(&r.ScanTimeline) != finding.Findings {
		t.Errorf("%d gaps, %d segments not listed, %d missing", len(r.Gaps), r.MissingUnlisted, r.MissingSegments())
	}
	w = archiveOf("1/1", "1/20001", "1/40001", "1/60001", "1/80001", "1/100001", "1/120001", "1/140001", "1/160001", "1/180001", "1/200001", "1/220001")
	if r, err = Timeline(t.Context(), w, Options{}); err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, g := range r.Gaps {
		named += len(g.Segments)
	}
	if named != maxNamed || r.MissingSegments() != 220_000-11 || r.MissingUnlisted != 19_999 {
		t.Errorf("%d named, %d missing, %d of them not listed", named, r.MissingSegments(), r.MissingUnlisted)
	}
}

// Of many damaged segments the first are named, and all are counted.
func TestManyDamaged(t *testing.T) {
	w := archiveOf(fmt.Sprintf("1/1-%d", maxDamaged+3))
	w.sizes = map[string]int64{}
	for _, k := range w.keys {
		w.sizes[k] = 5
	}
	r, err := Timeline(t.Context(), w, Options{})
	if err != nil || len(r.Damaged) != maxDamaged+1 || r.Damaged[maxDamaged].Reason != "and at least 3 more" {
		t.Errorf("%d damaged, the last %+v (%v)", len(r.Damaged), r.Damaged[len(r.Damaged)-1], err)
	}
}
