package wal_test

import (
	"encoding/binary"
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

// madeUp puts the headers before a first record that safekeepers make up.
func madeUp(b *builder, data []byte, at pg.LSN) []byte {
	data = slices.Clone(data)
	clear(data[:at-b.start])
	header := func(page pg.LSN, size int) {
		p := data[page-b.start:]
		copy(p[:size], b.bytes()[page-b.start:])
		info, left := uint16(0), uint32(0)
		if size == wal.LongHeaderSize {
			info = 2
		}
		if at > page && at < page+wal.PageSize {
			info |= 1
			left = uint32(at-page) - uint32(size)
		}
		binary.LittleEndian.PutUint16(p[2:], info)
		binary.LittleEndian.PutUint32(p[16:], left)
	}
	header(b.start, wal.LongHeaderSize)
	if page := at &^ (wal.PageSize - 1); page != b.start {
		header(page, wal.ShortHeaderSize)
	}
	return data
}

// TestMadeUpStart reads timelines that begin behind headers that a safekeeper
// made up: on the first page and on a later one, and right behind a header.
func TestMadeUpStart(t *testing.T) {
	b := newBuilder(17, pg.MinSegmentSize)
	for range 200 {
		b.noop(130)
	}
	b.fill(wal.PageSize - wal.ShortHeaderSize) // the next record begins right behind a header
	behind := len(b.lsns)
	for range 300 {
		b.noop(130)
	}
	for _, first := range []int{0, 1, 30, 100, 150, behind} {
		at := b.lsns[first]
		data := madeUp(b, b.bytes(), at)
		cfgs := map[string]wal.Config{
			"from its first record":    {Start: at},
			"from the segment's start": {Start: b.start, FindFirst: true, MayBeginLate: true},
		}
		if first > 0 {
			cfgs["from the record before"] = wal.Config{Start: b.lsns[first-1]}
		}
		for name, cfg := range cfgs {
			for _, chunk := range []int{int(b.segment), wal.PageSize} {
				cfg.SegmentSize = b.segment
				r := wal.NewReader(pagesOf(b.start, data, b.segment, chunk), cfg)
				recs, err := read(r)
				if len(recs) != len(b.lsns)-first || recs[0].LSN != at || !isEnd(err, wal.EndZeroLength, 0) && !isEnd(err, wal.EndZeroPage, 0) {
					t.Errorf("%d %s: %d records of %d, then %v", first, name, len(recs), len(b.lsns)-first, err)
				}
			}
		}
		if first > 1 {
			recs, err := read(wal.NewReader(inMemory(b.start, data), wal.Config{Start: b.lsns[first-2], SegmentSize: b.segment}))
			if len(recs) > 0 || err == nil {
				t.Errorf("%d from two records before: %d records, then %v", first, len(recs), err)
			}
		}
	}
}

// TestRecordOfZerosIsNoLateStart: a record whose end is zeros, at the start of
// an archive's oldest segment, is nothing of Neon's.
func TestRecordOfZerosIsNoLateStart(t *testing.T) {
	b := newBuilder(17, pg.MinSegmentSize)
	b.fill(40)
	b.add(pg.RmgrXLOG, 0x20, 0, append([]byte{254, 0x40, 0x1F, 0, 0}, make([]byte, 8000)...))
	b.noop(100)
	data := b.bytes()
	page := b.lsns[len(b.lsns)-1] &^ (wal.PageSize - 1)
	r := wal.NewReader(pagesOf(b.start, data, b.segment, wal.PageSize), wal.Config{Start: page, FindFirst: true, MayBeginLate: true, SegmentSize: b.segment})
	recs, _ := read(r)
	if len(recs) != 1 || r.Late() != 0 {
		t.Errorf("%d records, late %s", len(recs), r.Late())
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
