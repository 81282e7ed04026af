package redo

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of the special area of GiST pages (GISTPageOpaqueData, access/gist.h).
const (
	gistNSN       = 0 // offsets within the special area; an LSN, high word first
	gistRightLink = 8
	gistPageID    = 0xFF81

	gistLeaf          = 0x0001 // F_LEAF
	gistDeleted       = 0x0002 // F_DELETED
	gistTuplesDeleted = 0x0004 // F_TUPLES_DELETED
	gistFollowRight   = 0x0008 // F_FOLLOW_RIGHT
	gistHasGarbage    = 0x0010 // F_HAS_GARBAGE

	gistRoot        = 0 // GIST_ROOT_BLKNO
	gistDeletedSize = 8 // sizeof(GISTDeletedPageContents)
)

// gistOpaque finds the special area; a page that is not a GiST page is an error.
func (c *call) gistOpaque() (opaque16, error) { return c.opaque(gistPageID, "GiST") }

// setNSN is GistPageSetNSN.
func (o opaque16) setNSN(nsn uint64) {
	o.setU32(gistNSN, uint32(nsn>>32))
	o.setU32(gistNSN+4, uint32(nsn))
}

// redoGist redoes the part of a Gist record that belongs to one block.
//
// Source: access/gist/gistxlog.c, gist_redo.
func redoGist(c *call) error {
	switch op, id := c.rec.Op(), c.ref.ID; {
	case op == wal.GistPageUpdate && id == 0:
		return c.gistUpdate()
	case op == wal.GistPageUpdate && id == 1, op == wal.GistPageSplit && id == 0:
		return c.gistClearFollowRight()
	case op == wal.GistPageSplit:
		return c.gistSplitPage()
	case op == wal.GistDelete && id == 0:
		return c.gistDelete()
	case op == wal.GistPageDelete && id == 0:
		return c.gistDeletePage()
	case op == wal.GistPageDelete && id == 1:
		return c.gistDeleteDownlink()
	}
	return c.unexpected()
}

// gistClearFollowRight completes the split of the page: its right sibling now
// has a downlink. The record's LSN becomes its NSN, even if the page was just
// restored from an image, which is older than that (gistRedoClearFollowRight).
func (c *call) gistClearFollowRight() error {
	o, err := c.gistOpaque()
	if err == nil {
		o.setNSN(uint64(c.rec.End))
		o.setFlags(o.flags() &^ gistFollowRight)
	}
	return err
}

// gistUpdate deletes items and adds others behind the rest; one for one, the
// new item takes the place of the old one.
func (c *call) gistUpdate() error {
	u, err := wal.DecodeGistUpdate(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.gistOpaque()
	if err != nil {
		return err
	}
	if u.Delete.Len() == 1 && u.Insert == 1 {
		return c.gistOverwrite(int(u.Delete.At(0)), u.Tuples)
	}
	if u.Delete.Len() > 0 {
		if err := c.deleteItems(u.Delete); err != nil {
			return err
		}
		if o.flags()&gistLeaf != 0 {
			o.setFlags(o.flags() | gistTuplesDeleted)
		}
	}
	return c.gistAppend(u.Tuples, uint32(u.Insert))
}

func (c *call) gistOverwrite(off int, item []byte) error {
	if len(item) < indexTupleHeader || tupleSize(item) != len(item) {
		return c.errorf("item of %d bytes in %d", tupleSize(item), len(item))
	}
	if err := pageIndexTupleOverwrite(c.page, off, item); err != nil {
		return c.errorf("replace the item at offset number %d by one of %d bytes: %v", off, len(item), err)
	}
	return nil
}

// gistAppend adds exactly n items, which lie one after the other.
func (c *call) gistAppend(items []byte, n uint32) error {
	added := uint32(0)
	for ; len(items) > 0; added++ {
		size := tupleSize(items)
		if size < indexTupleHeader || size > len(items) {
			return c.errorf("item of %d bytes in %d", size, len(items))
		}
		if err := c.add(c.page, items[:size], c.page.NumItems()+1); err != nil {
			return err
		}
		items = items[size:]
	}
	if added != n {
		return c.errorf("%d items, want %d", added, n)
	}
	return nil
}

// gistSplitPage makes one of the pages that a page was split into. Its right
// link is the next one of the record's blocks.
func (c *call) gistSplitPage() error {
	s, err := wal.DecodeGistSplit(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	id := int(c.ref.ID)
	if id > s.Pages {
		return c.unexpected()
	}
	n, items, err := wal.DecodeGistSplitPage(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	first := c.rec.Block(1)
	if first == nil {
		return c.errorf("a split without its first page")
	}
	right, flags := s.RightLink, uint16(0)
	if id < s.Pages {
		next := c.rec.Block(c.ref.ID + 1)
		if next == nil {
			return c.errorf("page %d of a split into %d is not there", id+1, s.Pages)
		}
		right = next.Number
		if first.Number != gistRoot && s.MarkFollowRight {
			flags |= gistFollowRight
		}
	}
	if c.ref.Number == gistRoot {
		right = pg.InvalidBlock
	} else if s.Leaf {
		flags |= gistLeaf
	}
	pageInit(c.page, opaqueSize)
	o := opaqueOf(c.page)
	o.setNSN(s.NSN)
	o.setU32(gistRightLink, uint32(right))
	o.setFlags(flags)
	o.setPageID(gistPageID)
	return c.gistAppend(items, n)
}

// gistDelete deletes items of dead rows from a leaf.
func (c *call) gistDelete() error {
	gone, err := wal.DecodeGistDelete(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.gistOpaque()
	if err != nil {
		return err
	}
	if err := c.deleteItems(gone); err != nil {
		return err
	}
	o.setFlags(o.flags()&^gistHasGarbage | gistTuplesDeleted)
	return nil
}

// gistDeletePage marks an empty leaf as deleted (GistPageSetDeleted); it keeps
// its right link for scans that are on their way.
func (c *call) gistDeletePage() error {
	d, err := wal.DecodeGistPageDeletion(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.gistOpaque()
	if err != nil {
		return err
	}
	o.setFlags(o.flags() | gistDeleted)
	c.page.SetLower(page.HeaderSize + gistDeletedSize)
	binary.LittleEndian.PutUint64(c.page[page.HeaderSize:], d.XID)
	return nil
}

func (c *call) gistDeleteDownlink() error {
	d, err := wal.DecodeGistPageDeletion(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if _, err := c.gistOpaque(); err != nil {
		return err
	}
	if err := pageIndexTupleDelete(c.page, d.Downlink); err != nil {
		return c.errorf("delete the downlink at offset number %d: %v", d.Downlink, err)
	}
	return nil
}
