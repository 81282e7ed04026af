package redo

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of BRIN pages (access/brin_page.h): a special area of 8 bytes whose
// last word is the page's type.
const (
	brinSpecialSize = 8
	brinTypeAt      = pg.BlockSize - 2
	brinMetaPage    = 0xF091 // BRIN_PAGETYPE_META
	brinRevmapPage  = 0xF092 // BRIN_PAGETYPE_REVMAP
	brinRegularPage = 0xF093 // BRIN_PAGETYPE_REGULAR

	brinMetaMagic  = 0xA8109CFA
	brinMetaSize   = 16 // sizeof(BrinMetaPageData)
	brinLastRevmap = page.HeaderSize + 12

	// brinRevmapItems is REVMAP_PAGE_MAXITEMS: entries of a revmap page.
	brinRevmapItems = (pg.BlockSize - page.HeaderSize - brinSpecialSize) / tidSize
)

// brinInit makes an empty page (brin_page_init).
func (c *call) brinInit(typ uint16) {
	pageInit(c.page, brinSpecialSize)
	binary.LittleEndian.PutUint16(c.page[brinTypeAt:], typ)
}

// brinPage says whether the page is a BRIN page of that type.
func (c *call) brinPage(typ uint16) error {
	got := binary.LittleEndian.Uint16(c.page[brinTypeAt:])
	if c.page.Special() != pg.BlockSize-brinSpecialSize || got != typ {
		return c.errorf("special area at %d, type 0x%04X: not a BRIN page of type 0x%04X", c.page.Special(), got, typ)
	}
	return nil
}

// redoBRIN redoes the part of a BRIN record that belongs to one block.
//
// Source: access/brin/brin_xlog.c, brin_redo.
func redoBRIN(c *call) error {
	id := c.ref.ID
	switch op := c.rec.BRINOp(); op {
	case wal.BRINCreateIndex:
		return c.only(0, c.brinCreate)
	case wal.BRINInsert, wal.BRINUpdate:
		switch {
		case id == 0:
			return c.brinInsert()
		case id == 1:
			return c.brinPoint()
		case id == 2 && op == wal.BRINUpdate:
			return c.brinRemove()
		}
	case wal.BRINSamepageUpdate:
		return c.only(0, c.brinOverwrite)
	case wal.BRINRevmapExtend:
		return c.brinExtend()
	case wal.BRINDesummarize:
		switch id {
		case 0:
			return c.brinPoint()
		case 1:
			return c.brinRemove()
		}
	}
	return c.unexpected()
}

// brinCreate makes the metapage (brin_metapage_init).
func (c *call) brinCreate() error {
	m, err := wal.DecodeBRINCreate(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	c.brinInit(brinMetaPage)
	for i, v := range []uint32{brinMetaMagic, uint32(m.Version), m.PagesPerRange, 0} {
		binary.LittleEndian.PutUint32(c.page[page.HeaderSize+4*i:], v)
	}
	c.page.SetLower(page.HeaderSize + brinMetaSize)
	return nil
}

// brinInsert puts a range's tuple on a regular page, perhaps a new one.
func (c *call) brinInsert() error {
	e, err := wal.DecodeBRINEntry(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if c.rec.BRINInitsPage() {
		c.brinInit(brinRegularPage)
	}
	if err := c.brinPage(brinRegularPage); err != nil {
		return err
	}
	if len(c.ref.Data) == 0 || e.Offset == 0 {
		return c.errorf("tuple of %d bytes for offset number %d", len(c.ref.Data), e.Offset)
	}
	if _, err := pageAddItem(c.page, c.ref.Data, e.Offset, true, false); err != nil {
		return c.errorf("add a tuple of %d bytes at offset number %d: %v", len(c.ref.Data), e.Offset, err)
	}
	return nil
}

// brinPoint points the revmap's entry of a range to its tuple on the page of
// block reference 0, or nowhere (brinSetHeapBlockItemptr).
func (c *call) brinPoint() error {
	e, err := wal.DecodeBRINEntry(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if err := c.brinPage(brinRevmapPage); err != nil {
		return err
	}
	block, off := invalidBlock, 0
	if c.rec.BRINOp() != wal.BRINDesummarize {
		regular := c.rec.Block(0)
		if regular == nil {
			return c.errorf("no block reference 0 to point to")
		}
		block, off = uint32(regular.Number), e.Offset
	}
	at := page.HeaderSize + int(uint32(e.HeapBlock)/e.PagesPerRange%brinRevmapItems)*tidSize
	setTIDBlock(c.page[at:], block)
	binary.LittleEndian.PutUint16(c.page[at+tidOffsetAt:], uint16(off))
	return nil
}

// brinRemove takes a tuple off a regular page: the one that an update moved to
// another page, or that of a range that is no more summarized.
func (c *call) brinRemove() error {
	e, err := wal.DecodeBRINEntry(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if err := c.brinPage(brinRegularPage); err != nil {
		return err
	}
	off := e.OldOffset
	if c.rec.BRINOp() == wal.BRINDesummarize {
		off = e.Offset
	}
	if err := pageIndexTupleDeleteNoCompact(c.page, off); err != nil {
		return c.errorf("remove the tuple at offset number %d: %v", off, err)
	}
	return nil
}

// brinOverwrite replaces a tuple on its page.
func (c *call) brinOverwrite() error {
	off, err := wal.DecodeBRINSamepage(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if err := c.brinPage(brinRegularPage); err != nil {
		return err
	}
	if len(c.ref.Data) == 0 {
		return c.errorf("no tuple for offset number %d", off)
	}
	if err := pageIndexTupleOverwrite(c.page, off, c.ref.Data); err != nil {
		return c.errorf("replace the tuple at offset number %d by one of %d bytes: %v", off, len(c.ref.Data), err)
	}
	return nil
}

// brinExtend adds a page to the revmap. Metapages that older versions made may
// have a wrong pd_lower, so it is set, too.
func (c *call) brinExtend() error {
	last, err := wal.DecodeBRINExtend(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		if err := c.brinPage(brinMetaPage); err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(c.page[brinLastRevmap:], uint32(last))
		c.page.SetLower(page.HeaderSize + brinMetaSize)
		return nil
	case 1:
		c.brinInit(brinRevmapPage)
		return nil
	}
	return c.unexpected()
}
