package wal_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/archive"
	"redoubt/internal/demo"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
)

// written is WAL and the records in it.
type written struct {
	start   pg.LSN
	segment int64
	data    []byte
	recs    []wal.Record
	sysid   uint64
}

// demoWAL is the WAL that ships with the repository.
func demoWAL(t *testing.T) *written {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, dir := context.Background(), t.TempDir()
	f, err := demo.Unpack(dir)
	must(err)
	tl := f.Timelines[0]
	store, err := storage.Open(ctx, dir)
	must(err)
	defer func() { _ = store.Close() }()
	a, err := archive.Open(ctx, store, archive.Redoubt, archive.Options{})
	must(err)
	at, err := a.Timeline(ctx, tl.Tenant, tl.Timeline)
	must(err)
	src, err := at.Source(ctx, 0)
	must(err)
	_, first, err := pg.ParseSegmentName(filepath.Base(tl.Segments[0]), tl.SegmentSize)
	must(err)
	w := &written{start: first.Start(tl.SegmentSize), segment: tl.SegmentSize, sysid: src.SystemID()}
	s, err := src.Open(ctx, w.start)
	must(err)
	defer func() { _ = s.Close() }()
	for len(w.data) < len(tl.Segments)*int(tl.SegmentSize) {
		p, err := s.ReadPages(w.start + pg.LSN(len(w.data)))
		must(err)
		w.data = append(w.data, p...)
	}
	w.recs, _ = read(wal.NewReader(pagesOf(w.start, w.data, w.segment, len(w.data)),
		wal.Config{Start: w.start, FindFirst: true, SegmentSize: w.segment}))
	return w
}

// next reads one record at the LSN of record i, out of data that start at the
// page of that record.
func (w *written) next(i int, data []byte) error {
	r := &w.recs[i]
	cfg := wal.Config{Start: r.LSN, Prev: r.Prev, SegmentSize: w.segment, SystemID: w.sysid, History: wal.NewHistory(r.TLI)}
	return wal.NewReader(pagesOf(pageOf(r.LSN), data, w.segment, wal.PageSize), cfg).Next(new(wal.Record))
}

func pageOf(l pg.LSN) pg.LSN { return l &^ (wal.PageSize - 1) }

// kinds picks records of each resource manager: with an image and without, on
// one page and across pages; short ones, out of much WAL.
func (w *written) kinds() (out []int) {
	type kind struct {
		rmgr           pg.RmgrID
		image, crosses bool
	}
	seen := map[kind]bool{}
	for i := 1; i < len(w.recs); i++ {
		r := &w.recs[i]
		k := kind{r.Rmgr, len(r.Blocks) > 0 && r.Blocks[0].HasImage, pageOf(lastByte(r)) != pageOf(r.LSN)}
		if !seen[k] && (len(w.recs) < 100 || r.Length < 1000) {
			seen[k] = true
			out = append(out, i)
		}
	}
	return out
}

// bytesOf calls f for every byte of a record, with its distance from the
// record's start, page headers on the way included: there n is -1.
func (w *written) bytesOf(r *wal.Record, f func(at pg.LSN, n int)) {
	n := 0
	for at := r.LSN; at <= lastByte(r); at++ {
		header := pg.LSN(wal.ShortHeaderSize)
		if uint64(pageOf(at))%uint64(w.segment) == 0 {
			header = wal.LongHeaderSize
		}
		if at%wal.PageSize < header {
			if k := at % wal.PageSize; k < 20 || k >= wal.ShortHeaderSize { // behind xlp_rem_len is padding
				f(at, -1)
			}
			continue
		}
		f(at, n)
		n++
	}
}

// bits are those to flip in a byte of a record: all, but in the middle of long
// ones, where only the CRC has an eye on them: there by turns one.
func bits(r *wal.Record, at pg.LSN, n int) (masks []byte) {
	if at%wal.PageSize == 2 && n < 0 {
		return []byte{0x01, 0x02, 0x08, 0x10, 0x20, 0x40, 0x80} // not XLP_BKP_REMOVABLE, which says nothing of a record
	}
	if n > 128 && int(r.Length)-n > 64 && n%97 != 0 {
		return []byte{1 << (at % 8)}
	}
	for bit := range 8 {
		masks = append(masks, 1<<bit)
	}
	return masks
}

// TestEveryBit flips the bits of records of each kind, and of the headers of
// the pages that they go on to, and ends real WAL at each of their bytes: the
// record is never taken for valid, and it is named. Where its length grows
// beyond the WAL there is, that is missing.
func TestEveryBit(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	b := victim()
	recs := b.readAll(t, pg.MinSegmentSize)
	built := &written{start: b.start, segment: b.segment, data: b.bytes(), recs: recs, sysid: b.sysid}
	demo := demoWAL(t)
	flips, cuts := 0, 0
	for _, w := range []*written{built, demo} {
		for _, i := range w.kinds() {
			flips += w.flip(t, i)
			if w == demo { // TestEveryCut has cut the other
				cuts += w.cut(t, i)
			}
		}
	}
	t.Logf("%d flips, %d cuts", flips, cuts)
}

// flip flips bits of a record and wants it named.
func (w *written) flip(t *testing.T, i int) (flips int) {
	r := &w.recs[i]
	data := w.data[pageOf(r.LSN)-w.start:]
	w.bytesOf(r, func(at pg.LSN, n int) {
		for _, mask := range bits(r, at, n) {
			data[at-pageOf(r.LSN)] ^= mask
			err := w.next(i, data)
			data[at-pageOf(r.LSN)] ^= mask
			flips++
			var end *wal.EndError
			var missing *wal.MissingError
			switch {
			case errors.As(err, &end) && (end.LSN == r.LSN || n < 0 && end.LSN == pageOf(at)):
			case errors.As(err, &missing) && n >= 0 && n < 4:
			default:
				t.Errorf("%s, %02X flipped in byte %d at %s: %v", r, mask, n, at, err)
			}
		}
	})
	if err := w.next(i, data); err != nil {
		t.Fatalf("%s, nothing changed: %v", r, err)
	}
	return flips
}

// cut clears one byte after the other, from a record's last to its first.
func (w *written) cut(t *testing.T, i int) int {
	r := &w.recs[i]
	first := pageOf(r.LSN)
	var places []pg.LSN
	w.bytesOf(r, func(at pg.LSN, _ int) { places = append(places, at) })
	slices.Reverse(places)
	data := slices.Clone(w.data[first-w.start : pageOf(places[0])+wal.PageSize-w.start])
	data = append(data, make([]byte, 2*wal.PageSize)...)
	clear(data[places[0]+1-first:])
	gone := false // a byte that was not zero
	for _, at := range places {
		gone = gone || data[at-first] != 0
		clear(data[at-first : places[0]+1-first])
		err := w.next(i, data)
		var end *wal.EndError
		var missing *wal.MissingError
		if gone == (err == nil) || gone && (!errors.As(err, &end) || end.LSN != r.LSN && end.LSN != pageOf(at)) {
			t.Errorf("%s, zeros from %s on: %v", r, at, err)
		}
		if err := w.next(i, data[:at-first]); at%wal.PageSize == 0 && !errors.As(err, &missing) {
			t.Errorf("%s, nothing from %s on: %v", r, at, err)
		}
	}
	return len(places)
}
