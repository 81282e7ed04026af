package wal

import "redoubt/internal/pg"

// A timeline of Neon begins in the middle of a segment: the server that began
// it was given a data directory and the LSN to go on at, and what the segment
// should hold before is not there. A first segment looks like one of these; the
// second since safekeepers make headers up for the programs that read WAL, with
// a record that ends where the first real one begins (generate_wal_segment in
// Neon's postgres_ffi/src/xlog_utils.rs):
//
//	zeros … | page: zeros, first record, second record … | page header, …
//	        ^ no header                                  ^ the first header there is
//
//	long header, zeros | zeros … | header, zeros, first record … | page header, …
//	                               ^ says that a record goes on up to the first one
//
// The first record's xl_prev names the last one before, which is not there.

// begun is where WAL begins behind what is missing.
type begun struct {
	at     pg.LSN // the first record or, if exact is false, the page that it is on
	exact  bool
	header bool // the page has one
}

// lateStart is where the first record is that follows from behind zeros: from
// an LSN within the first page that holds more than zeros and a made-up header.
// ok is false if there is none up to the end of from's segment, or if what is
// before from on its page is a record.
func (r *Reader) lateStart(from pg.LSN) (b begun, ok bool, err error) {
	end := (pg.SegmentOf(from, r.cfg.SegmentSize) + 1).Start(r.cfg.SegmentSize)
	for page := pageOf(from); page < end; page += PageSize {
		raw, err := r.rawPage(page)
		if err != nil {
			return b, false, err
		}
		first := firstByte(raw)
		if first == PageSize || r.bareHeader(page, raw) {
			continue
		}
		if at := r.madeUp(page, raw); at != 0 {
			return begun{at, true, true}, at > from || page != pageOf(from), nil
		}
		switch {
		case page+pg.LSN(first) < from && page == pageOf(from):
			return b, false, nil
		case first < r.headerSize(page):
			return begun{page, false, true}, true, nil
		}
		return begun{page + pg.LSN(first), true, false}, true, nil
	}
	return b, false, nil
}

// bareHeader reports whether a segment's first page is a header and zeros, as
// safekeepers make it where the timeline begins on a later page.
func (r *Reader) bareHeader(at pg.LSN, page []byte) bool {
	h, err := ParsePageHeader(page)
	return err == nil && h.Long() && !h.Continues() && h.check(at, r.cfg.SegmentSize) == nil && isZero(page[h.Size():])
}

// madeUp is where the first record begins on a page on which a safekeeper made
// up the end of one before it, of zeros; 0 if the page is no such one.
func (r *Reader) madeUp(at pg.LSN, page []byte) pg.LSN {
	h, err := ParsePageHeader(page)
	if err != nil || !h.Continues() || h.check(at, r.cfg.SegmentSize) != nil {
		return 0
	}
	end := uint64(h.Size()) + maxAlign(uint64(h.RemLen))
	if end >= PageSize || !isZero(page[h.Size():end]) || isZero(page[end:]) {
		return 0
	}
	return at + pg.LSN(end)
}

// firstByte is where the first record or header in b begins, len(b) if b is
// all zeros. Both begin at a multiple of 8 and with bytes that are not zero.
func firstByte(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i &^ 7
		}
	}
	return len(b)
}

// headerSize is the size that the header of the page at an LSN must have.
func (r *Reader) headerSize(page pg.LSN) int {
	if uint64(page)%uint64(r.cfg.SegmentSize) == 0 {
		return LongHeaderSize
	}
	return ShortHeaderSize
}

// rawPage is a page without a look at its header.
func (r *Reader) rawPage(at pg.LSN) ([]byte, error) {
	if at < r.chunkAt || uint64(at-r.chunkAt) >= uint64(len(r.chunk)) {
		if err := r.readChunk(at); err != nil {
			return nil, err
		}
	}
	off := int(at - r.chunkAt)
	return r.chunk[off : off+PageSize : off+PageSize], nil
}

// skipMissing looks whether the record at Start is the one before a timeline
// of Neon's: zeros, and the first record behind them is its successor by
// xl_prev, which readRecord checks. Its data directory has what it did.
func (r *Reader) skipMissing() error {
	page, err := r.rawPage(pageOf(r.cfg.Start))
	if err != nil {
		return err
	}
	off := int(r.cfg.Start - pageOf(r.cfg.Start))
	size := r.headerSize(pageOf(r.cfg.Start))
	if off < size || !isZero(page[size:min(off+recordHeaderSize, PageSize)]) {
		return nil
	}
	if !isZero(page[:size]) && r.madeUp(pageOf(r.cfg.Start), page) <= r.cfg.Start && !r.bareHeader(pageOf(r.cfg.Start), page) {
		return nil
	}
	b, ok, err := r.lateStart(r.cfg.Start)
	if err != nil || !ok {
		return err
	}
	r.late, r.prev, r.next = b.at, r.cfg.Start, b.at
	if !b.header {
		r.headlessAt = b.at
	}
	return nil
}

// skipZeros moves FindFirst's start behind the zeros that a timeline of Neon's
// begins with.
func (r *Reader) skipZeros() error {
	b, ok, err := r.lateStart(pageOf(r.cfg.Start))
	if err != nil || !ok || b.at == pageOf(r.cfg.Start) || r.goesOn(b) {
		return err
	}
	r.late, r.cfg.Start = b.at, b.at
	if b.exact {
		r.cfg.FindFirst, r.next = false, b.at
	}
	if !b.header {
		r.headlessAt = b.at
	}
	return nil
}

// goesOn reports whether what looks made up on the first page may as well be
// the end of a record that happens to be zeros: findFirst skips both.
func (r *Reader) goesOn(b begun) bool {
	if !b.header || pageOf(b.at) != pageOf(r.cfg.Start) {
		return false
	}
	raw, err := r.rawPage(pageOf(b.at))
	if err != nil {
		return false
	}
	h, err := ParsePageHeader(raw)
	return err == nil && h.RemLen > 0
}

// Late is where the records begin if there are zeros before, where there
// should be WAL: as timelines of Neon's begin, or as damage does that took the
// WAL before. 0 if they begin where they should.
func (r *Reader) Late() pg.LSN { return r.late }

// headless reports whether page is the one where a timeline of Neon's begins:
// zeros up to the first record, which is none that could follow a header.
func (r *Reader) headless(at pg.LSN, page []byte) bool {
	start := r.cfg.Start
	if r.headlessAt != 0 {
		start = r.headlessAt
	}
	before := start - at // of another page: more than a page, or wrapped around to more
	return !r.cfg.FindFirst && before >= pg.LSN(r.headerSize(at)) && before < PageSize && isZero(page[:before]) && !isZero(page)
}
