package redo

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of the special area of gin pages (GinPageOpaqueData, access/ginblock.h).
const (
	ginSpecialSize = 8
	ginRightLink   = 0 // offsets within the special area
	ginMaxOff      = 4
	ginFlags       = 6
)

// Bits of GinPageOpaqueData.flags.
const (
	ginData            = 0x01
	ginLeaf            = 0x02
	ginDeleted         = 0x04
	ginMeta            = 0x08
	ginList            = 0x10
	ginListFullRow     = 0x20
	ginIncompleteSplit = 0x40
	ginCompressed      = 0x80
)

// ginOpaque is the special area of a gin page.
type ginOpaque []byte

func (o ginOpaque) setRightLink(b uint32)  { binary.LittleEndian.PutUint32(o[ginRightLink:], b) }
func (o ginOpaque) maxOff() int            { return int(binary.LittleEndian.Uint16(o[ginMaxOff:])) }
func (o ginOpaque) setMaxOff(n int)        { binary.LittleEndian.PutUint16(o[ginMaxOff:], uint16(n)) }
func (o ginOpaque) flags() uint16          { return binary.LittleEndian.Uint16(o[ginFlags:]) }
func (o ginOpaque) setFlags(f uint16)      { binary.LittleEndian.PutUint16(o[ginFlags:], f) }
func (o ginOpaque) is(mask, f uint16) bool { return o.flags()&mask == f }
func (o ginOpaque) add(f uint16)           { o.setFlags(o.flags() | f) }
func ginPageOpaque(p page.Page) ginOpaque  { return ginOpaque(p[pg.BlockSize-ginSpecialSize:]) }

// ginPage finds the special area of an existing page, whose flags under mask
// must be f.
func (c *call) ginPage(mask, f uint16) (ginOpaque, error) {
	if c.page.Special() != pg.BlockSize-ginSpecialSize {
		return nil, c.errorf("the page's special area starts at %d: not a gin page", c.page.Special())
	}
	o := ginPageOpaque(c.page)
	if !o.is(mask, f) {
		return nil, c.errorf("a gin page with flags %#x, want %#x of %#x", o.flags(), f, mask)
	}
	return o, nil
}

// ginInit makes an empty gin page (GinInitPage). The record must say that it
// does not need the page before.
func (c *call) ginInit(flags uint16) (ginOpaque, error) {
	if err := c.wantInit(true); err != nil {
		return nil, err
	}
	pageInit(c.page, ginSpecialSize)
	o := ginPageOpaque(c.page)
	o.setRightLink(uint32(pg.InvalidBlock))
	o.setFlags(flags)
	return o, nil
}

// wantInit checks that the reference says WILL_INIT exactly where the
// operation builds the page from nothing.
func (c *call) wantInit(init bool) error {
	if c.ref.WillInit != init {
		return c.errorf("block reference %d is to be initialised: %t, but it says %t", c.ref.ID, init, c.ref.WillInit)
	}
	return nil
}

// redoGin redoes the part of a Gin record that belongs to one block.
//
// Source: access/gin/ginxlog.c, gin_redo.
func redoGin(c *call) error {
	id := c.ref.ID
	switch op := c.rec.Op(); {
	case op == wal.GinCreatePTree && id == 0:
		return c.ginCreateTree()
	case op == wal.GinInsert && id <= 1:
		return c.ginInsert()
	case op == wal.GinSplit && id <= 3:
		return c.ginSplit()
	case op == wal.GinVacuumPage && id == 0:
		return c.errorf("without the full-page image it consists of")
	case op == wal.GinVacuumDataLeafPage && id == 0:
		return c.ginRecompress()
	case op == wal.GinDeletePage && id <= 2:
		return c.ginDeletePage()
	case op == wal.GinUpdateMetaPage && id <= 1:
		return c.ginUpdateMeta()
	case op == wal.GinInsertListPage && id == 0:
		return c.ginNewListPage()
	case op == wal.GinDeleteListPages:
		return c.ginDeleteListPages()
	}
	return c.errorf("unexpected block reference %d", id)
}

func (c *call) ginClearIncompleteSplit() error {
	o, err := c.ginPage(0, 0)
	if err == nil {
		o.setFlags(o.flags() &^ ginIncompleteSplit)
	}
	return err
}

// ginInsert redoes an insertion into an entry tree or a posting tree.
func (c *call) ginInsert() error {
	in, err := wal.DecodeGinInsert(c.rec)
	switch {
	case err != nil:
		return c.errorf("%v", err)
	case c.ref.ID == 1 && in.Leaf:
		return c.errorf("unexpected block reference 1 of an insertion into a leaf")
	case c.ref.ID == 1:
		return c.ginClearIncompleteSplit()
	case in.Data && in.Leaf:
		return c.ginRecompress()
	case in.Data:
		return c.ginInsertDownlink(in.RightChild)
	}
	return c.ginInsertEntry(in)
}

// ginInsertEntry redoes an insertion into the entry tree (ginRedoInsertEntry).
func (c *call) ginInsertEntry(in wal.GinInsertion) error {
	e, err := wal.DecodeGinEntry(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	want := uint16(0)
	if in.Leaf {
		want = ginLeaf
	}
	if _, err := c.ginPage(ginData|ginLeaf, want); err != nil {
		return err
	}
	if size := tupleSize(e.Tuple); size != len(e.Tuple) || size < indexTupleHeader {
		return c.errorf("index tuple of %d bytes in %d bytes of block data", size, len(e.Tuple))
	}
	if !in.Leaf {
		if err := c.setDownlink(e.Offset, in.RightChild); err != nil {
			return err
		}
	}
	if e.Replace {
		if !in.Leaf {
			return c.errorf("replace a tuple of an inner page")
		}
		if err := pageIndexTupleDelete(c.page, e.Offset); err != nil {
			return c.errorf("replace a tuple: %v", err)
		}
	}
	return c.add(c.page, e.Tuple, e.Offset)
}

// setDownlink changes the child of the tuple at offset number n (GinSetDownlink).
func (c *call) setDownlink(n int, child pg.BlockNumber) error {
	t := c.page.Item(n)
	if len(t) < indexTupleHeader {
		return c.errorf("no tuple with a downlink at offset number %d", n)
	}
	setTIDBlock(t, uint32(child))
	binary.LittleEndian.PutUint16(t[tidOffsetAt:], 0)
	return nil
}

// ginSplit redoes what a split record holds beside full-page images: the
// completed split of a child.
func (c *call) ginSplit() error {
	s, err := wal.DecodeGinSplit(c.rec)
	switch {
	case err != nil:
		return c.errorf("%v", err)
	case c.ref.ID == 3 && !s.Leaf:
		return c.ginClearIncompleteSplit()
	case c.ref.ID == 3 || c.ref.ID == 2 && !s.Root:
		return c.errorf("unexpected block reference %d", c.ref.ID)
	}
	return c.errorf("block reference %d of a split without its full-page image", c.ref.ID)
}

// ginDeletePage redoes the deletion of a posting tree's page.
func (c *call) ginDeletePage() error {
	d, err := wal.DecodeGinDeletePage(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if c.ref.ID == 1 {
		return c.ginRemoveDownlink(d.ParentOffset)
	}
	o, err := c.ginPage(ginData, ginData)
	switch {
	case err != nil:
		return err
	case c.ref.ID == 2:
		o.setRightLink(uint32(d.RightLink))
	default:
		o.add(ginDeleted)
		c.page.SetPruneXID(d.DeleteXID) // GinPageSetDeleteXid
	}
	return nil
}

// ginMetaPage rebuilds the metapage.
func (c *call) ginMetaPage(meta []byte) error {
	if _, err := c.ginInit(ginMeta); err != nil {
		return err
	}
	copy(c.page[page.HeaderSize:], meta)
	c.page.SetLower(page.HeaderSize + wal.GinMetaSize)
	return nil
}

// ginUpdateMeta redoes a change of the metapage and of the pending list's tail.
func (c *call) ginUpdateMeta() error {
	u, err := wal.DecodeGinUpdateMeta(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if c.ref.ID == 0 {
		return c.ginMetaPage(u.Meta)
	}
	o, err := c.ginPage(ginList|ginData|ginDeleted, ginList)
	switch {
	case err != nil:
		return err
	case u.Tuples > 0:
		o.setMaxOff(o.maxOff() + 1) // one more heap tuple
		return c.ginAppend(u.Tuples)
	case u.PrevTail != pg.InvalidBlock:
		o.setRightLink(uint32(u.NewRightLink))
		return nil
	}
	return c.errorf("unexpected block reference 1: the tail does not change")
}

// ginNewListPage redoes a new page of the pending list.
func (c *call) ginNewListPage() error {
	right, tuples, err := wal.DecodeGinInsertListPage(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.ginInit(ginList)
	if err != nil {
		return err
	}
	o.setRightLink(uint32(right))
	if right == pg.InvalidBlock { // the last page of a row
		o.add(ginListFullRow)
		o.setMaxOff(1)
	}
	return c.ginAppend(tuples)
}

// ginAppend adds the tuples of the block data behind those of the page.
func (c *call) ginAppend(tuples int) error {
	data := c.ref.Data
	for i := range tuples {
		size := tupleSize(data)
		if size < indexTupleHeader || size > len(data) {
			return c.errorf("tuple %d of %d has %d bytes, %d are left of the block data", i+1, tuples, size, len(data))
		}
		if err := c.add(c.page, data[:size], c.page.NumItems()+1); err != nil {
			return err
		}
		data = data[size:]
	}
	if len(data) > 0 {
		return c.errorf("%d bytes of block data behind %d tuples", len(data), tuples)
	}
	return nil
}

// ginDeleteListPages redoes taking pages off the head of the pending list.
func (c *call) ginDeleteListPages() error {
	meta, pages, err := wal.DecodeGinDeleteListPages(c.rec)
	switch {
	case err != nil:
		return c.errorf("%v", err)
	case c.ref.ID == 0:
		return c.ginMetaPage(meta)
	case int(c.ref.ID) > pages:
		return c.errorf("unexpected block reference %d: %d pages are deleted", c.ref.ID, pages)
	}
	_, err = c.ginInit(ginDeleted)
	return err
}
