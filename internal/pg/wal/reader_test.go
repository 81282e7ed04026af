package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// TestRecordAtEveryOffset starts a record at every possible distance from the
// end of a page, so that its header is split at every possible place too.
func TestRecordAtEveryOffset(t *testing.T) {
	for major := pg.MinMajor; major <= pg.MaxMajor; major++ {
		for _, length := range []int{30, 64, 20_000} {
			b := newBuilder(major, pg.MinSegmentSize)
			for left := 8; left <= 96; left += 8 {
				b.fill(left)
				b.noop(length)
			}
			for _, chunk := range []int{wal.PageSize, pg.MinSegmentSize} {
				for i, rec := range b.readAll(t, chunk) {
					if rec.Major != major || rec.TLI != 1 || !bytes.Equal(rec.Main, pattern(int(rec.Length)-29)) {
						t.Fatalf("PostgreSQL %d, chunk %d: record %d differs: %+v", major, chunk, i, rec)
					}
				}
			}
		}
	}
}

// TestEnds checks End, which redo stores as page LSN: aligned, behind the
// headers of the pages between, bare at a page's end, the segment's end for SWITCH.
func TestEnds(t *testing.T) {
	b := newBuilder(15, pg.MinSegmentSize)
	b.noop(61)
	at := b.lsns[0]
	b.fill(64)
	b.noop(64) // up to the page's end
	b.fill(32)
	b.noop(35) // three bytes on the next page
	b.add(pg.RmgrXLOG, 0x40, 0, nil)
	b.data = b.bytes()
	b.noop(100)
	recs := b.readAll(t, pg.MinSegmentSize)
	if got, want := recs[0].End, at+64; got != want {
		t.Errorf("end of 61 bytes at %s is %s, want %s", at, got, want)
	}
	n := len(recs)
	for _, c := range []struct {
		rec  wal.Record
		want pg.LSN
	}{
		{recs[n-3], recs[n-2].LSN},              // 35 bytes across pages: header and 8 bytes
		{recs[n-2], 2 * pg.MinSegmentSize},      // SWITCH
		{recs[n-1], recs[n-1].LSN + (100+7)&^7}, // the first of the next segment
	} {
		if c.rec.End != c.want {
			t.Errorf("%s ends at %s, want %s", &c.rec, c.rec.End, c.want)
		}
	}
	if recs[n-2].LSN != recs[n-2].LSN&^(wal.PageSize-1)+wal.ShortHeaderSize+8 {
		t.Errorf("the record after the split one is at %s", recs[n-2].LSN)
	}
	found := false
	for i := range recs {
		found = found || recs[i].Length == 64 && recs[i].End%wal.PageSize == 0 && recs[i+1].LSN == recs[i].End+wal.ShortHeaderSize
	}
	if !found {
		t.Error("no record ends at a bare page boundary")
	}
}

// TestSegmentSizes reads across segments of every legal size. The large ones
// begin near their end, since pages before the start are not read.
func TestSegmentSizes(t *testing.T) {
	for size := int64(pg.MinSegmentSize); size <= pg.MaxSegmentSize; size *= 2 {
		b := newBuilder(18, size)
		b.data = nil
		b.start = pg.LSN(2*size) - 2*wal.PageSize
		b.page(0, 0)
		for range 40 {
			b.noop(1000)
		}
		data := b.pages()
		for _, chunk := range []int{wal.PageSize, 1 << 20} {
			cfg := b.config()
			cfg.SystemID = 0
			r := wal.NewReader(pagesOf(b.start, data, size, chunk), cfg)
			recs, err := read(r)
			if len(recs) != 40 || !isEnd(err, wal.EndZeroLength, 0) || r.Segments() != 2 || r.SystemID() != b.sysid || r.Major() != 18 {
				t.Errorf("segments of %d: %d records, %d segments, system %d, then %v", size, len(recs), r.Segments(), r.SystemID(), err)
			}
			if r.Last() != b.lsns[39] || r.End() != recs[39].End {
				t.Errorf("segments of %d: last record at %s ends at %s, want %s", size, r.Last(), r.End(), b.lsns[39])
			}
		}
	}
}

// overwritten makes WAL in which a crash cut a record off at a page's end: the
// next page begins with OVERWRITE_CONTRECORD, which names it.
func overwritten(named func(dropped pg.LSN) pg.LSN, rmgr pg.RmgrID, info uint8) *builder {
	b := newBuilder(16, pg.MinSegmentSize)
	b.noop(100)
	b.fill(200)
	prev := b.prev
	dropped := b.noop(5000)
	b.lsns = b.lsns[:len(b.lsns)-1]
	b.prev = prev
	b.data = b.data[:len(b.data)&^(wal.PageSize-1)]
	b.page(8, 0)
	body := binary.LittleEndian.AppendUint64(nil, uint64(named(dropped)))
	b.add(rmgr, info, 0, append([]byte{255, 16}, append(body, pattern(8)...)...))
	b.noop(100)
	return b
}

func same(l pg.LSN) pg.LSN { return l }

func TestOverwrittenRecord(t *testing.T) {
	b := overwritten(same, pg.RmgrXLOG, 0xD0)
	recs := b.readAll(t, wal.PageSize)
	o, ok, err := wal.DecodeOverwriteContrecord(&recs[len(recs)-2])
	if err != nil || !ok || o.LSN == 0 {
		t.Errorf("the record after the gap is %s: %v", &recs[len(recs)-2], err)
	}
	// Starting on the page with the flag, the dropped record was never seen.
	page := recs[len(recs)-2].LSN &^ (wal.PageSize - 1)
	for _, find := range []bool{false, true} {
		r := wal.NewReader(pagesOf(b.start, b.bytes(), b.segment, wal.PageSize), wal.Config{Start: page, FindFirst: find, SegmentSize: b.segment})
		if late, err := read(r); len(late) != 2 || !isEnd(err, wal.EndZeroLength, 0) {
			t.Errorf("from %s: %d records, then %v", page, len(late), err)
		}
	}
}

func TestOverwrittenRecordMustBeNamed(t *testing.T) {
	for name, b := range map[string]*builder{
		"another LSN":    overwritten(func(l pg.LSN) pg.LSN { return l + 8 }, pg.RmgrXLOG, 0xD0),
		"another record": overwritten(same, pg.RmgrXLOG, 0x20),
	} {
		r := wal.NewReader(pagesOf(b.start, b.bytes(), b.segment, wal.PageSize), b.config())
		recs, err := read(r)
		at := b.lsns[len(b.lsns)-2]
		if len(recs) != len(b.lsns)-2 || !isEnd(err, wal.EndBadRecordContent, at) {
			t.Errorf("%s: %d records, then %v, want an error at %s", name, len(recs), err, at)
		}
		if want := recs[len(recs)-1].End; r.End() != want {
			t.Errorf("%s: the last good record ends at %s, want %s", name, r.End(), want)
		}
	}
	// Without a cut record before it, OVERWRITE_CONTRECORD is out of place.
	b := newBuilder(15, pg.MinSegmentSize)
	b.noop(50)
	at := b.add(pg.RmgrXLOG, 0xD0, 0, append([]byte{255, 16}, pattern(16)...))
	if _, err := read(wal.NewReader(inMemory(b.start, b.bytes()), b.config())); !isEnd(err, wal.EndBadRecordContent, at) {
		t.Errorf("an OVERWRITE_CONTRECORD that overwrites nothing: %v", err)
	}
}

func TestFindFirst(t *testing.T) {
	b := newBuilder(17, pg.MinSegmentSize)
	b.noop(100)
	b.noop(30_000) // over four pages
	b.fill(8)
	b.noop(wal.PageSize - wal.ShortHeaderSize + 8) // exactly to the end of the next page
	b.noop(60)
	b.noop(90)
	data := b.bytes()
	for l := b.start; l < b.lsns[len(b.lsns)-1]+8; l += 13 {
		want := -1
		for i, at := range b.lsns {
			if at >= l {
				want = i
				break
			}
		}
		r := wal.NewReader(pagesOf(b.start, data, b.segment, wal.PageSize), wal.Config{Start: l, FindFirst: true, SegmentSize: b.segment})
		var rec wal.Record
		err := r.Next(&rec)
		if want < 0 {
			if !isEnd(err, wal.EndZeroLength, 0) {
				t.Fatalf("from %s, behind all records: %v", l, err)
			}
			continue
		}
		if err != nil || rec.LSN != b.lsns[want] {
			t.Fatalf("from %s: %v at %s, want the record at %s", l, err, rec.LSN, b.lsns[want])
		}
	}
}

// TestStart reads from every record, and refuses to start where none is.
func TestStart(t *testing.T) {
	b := newBuilder(15, pg.MinSegmentSize)
	for i := range 200 {
		b.noop(40 + i)
	}
	data := b.bytes()
	for i, at := range b.lsns {
		cfg := wal.Config{Start: at, SegmentSize: b.segment}
		if i > 0 {
			cfg.Prev = b.lsns[i-1]
		}
		recs, err := read(wal.NewReader(pagesOf(b.start, data, b.segment, wal.PageSize), cfg))
		if len(recs) != len(b.lsns)-i || !isEnd(err, wal.EndZeroLength, 0) {
			t.Fatalf("from %s: %d records, then %v", at, len(recs), err)
		}
		cfg.Prev = at + 8
		if _, err := read(wal.NewReader(pagesOf(b.start, data, b.segment, wal.PageSize), cfg)); !isEnd(err, wal.EndBadPrev, at) {
			t.Fatalf("from %s with another record before it: %v", at, err)
		}
	}
	first := b.lsns[0]
	for l := first; l < first+64; l++ {
		recs, err := read(wal.NewReader(inMemory(b.start, data), wal.Config{Start: l, SegmentSize: b.segment}))
		if isStart := l == first || l == b.lsns[1]; isStart == (len(recs) == 0) || err == nil {
			t.Errorf("from %s: %d records, then %v", l, len(recs), err)
		}
	}
}

func TestTimelineSwitch(t *testing.T) {
	b := newBuilder(15, pg.MinSegmentSize)
	b.fill(400)
	at := b.noop(100) // the switch: the rest of the page is of TLI 2 too, its header is not
	b.tli = 2
	for range 100 {
		b.noop(200)
	}
	recs := b.readAll(t, wal.PageSize)
	if first, last := recs[0].TLI, recs[len(recs)-1].TLI; first != 1 || last != 2 {
		t.Errorf("TLI goes from %d to %d, want from 1 to 2", first, last)
	}
	history := func(switched pg.LSN) wal.History {
		h, err := wal.ParseHistory(2, fmt.Appendf(nil, "1\t%s\tno reason\n", switched))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	cfg := b.config()
	for _, c := range []struct {
		history wal.History
		good    bool
	}{
		{nil, true},
		{history(at), true},
		{history(at &^ (wal.PageSize - 1)), false}, // the page should be of TLI 2
		{history(at + 2*wal.PageSize), false},      // the next page should be of TLI 1
		{wal.NewHistory(1), false},
	} {
		cfg.History = c.history
		_, err := read(wal.NewReader(inMemory(b.start, b.bytes()), cfg))
		if isEnd(err, wal.EndZeroLength, 0) != c.good || !c.good && !isEnd(err, wal.EndBadPage, 0) {
			t.Errorf("with history %v: %v", c.history, err)
		}
	}
	b.tli = 1
	page := b.noop(wal.PageSize)&^(wal.PageSize-1) + wal.PageSize
	if _, err := read(wal.NewReader(inMemory(b.start, b.bytes()), b.config())); !isEnd(err, wal.EndBadPage, page) {
		t.Errorf("TLI going back at %s: %v", page, err)
	}
}

func TestBadPages(t *testing.T) {
	put16 := func(at int, v uint16) func([]byte) {
		return func(p []byte) { binary.LittleEndian.PutUint16(p[at:], v) }
	}
	put32 := func(at int, v uint32) func([]byte) {
		return func(p []byte) { binary.LittleEndian.PutUint32(p[at:], v) }
	}
	for _, c := range []struct {
		name   string
		page   int
		change func(page []byte)
		reason wal.EndReason
	}{
		{"magic of no version", 0, put16(0, 0xD101), wal.EndBadPage},
		{"magic of another version", 2, put16(0, magicOf[16]), wal.EndBadPage},
		{"unknown flag", 2, put16(2, 0x10), wal.EndBadPage},
		{"recycled segment", 2, func(p []byte) { p[12]++ }, wal.EndBadPage},
		{"short header first", 0, put16(2, 0), wal.EndBadPage},
		{"long header later", 2, put16(2, 2), wal.EndBadPage},
		{"segment size", 0, put32(32, 2<<20), wal.EndForeignSystem},
		{"page size", 0, put32(36, 4096), wal.EndForeignSystem},
		{"system identifier", 0, put32(24, 1), wal.EndForeignSystem},
		{"zero page", 2, func(p []byte) { clear(p[:wal.PageSize]) }, wal.EndZeroPage},
		{"zero header", 2, func(p []byte) { clear(p[:24]) }, wal.EndBadPage},
	} {
		b := newBuilder(15, pg.MinSegmentSize)
		for range 3 {
			b.noop(4000)
			b.fill(wal.PageSize - wal.ShortHeaderSize) // pages begin with records
		}
		data := b.bytes()
		c.change(data[c.page*wal.PageSize:])
		at := b.start + pg.LSN(c.page*wal.PageSize)
		recs, err := read(wal.NewReader(inMemory(b.start, data), b.config()))
		if !isEnd(err, c.reason, at) {
			t.Errorf("%s: %d records, then %v, want %v at %s", c.name, len(recs), err, c.reason, at)
		}
	}
}

// TestErrorsStay checks that a reader stays where it ended and passes on what
// its source says.
func TestErrorsStay(t *testing.T) {
	b := newBuilder(15, pg.MinSegmentSize)
	b.noop(20_000)
	var rec wal.Record
	for name, pages := range map[string]wal.PageFunc{
		"missing":         pagesOf(b.start, b.data[:wal.PageSize], b.segment, wal.PageSize),
		"nothing":         func(pg.LSN) ([]byte, error) { return nil, nil },
		"part of a page":  func(pg.LSN) ([]byte, error) { return b.data[:100], nil },
		"beyond the file": func(pg.LSN) ([]byte, error) { return make([]byte, 2*b.segment), nil },
	} {
		r := wal.NewReader(pages, b.config())
		first := r.Next(&rec)
		var missing *wal.MissingError
		if first == nil || errors.As(first, &missing) != (name == "missing") {
			t.Errorf("%s: %v", name, first)
		}
		if again := r.Next(&rec); !errors.Is(again, first) {
			t.Errorf("%s: the second error is %v, the first was %v", name, again, first)
		}
	}
	for _, cfg := range []wal.Config{{}, {SegmentSize: 1 << 19}, {SegmentSize: 3 << 20}, {Start: 4, SegmentSize: 1 << 20}} {
		if err := wal.NewReader(inMemory(b.start, b.data), cfg).Next(&rec); err == nil {
			t.Errorf("configuration %+v is accepted", cfg)
		}
	}
}
