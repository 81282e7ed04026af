package wal

import (
	"encoding/binary"
	"fmt"

	"redoubt/internal/pg"
)

// Sizes of a WAL page and its headers in bytes (XLOG_BLCKSZ,
// SizeOfXLogShortPHD, SizeOfXLogLongPHD). Other page sizes are refused.
const (
	PageSize        = 8192
	ShortHeaderSize = 24
	LongHeaderSize  = 40
)

// Bits of xlp_info.
const (
	firstIsContrecord          = 0x0001 // XLP_FIRST_IS_CONTRECORD
	longHeader                 = 0x0002 // XLP_LONG_HEADER
	firstIsOverwriteContrecord = 0x0008 // XLP_FIRST_IS_OVERWRITE_CONTRECORD
	allPageFlags               = 0x000F // XLP_ALL_FLAGS
)

// magics are XLOG_PAGE_MAGIC by major version, from pg.MinMajor on.
var magics = [...]uint16{0xD10D, 0xD110, 0xD113, 0xD116, 0xD118}

// majorOf is the major version that writes the magic, 0 if none does.
func majorOf(magic uint16) int {
	for i, m := range magics {
		if m == magic {
			return pg.MinMajor + i
		}
	}
	return 0
}

// PageHeader is the header of a WAL page (XLogPageHeaderData and
// XLogLongPageHeaderData, access/xlog_internal.h).
type PageHeader struct {
	Magic  uint16
	Info   uint16
	TLI    pg.TLI
	Addr   pg.LSN
	RemLen uint32 // bytes that remain of a record begun on an earlier page

	// In long headers only, which stand on the first page of a segment.
	SystemID    uint64
	SegmentSize uint32
	BlockSize   uint32
}

// ParsePageHeader reads the header of a WAL page. It checks nothing but that
// the bytes suffice.
func ParsePageHeader(page []byte) (PageHeader, error) {
	if len(page) < ShortHeaderSize {
		return PageHeader{}, fmt.Errorf("parse WAL page header: %w", errShort)
	}
	h := PageHeader{
		Magic:  binary.LittleEndian.Uint16(page),
		Info:   binary.LittleEndian.Uint16(page[2:]),
		TLI:    pg.TLI(binary.LittleEndian.Uint32(page[4:])),
		Addr:   pg.LSN(binary.LittleEndian.Uint64(page[8:])),
		RemLen: binary.LittleEndian.Uint32(page[16:]),
	}
	if !h.Long() {
		return h, nil
	}
	if len(page) < LongHeaderSize {
		return PageHeader{}, fmt.Errorf("parse long WAL page header: %w", errShort)
	}
	h.SystemID = binary.LittleEndian.Uint64(page[24:])
	h.SegmentSize = binary.LittleEndian.Uint32(page[32:])
	h.BlockSize = binary.LittleEndian.Uint32(page[36:])
	return h, nil
}

// Long reports whether the header is a long one.
func (h *PageHeader) Long() bool { return h.Info&longHeader != 0 }

// Size is the length of the header in bytes; a record may begin behind it.
func (h *PageHeader) Size() int {
	if h.Long() {
		return LongHeaderSize
	}
	return ShortHeaderSize
}

// Major is the PostgreSQL major version that wrote the page, 0 if none that is known.
func (h *PageHeader) Major() int { return majorOf(h.Magic) }

// Continues reports whether the page begins with the rest of a record.
func (h *PageHeader) Continues() bool { return h.Info&firstIsContrecord != 0 }

// check compares the header with where it stands: at is the page's address.
//
// Source: access/transam/xlogreader.c, XLogReaderValidatePageHeader. Stricter
// here: a long header stands on the first page of a segment only.
func (h *PageHeader) check(at pg.LSN, segmentSize int64) *EndError {
	bad := func(reason EndReason, format string, args ...any) *EndError {
		return &EndError{LSN: at, Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	first := uint64(at)%uint64(segmentSize) == 0
	switch {
	case h.Major() == 0:
		return bad(EndBadPage, "magic %04X is of no PostgreSQL from %d to %d", h.Magic, pg.MinMajor, pg.MaxMajor)
	case h.Info&^allPageFlags != 0:
		return bad(EndBadPage, "unknown flags %04X", h.Info)
	case h.Addr != at:
		return bad(EndBadPage, "the page says it is %s", h.Addr)
	case h.Long() != first:
		return bad(EndBadPage, "flags %04X: a long header stands on the first page of a segment of %d bytes and nowhere else", h.Info, segmentSize)
	case h.Long() && int64(h.SegmentSize) != segmentSize:
		return bad(EndForeignSystem, "segment size is %d, want %d", h.SegmentSize, segmentSize)
	case h.Long() && h.BlockSize != PageSize:
		return bad(EndForeignSystem, "WAL page size is %d, want %d", h.BlockSize, PageSize)
	}
	return nil
}
