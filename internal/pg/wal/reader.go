package wal

import (
	"bytes"
	"fmt"
	"slices"

	"redoubt/internal/pg"
)

// PageFunc returns one or more whole WAL pages that start at LSN at, a
// multiple of PageSize, not crossing the end of a segment. The memory belongs
// to the reader from then on and is never written to again; for one of which
// only NextInto is called, until the next call. Where a segment is not there
// the error is a *MissingError.
type PageFunc func(at pg.LSN) ([]byte, error)

// Config says where a Reader starts and what it expects.
type Config struct {
	// Start is the LSN of a record or of the page it is the first on; pages
	// before it are not read. With FindFirst it is any LSN. A timeline of Neon's
	// begins in the middle of a page that is zero before its first record: then
	// Start is that record's LSN or, as for a data directory that was stopped,
	// that of the record before, which is not there.
	Start pg.LSN
	// FindFirst makes the first record the first one that begins at or after
	// Start: the end of a record begun on an earlier page is skipped.
	FindFirst bool
	// MayBeginLate lets FindFirst skip zeros before the first record, up to the
	// end of the segment: see Reader.Late.
	MayBeginLate bool
	// SegmentSize is the size of a segment in bytes.
	SegmentSize int64
	// SystemID is the system identifier all segments must have; 0 learns it
	// from the first long page header.
	SystemID uint64
	// Prev is the LSN of the record before Start, which the first record's
	// xl_prev must name; 0 if it is not known.
	Prev pg.LSN
	// History is the timeline that is read: a page of another TLI than it says,
	// as an abandoned branch has, ends the stream. Without it any TLI is taken
	// that does not go backwards.
	History History
	// Dialect is what the records are read as; it does not matter to framing.
	Dialect Dialect
}

// Reader decodes a stream of WAL, record by record. It checks page headers,
// each record's CRC-32C and the xl_prev chain. It holds at most the pages of
// one call of its PageFunc and one record.
type Reader struct {
	read PageFunc
	cfg  Config
	err  error

	chunk   []byte // as the PageFunc returned it
	chunkAt pg.LSN

	page     []byte // the page being read, within chunk; nil before the first
	pageAt   pg.LSN
	header   PageHeader
	major    int
	sysid    uint64
	segments int64
	segment  pg.SegmentNo // the one counted last

	started bool
	records bool   // at least one was read: prev is known
	raw     []byte // of the last good record
	end     pg.LSN // of the last good record
	next    pg.LSN // where the next record starts, or the page it starts on
	prev    pg.LSN // of the last good record
	dropped pg.LSN // half a record just skipped, because it was overwritten

	late       pg.LSN // where the records begin behind zeros, 0 if there are none
	headlessAt pg.LSN // the first record, if its page has no header
	slab       []byte // unused rest of the block that records across pages are put together in
	into       bool   // NextInto is under way: nothing of rec may point into the chunk
	room       []byte // with into: where the record is put if it fits
}

// NewReader makes a reader. A configuration that cannot work is the error of
// the first Next.
func NewReader(pages PageFunc, cfg Config) *Reader {
	return &Reader{read: pages, cfg: cfg, sysid: cfg.SystemID, end: cfg.Start, next: cfg.Start, prev: cfg.Prev}
}

// Major is the PostgreSQL major version of the WAL, 0 before the first page.
func (r *Reader) Major() int { return r.major }

// SystemID is the system identifier, 0 as long as it was neither configured
// nor met in a long page header.
func (r *Reader) SystemID() uint64 { return r.sysid }

// End is the end of the last good record (its EndRecPtr), where the next one
// is expected. Before the first record it is where reading starts.
func (r *Reader) End() pg.LSN { return r.end }

// Last is the LSN of the last good record, or Config.Prev before the first.
func (r *Reader) Last() pg.LSN { return r.prev }

// Segments is the number of segments of which pages were read.
func (r *Reader) Segments() int64 { return r.segments }

// Next fills rec with the next record, reusing the capacity of rec.Blocks.
// The error is an *EndError, or what the PageFunc returned, wrapped. After an
// error rec is undefined and every further call returns the same error.
func (r *Reader) Next(rec *Record) error {
	if r.err == nil {
		r.err = r.nextRecord(rec)
	}
	return r.err
}

// NextInto is Next for a record that points nowhere into the pages: its bytes
// are put into room if they fit, else into memory of their own, and returned.
func (r *Reader) NextInto(rec *Record, room []byte) ([]byte, error) {
	r.into, r.room = true, room
	err := r.Next(rec)
	r.into, r.room = false, nil
	if err != nil {
		return nil, err
	}
	return r.raw, nil
}

func (r *Reader) nextRecord(rec *Record) error {
	if r.started {
		return r.readRecord(rec)
	}
	if err := r.begin(); err != nil {
		return err
	}
	r.started = true
	r.end = r.next
	for {
		if err := r.readRecord(rec); err != nil || rec.LSN >= r.cfg.Start {
			return err
		}
	}
}

// begin checks the configuration and finds where the first record starts.
func (r *Reader) begin() error {
	switch {
	case !pg.ValidSegmentSize(r.cfg.SegmentSize):
		return fmt.Errorf("read WAL: segment size %d is not a power of two between 1 MiB and 1 GiB", r.cfg.SegmentSize)
	case r.cfg.FindFirst:
		if r.cfg.MayBeginLate {
			if err := r.skipZeros(); err != nil || !r.cfg.FindFirst {
				return err
			}
		}
		return r.findFirst()
	case r.cfg.Start%8 != 0:
		return fmt.Errorf("read WAL: no record starts at %s, which is not a multiple of 8", r.cfg.Start)
	}
	return r.skipMissing()
}

// findFirst sets next to the first record on the page of Start or, where a
// record from an earlier page reaches beyond that page, to the first behind it.
//
// Source: access/transam/xlogreader.c, XLogFindNextRecord.
func (r *Reader) findFirst() error {
	at := pageOf(r.cfg.Start)
	var left uint32 // what a continuation must say, once one was met
	for {
		if err := r.openPage(at); err != nil {
			return err
		}
		size := r.header.Size()
		r.next = at + pg.LSN(size)
		if !r.header.Continues() {
			return nil
		}
		if left != 0 && r.header.RemLen != left {
			return &EndError{at, EndBadPage, fmt.Sprintf("%d bytes of a record remain, the page before says %d", r.header.RemLen, left)}
		}
		rest := maxAlign(uint64(r.header.RemLen))
		if rest < uint64(PageSize-size) {
			r.next += pg.LSN(rest)
			return nil
		}
		left = uint32(max(int64(r.header.RemLen)-int64(PageSize-size), 0))
		at += PageSize
		r.next = at
		if left == 0 {
			return nil
		}
	}
}

// openPage makes the page at LSN at the current one.
func (r *Reader) openPage(at pg.LSN) error {
	if r.page != nil && r.pageAt == at {
		return nil
	}
	r.page = nil
	page, err := r.rawPage(at)
	if err != nil {
		return err
	}
	var h PageHeader
	if r.headless(at, page) {
		h, err = r.borrowHeader(at, page)
	} else {
		h, err = ParsePageHeader(page)
	}
	if err != nil {
		return err
	}
	if end := r.checkPage(&h, at, page); end != nil {
		return end
	}
	r.page, r.pageAt, r.header = page, at, h
	return nil
}

// borrowHeader makes up the header of a page without one: version and TLI of
// the page after it.
func (r *Reader) borrowHeader(at pg.LSN, page []byte) (PageHeader, error) {
	off := int(at-r.chunkAt) + PageSize
	if off == len(r.chunk) {
		page = slices.Clone(page) // its memory may be used again
		if err := r.readChunk(at + PageSize); err != nil {
			return PageHeader{}, err
		}
		r.chunk, r.chunkAt = slices.Concat(page, r.chunk), at
		off = PageSize
	}
	h, err := ParsePageHeader(r.chunk[off:])
	if err != nil {
		return PageHeader{}, err
	}
	if end := h.check(at+PageSize, r.cfg.SegmentSize); end != nil {
		return PageHeader{}, end
	}
	h = PageHeader{Magic: h.Magic, TLI: h.TLI, Addr: at}
	if uint64(at)%uint64(r.cfg.SegmentSize) == 0 {
		h.Info, h.SystemID, h.SegmentSize, h.BlockSize = longHeader, r.sysid, uint32(r.cfg.SegmentSize), PageSize
	}
	return h, nil
}

// readChunk asks the PageFunc for pages and checks that it kept its promise.
func (r *Reader) readChunk(at pg.LSN) error {
	chunk, err := r.read(at)
	if err != nil {
		return fmt.Errorf("read WAL at %s: %w", at, err)
	}
	left := uint64(r.cfg.SegmentSize) - uint64(at)%uint64(r.cfg.SegmentSize)
	if len(chunk) == 0 || len(chunk)%PageSize != 0 || uint64(len(chunk)) > left {
		return fmt.Errorf("read WAL at %s: the source returned %d bytes, want whole pages within one segment", at, len(chunk))
	}
	r.chunk, r.chunkAt = chunk, at
	return nil
}

// checkPage checks a header by itself and against the pages before.
func (r *Reader) checkPage(h *PageHeader, at pg.LSN, page []byte) *EndError {
	if h.Magic == 0 && isZero(page) {
		return &EndError{LSN: at, Reason: EndZeroPage}
	}
	if end := h.check(at, r.cfg.SegmentSize); end != nil {
		return end
	}
	major := h.Major()
	tli := r.cfg.History.TLIAt(at)
	switch {
	case tli != 0 && h.TLI != tli:
		return &EndError{at, EndBadPage, fmt.Sprintf("the page is of TLI %d, by the timeline's history it is of TLI %d", h.TLI, tli)}
	case r.major != 0 && major != r.major:
		return &EndError{at, EndBadPage, fmt.Sprintf("the page is of PostgreSQL %d, the one before of %d", major, r.major)}
	case h.TLI < r.header.TLI:
		return &EndError{at, EndBadPage, fmt.Sprintf("TLI %d follows TLI %d", h.TLI, r.header.TLI)}
	case h.Long() && r.sysid != 0 && h.SystemID != r.sysid:
		return &EndError{at, EndForeignSystem, fmt.Sprintf("system identifier is %d, want %d", h.SystemID, r.sysid)}
	}
	if h.Long() {
		r.sysid = h.SystemID
	}
	if n := pg.SegmentOf(at, r.cfg.SegmentSize); r.segments == 0 || n != r.segment {
		r.segment = n
		r.segments++
	}
	r.major = major
	return nil
}

// pageOf is the address of the page that holds l.
func pageOf(l pg.LSN) pg.LSN { return l &^ (PageSize - 1) }

// maxAlign is MAXALIGN: the next multiple of 8.
func maxAlign(n uint64) uint64 { return (n + 7) &^ 7 }

// zeros is compared with; nothing writes to it.
var zeros [PageSize]byte

// isZero reports whether b, at most a page, is all zeros.
func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
