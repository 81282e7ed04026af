package wal

import "redoubt/internal/pg"

// Operations of resource manager BRIN (access/brin_xlog.h, XLOG_BRIN_*).
const (
	BRINCreateIndex    = 0x00
	BRINInsert         = 0x10
	BRINUpdate         = 0x20
	BRINSamepageUpdate = 0x30
	BRINRevmapExtend   = 0x40
	BRINDesummarize    = 0x50

	brinOpMask   = 0x70 // XLOG_BRIN_OPMASK
	brinInitPage = 0x80 // XLOG_BRIN_INIT_PAGE
)

// BRINOp is the operation without XLOG_BRIN_INIT_PAGE.
func (r *Record) BRINOp() uint8 { return r.Info & brinOpMask }

// BRINInitsPage is XLOG_BRIN_INIT_PAGE: the new tuple is the first of its page.
func (r *Record) BRINInitsPage() bool { return r.Info&brinInitPage != 0 }

// BRINCreation is xl_brin_createidx.
type BRINCreation struct {
	PagesPerRange uint32
	Version       uint16
}

// DecodeBRINCreate decodes CREATE_INDEX.
func DecodeBRINCreate(r *Record) (BRINCreation, error) {
	c, err := r.mainOf(6)
	return BRINCreation{PagesPerRange: c.u32(), Version: c.u16()}, err
}

// BRINEntry is one range's entry: of xl_brin_insert and xl_brin_update, where
// its tuple goes, of xl_brin_desummarize, where it was.
type BRINEntry struct {
	HeapBlock     pg.BlockNumber
	PagesPerRange uint32 // never 0
	Offset        int
	OldOffset     int // UPDATE: the old tuple's offset number on its page
}

// DecodeBRINEntry decodes INSERT, UPDATE and DESUMMARIZE.
func DecodeBRINEntry(r *Record) (e BRINEntry, err error) {
	var c cursor
	switch r.BRINOp() {
	case BRINUpdate:
		c, err = r.mainOf(14)
		e.OldOffset = int(c.u16())
		c.align(4)
		e.HeapBlock, e.PagesPerRange = pg.BlockNumber(c.u32()), c.u32()
	case BRINDesummarize:
		c, err = r.mainOf(10)
		e.PagesPerRange, e.HeapBlock = c.u32(), pg.BlockNumber(c.u32())
	default:
		c, err = r.mainOf(10)
		e.HeapBlock, e.PagesPerRange = pg.BlockNumber(c.u32()), c.u32()
	}
	e.Offset = int(c.u16())
	if err == nil && e.PagesPerRange == 0 {
		err = r.bodyError("ranges of 0 blocks")
	}
	return e, err
}

// DecodeBRINSamepage decodes SAMEPAGE_UPDATE: the tuple's offset number.
func DecodeBRINSamepage(r *Record) (offset int, err error) {
	c, err := r.mainOf(2)
	return int(c.u16()), err
}

// DecodeBRINExtend decodes REVMAP_EXTEND: the new revmap page's block.
func DecodeBRINExtend(r *Record) (pg.BlockNumber, error) {
	c, err := r.mainOf(4)
	return pg.BlockNumber(c.u32()), err
}
