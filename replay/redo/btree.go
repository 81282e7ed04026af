package redo

import (
	"encoding/binary"
	"math"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of the special area of btree pages (BTPageOpaqueData, access/nbtree.h).
const (
	btPrev    = 0 // offsets within the special area
	btNext    = 4
	btLevel   = 8
	btCycleID = 14

	btMetaMagic   = 0x053162
	btMetaSize    = 48 // sizeof(BTMetaPageData)
	btDeletedSize = 8  // sizeof(BTDeletedPageData)
	btHighKey     = 1  // P_HIKEY
)

// Bits of btpo_flags.
const (
	btLeaf            = 0x0001
	btRoot            = 0x0002
	btDeleted         = 0x0004
	btMeta            = 0x0008
	btHalfDead        = 0x0010
	btHasGarbage      = 0x0040
	btIncompleteSplit = 0x0080
	btHasFullXID      = 0x0100
)

// btOpaque finds the special area; a page that is not a btree page is an error.
func (c *call) btOpaque() (opaque16, error) {
	if c.page.Special() != pg.BlockSize-opaqueSize {
		return nil, c.errorf("the page's special area starts at %d: not a btree page", c.page.Special())
	}
	return opaqueOf(c.page), nil
}

// clearCycleID clears btpo_cycleid.
func (o opaque16) clearCycleID() { binary.LittleEndian.PutUint16(o[btCycleID:], 0) }

// firstData is P_FIRSTDATAKEY: behind the high key, which the rightmost page has not.
func (o opaque16) firstData() int {
	if o.u32(btNext) == 0 {
		return 1
	}
	return 2
}

// btInit makes an empty btree page and returns its special area.
func (c *call) btInit(prev, next pg.BlockNumber, level uint32, flags uint16) opaque16 {
	pageInit(c.page, opaqueSize)
	o := opaqueOf(c.page)
	o.setU32(btPrev, uint32(prev))
	o.setU32(btNext, uint32(next))
	o.setU32(btLevel, level)
	o.setFlags(flags)
	return o
}

// redoBtree redoes the part of a Btree record that belongs to one block.
//
// Source: access/nbtree/nbtxlog.c, btree_redo.
func redoBtree(c *call) error {
	id := c.ref.ID
	switch op := c.rec.Op(); op {
	case wal.BtreeInsertLeaf, wal.BtreeInsertUpper, wal.BtreeInsertMeta, wal.BtreeInsertPost:
		switch {
		case id == 0:
			return c.btInsert(op == wal.BtreeInsertPost)
		case id == 1 && (op == wal.BtreeInsertUpper || op == wal.BtreeInsertMeta):
			return c.btClearIncompleteSplit()
		case id == 2 && op == wal.BtreeInsertMeta:
			return c.btMetaPage()
		}
	case wal.BtreeSplitL, wal.BtreeSplitR:
		return c.btSplit(op == wal.BtreeSplitL)
	case wal.BtreeDedup:
		if id == 0 {
			return c.btDedup()
		}
	case wal.BtreeVacuum, wal.BtreeDelete:
		if id == 0 {
			return c.btDelete()
		}
	case wal.BtreeUnlinkPage, wal.BtreeUnlinkPageMeta:
		return c.btUnlink()
	case wal.BtreeNewroot:
		return c.btNewroot()
	case wal.BtreeMarkPageHalfdead:
		return c.btMarkHalfdead()
	case wal.BtreeMetaCleanup:
		if id == 0 {
			return c.btMetaPage()
		}
	}
	return c.unexpected()
}

// add appends or inserts an item and turns what keeps it off the page into an error.
func (c *call) add(p page.Page, item []byte, off int) error {
	if len(item) == 0 {
		return c.errorf("item for offset number %d is not there", off)
	}
	if _, err := pageAddItem(p, item, off, false, false); err != nil {
		return c.errorf("add an item of %d bytes at offset number %d: %v", len(item), off, err)
	}
	return nil
}

func (c *call) btInsert(posting bool) error {
	off, err := wal.DecodeBtreeInsert(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if _, err := c.btOpaque(); err != nil {
		return err
	}
	if !posting {
		return c.add(c.page, c.ref.Data, off)
	}
	if len(c.ref.Data) < 2 {
		return c.errorf("block data of %d bytes", len(c.ref.Data))
	}
	item, list, err := c.splitPosting(c.ref.Data[2:], off-1, int(binary.LittleEndian.Uint16(c.ref.Data)))
	if err != nil {
		return err
	}
	copy(c.page.Item(off-1), list)
	return c.add(c.page, item, off)
}

// btMetaPage rebuilds the metapage.
func (c *call) btMetaPage() error {
	m, err := wal.DecodeBtreeMeta(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	c.btInit(0, 0, 0, btMeta)
	body := c.page[page.HeaderSize:]
	for i, v := range []uint32{btMetaMagic, m.Version, m.Root, m.Level, m.FastRoot, m.FastLevel, m.LastCleanupNumDelPages} {
		binary.LittleEndian.PutUint32(body[i*4:], v)
	}
	binary.LittleEndian.PutUint64(body[32:], math.Float64bits(-1)) // btm_last_cleanup_num_heap_tuples
	if m.AllEqualImage {
		body[40] = 1
	}
	c.page.SetLower(page.HeaderSize + btMetaSize)
	return nil
}

func (c *call) btClearIncompleteSplit() error {
	o, err := c.btOpaque()
	if err == nil {
		o.setFlags(o.flags() &^ btIncompleteSplit)
	}
	return err
}

// btRestoreItems puts the items of data, each rounded up to 8 bytes, on an
// empty page. data is a copy of a page's items from pd_upper on, so the last
// one has offset number 1.
func (c *call) btRestoreItems(data []byte) error {
	var starts []int
	for at := 0; at < len(data); {
		size := maxAlign(tupleSize(data[at:]))
		if size < indexTupleHeader || size > len(data)-at {
			return c.errorf("item of %d bytes in %d bytes of block data", size, len(data)-at)
		}
		starts = append(starts, at)
		at += size
	}
	end := len(data)
	for i := len(starts) - 1; i >= 0; i-- {
		if err := c.add(c.page, data[starts[i]:end], len(starts)-i); err != nil {
			return err
		}
		end = starts[i]
	}
	return nil
}

func (c *call) btNewroot() error {
	level, err := wal.DecodeBtreeNewroot(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		flags := uint16(btRoot)
		if level == 0 {
			flags |= btLeaf
		}
		c.btInit(0, 0, level, flags)
		if level > 0 {
			return c.btRestoreItems(c.ref.Data)
		}
		return nil
	case 1:
		return c.btClearIncompleteSplit()
	case 2:
		return c.btMetaPage()
	}
	return c.unexpected()
}

// setSibling changes one link of an existing page.
func (c *call) setSibling(at int, to pg.BlockNumber) error {
	o, err := c.btOpaque()
	if err == nil {
		o.setU32(at, uint32(to))
	}
	return err
}
