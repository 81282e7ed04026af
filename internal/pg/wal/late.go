package wal

import "redoubt/internal/pg"

// A timeline of Neon begins in the middle of a segment: the server that began
// it was given a data directory and the LSN to go on at, and what the segment
// should hold before is zeros, the header of the page included. A first
// segment looks like that:
//
//	zeros … | page: zeros, first record, second record … | page header, …
//	        ^ no header                                  ^ the first header there is
//
// The first record's xl_prev names the last one before, which is not there.

// lateStart is where the first record is that follows from behind zeros: from
// an LSN within the first page that is not all zeros, or on that page's start
// if it has a header, which then says what it begins with. ok is false if
// there is nothing but zeros up to the end of from's segment, or if what is
// before from on its page is none.
func (r *Reader) lateStart(from pg.LSN) (at pg.LSN, header, ok bool, err error) {
	end := (pg.SegmentOf(from, r.cfg.SegmentSize) + 1).Start(r.cfg.SegmentSize)
	for page := pageOf(from); page < end; page += PageSize {
		b, err := r.rawPage(page)
		if err != nil {
			return 0, false, false, err
		}
		first := firstByte(b)
		switch {
		case first == PageSize:
			continue
		case page+pg.LSN(first) < from && page == pageOf(from):
			return 0, false, false, nil
		case first < r.headerSize(page):
			return page, true, true, nil
		}
		return page + pg.LSN(first), false, true, nil
	}
	return 0, false, false, nil
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
	if off < r.headerSize(pageOf(r.cfg.Start)) || !isZero(page[:min(off+recordHeaderSize, PageSize)]) {
		return nil
	}
	at, header, ok, err := r.lateStart(r.cfg.Start)
	if err != nil || !ok {
		return err
	}
	r.late, r.prev, r.next = at, r.cfg.Start, at
	if !header {
		r.headlessAt = at
	}
	return nil
}

// skipZeros moves FindFirst's start behind the zeros that a timeline of Neon's
// begins with.
func (r *Reader) skipZeros() error {
	at, header, ok, err := r.lateStart(pageOf(r.cfg.Start))
	if err != nil || !ok || at == pageOf(r.cfg.Start) {
		return err
	}
	r.late, r.cfg.Start = at, at
	if !header {
		r.cfg.FindFirst, r.headlessAt, r.next = false, at, at
	}
	return nil
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
