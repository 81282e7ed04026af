package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"redoubt/internal/pg"
)

// recordHeaderSize is SizeOfXLogRecord: xl_tot_len u32 | xl_xid u32 |
// xl_prev u64 | xl_info u8 | xl_rmid u8 | 2 zero bytes | xl_crc u32.
const recordHeaderSize = 24

// crcOffset is where xl_crc stands; the CRC covers the bytes before it, but
// after those that follow the header.
const crcOffset = 20

// Longest records in bytes: XLogRecordMaxSize since 16; before, what the
// reader's palloc could hold (MaxAllocSize).
const (
	maxRecord       = 1020 << 20
	maxRecordBefore = 1<<30 - 1
)

// Records across pages of up to slabRecord bytes are put together in blocks of
// slabSize bytes; longer ones in a buffer that grows with what was read.
const (
	slabSize   = 256 << 10
	slabRecord = 64 << 10
)

// errOverwritten tells readRecord that the record's rest was overwritten.
var errOverwritten = errors.New("record was overwritten")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readRecord reads the record at r.next and moves on.
//
// Source: access/transam/xlogreader.c, XLogDecodeNextRecord.
func (r *Reader) readRecord(rec *Record) error {
	for {
		lsn, err := r.recordStart()
		if err != nil {
			return err
		}
		tli := r.header.TLI
		raw, end, err := r.recordBytes(lsn)
		switch {
		case err == nil:
			return r.finish(rec, raw, lsn, end, tli)
		case !errors.Is(err, errOverwritten):
			return err
		}
		r.dropped, r.next = lsn, r.pageAt
	}
}

// recordStart opens the page of the next record and returns its LSN.
func (r *Reader) recordStart() (pg.LSN, error) {
	at := pageOf(r.next)
	if err := r.openPage(at); err != nil {
		return 0, err
	}
	first := at + pg.LSN(r.header.Size())
	lsn := r.next
	if lsn == at {
		lsn = first
	}
	switch {
	case lsn < first:
		return 0, &EndError{lsn, EndBadRecordHeader, fmt.Sprintf("a record starts at %s at the earliest on this page", first)}
	case lsn == first && r.header.Continues() && !(r.header.RemLen == 0 && (lsn == r.late || lsn == r.cfg.Start)): // made up: see late.go
		return 0, &EndError{at, EndBadPage, "the page begins with the rest of a record where a new one is expected"}
	}
	return lsn, nil
}

// recordBytes returns the whole record at lsn, which is on the current page,
// and its end. Its header and CRC are right then.
func (r *Reader) recordBytes(lsn pg.LSN) (raw []byte, end pg.LSN, err error) {
	head := r.page[lsn-r.pageAt:]
	total := binary.LittleEndian.Uint32(head)
	if total == 0 && isZero(head[:min(len(head), recordHeaderSize)]) {
		return nil, 0, &EndError{LSN: lsn, Reason: EndZeroLength}
	}
	if total < recordHeaderSize || total > r.maxLength() {
		return nil, 0, &EndError{lsn, EndBadRecordHeader, fmt.Sprintf("length is %d bytes", total)}
	}
	if len(head) >= recordHeaderSize {
		if end := r.checkHeader(head, lsn); end != nil {
			return nil, 0, end
		}
	}
	if uint64(total) <= uint64(len(head)) {
		raw, end = r.own(head[:total:total]), lsn+pg.LSN(maxAlign(uint64(total)))
	} else {
		raw, end, err = r.assemble(head, lsn, total)
		if err != nil {
			return nil, 0, err
		}
	}
	if !crcFits(raw) {
		return nil, 0, &EndError{LSN: lsn, Reason: EndBadCRC}
	}
	return raw, end, nil
}

func (r *Reader) maxLength() uint32 {
	if r.major < 16 {
		return maxRecordBefore
	}
	return maxRecord
}

// checkHeader checks a whole record header, all but its length.
//
// Source: access/transam/xlogreader.c, ValidXLogRecordHeader.
func (r *Reader) checkHeader(head []byte, lsn pg.LSN) *EndError {
	rmgr := pg.RmgrID(head[17])
	if !rmgr.BuiltIn() && (!rmgr.Custom() || r.major < 15) {
		return &EndError{lsn, EndBadRecordHeader, fmt.Sprintf("resource manager %d does not exist", uint8(rmgr))}
	}
	prev := pg.LSN(binary.LittleEndian.Uint64(head[8:]))
	known := r.records || r.prev != 0
	if known && prev != r.prev {
		return &EndError{lsn, EndBadPrev, fmt.Sprintf("xl_prev is %s, the record before starts at %s", prev, r.prev)}
	}
	if !known && prev >= lsn {
		return &EndError{lsn, EndBadPrev, fmt.Sprintf("xl_prev %s is not before the record", prev)}
	}
	return nil
}

// assemble puts together a record that goes on beyond its first page; head
// is what stands there.
func (r *Reader) assemble(head []byte, lsn pg.LSN, total uint32) (raw []byte, end pg.LSN, err error) {
	buf := append(r.buffer(total), head...)
	headerSeen := len(head) >= recordHeaderSize
	for at := r.pageAt + PageSize; ; at += PageSize {
		left := total - uint32(len(buf))
		if err := r.openContinuation(at, lsn, left); err != nil {
			return nil, 0, err
		}
		body := r.page[r.header.Size():]
		n := min(uint64(left), uint64(len(body)))
		buf = append(buf, body[:n]...)
		if !headerSeen {
			headerSeen = true
			if end := r.checkHeader(buf, lsn); end != nil {
				return nil, 0, end
			}
		}
		if uint32(len(buf)) == total {
			return buf[:total:total], at + pg.LSN(r.header.Size()) + pg.LSN(maxAlign(n)), nil
		}
	}
}

// own is raw, or a copy of it in memory that the caller of NextInto owns.
func (r *Reader) own(raw []byte) []byte {
	if !r.into {
		return raw
	}
	return append(r.buffer(uint32(len(raw))), raw...)
}

// buffer returns an empty slice for a record of total bytes. A length is only
// believed up to what the caller of NextInto has room for, up to slabRecord, or
// as far as bytes of the chunk back it.
func (r *Reader) buffer(total uint32) []byte {
	if uint64(total) <= uint64(len(r.room)) {
		return r.room[0:0:total]
	}
	if total > slabRecord {
		have := uint64(len(r.chunk)) - uint64(r.pageAt-r.chunkAt)
		return make([]byte, 0, min(uint64(total), have))
	}
	if len(r.slab) < int(total) {
		r.slab = make([]byte, slabSize)
	}
	buf := r.slab[0:0:total]
	r.slab = r.slab[total:]
	return buf
}

// openContinuation opens the page at, which must go on with the record at
// lsn, of which left bytes are missing.
func (r *Reader) openContinuation(at, lsn pg.LSN, left uint32) error {
	torn := func(format string, args ...any) error {
		return &EndError{lsn, EndTorn, fmt.Sprintf(format, args...)}
	}
	if err := r.openPage(at); err != nil {
		var end *EndError
		if errors.As(err, &end) && end.Reason == EndZeroPage {
			return torn("it goes on at %s, where the page is zero", at)
		}
		return err
	}
	switch {
	case r.header.Info&firstIsOverwriteContrecord != 0:
		return errOverwritten
	case !r.header.Continues():
		return torn("it goes on at %s, where the page begins with another record", at)
	case r.header.RemLen != left:
		return torn("it goes on at %s with %d bytes, where the page has %d", at, left, r.header.RemLen)
	}
	return nil
}

// crcFits checks xl_crc: CRC-32C over what follows the header, then the
// header up to the CRC.
func crcFits(raw []byte) bool {
	return recordCRC(raw) == binary.LittleEndian.Uint32(raw[crcOffset:])
}

// finish decodes the record and moves the reader behind it.
func (r *Reader) finish(rec *Record, raw []byte, lsn, end pg.LSN, tli pg.TLI) error {
	rec.LSN, rec.End, rec.TLI, rec.Major, rec.Dialect = lsn, end, tli, r.major, r.cfg.Dialect
	if detail := rec.decode(raw); detail != "" {
		return &EndError{lsn, EndBadRecordContent, detail}
	}
	if rec.Rmgr == pg.RmgrXLOG {
		switch rec.Op() {
		case xlogSwitch:
			size := pg.LSN(r.cfg.SegmentSize)
			rec.End = (end + size - 1) &^ (size - 1)
		case xlogOverwriteContrecord:
			if err := r.checkOverwrite(rec); err != nil {
				return err
			}
			r.dropped = 0
		}
	}
	if r.dropped != 0 {
		return &EndError{lsn, EndBadRecordContent, fmt.Sprintf("the record at %s is cut off and marked as overwritten, but this is not OVERWRITE_CONTRECORD", r.dropped)}
	}
	r.end, r.next, r.prev, r.records, r.raw = rec.End, rec.End, lsn, true, raw
	return nil
}

// checkOverwrite checks that OVERWRITE_CONTRECORD names the half record just
// skipped. The first record of a stream may name one that was never seen.
//
// Source: access/transam/xlogrecovery.c, VerifyOverwriteContrecord.
func (r *Reader) checkOverwrite(rec *Record) error {
	o, _, err := DecodeOverwriteContrecord(rec)
	if err != nil {
		return &EndError{rec.LSN, EndBadRecordContent, err.Error()}
	}
	if o.LSN != r.dropped && (r.records || r.dropped != 0) {
		return &EndError{rec.LSN, EndBadRecordContent, fmt.Sprintf("OVERWRITE_CONTRECORD names %s, the record cut off is %s", o.LSN, r.dropped)}
	}
	return nil
}
