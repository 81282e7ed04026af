package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of the special area of hash pages (HashPageOpaqueData, access/hash.h).
const (
	hashPrev   = 0 // offsets within the special area
	hashNext   = 4
	hashBucket = 8
	hashPageID = 0xFF80

	hashUnusedPage   = 0x0000 // page types in hasho_flag
	hashOverflowPage = 0x0001
	hashBitmapPage   = 0x0004
	hashMetaPage     = 0x0008

	hashNeedsCleanup = 0x0040 // LH_BUCKET_NEEDS_SPLIT_CLEANUP
	hashHasDead      = 0x0080 // LH_PAGE_HAS_DEAD_TUPLES
)

// hashOpaque finds the special area; a page that is not a hash page is an error.
func (c *call) hashOpaque() (opaque16, error) { return c.opaque(hashPageID, "hash") }

// hashInit makes an empty hash page (_hash_pageinit, _hash_initbuf).
func (c *call) hashInit(prev, bucket uint32, flag uint16) {
	pageInit(c.page, opaqueSize)
	o := opaqueOf(c.page)
	o.setU32(hashPrev, prev)
	o.setU32(hashNext, invalidBlock)
	o.setU32(hashBucket, bucket)
	o.setFlags(flag)
	o.setPageID(hashPageID)
}

// redoHash redoes the part of a Hash record that belongs to one block.
//
// Source: access/hash/hash_xlog.c, hash_redo.
func redoHash(c *call) error {
	id := c.ref.ID
	switch c.rec.Op() {
	case wal.HashInitMetaPage:
		return c.only(0, c.hashInitMeta)
	case wal.HashInitBitmapPage:
		return c.hashInitBitmap()
	case wal.HashInsert:
		return c.hashInsert()
	case wal.HashAddOvflPage:
		return c.hashAddOverflow()
	case wal.HashSplitAllocate, wal.HashSplitComplete:
		return c.hashSplit()
	case wal.HashSplitPage:
		return c.errorf("no full-page image of a page that was split")
	case wal.HashMovePageContents:
		return c.hashMove()
	case wal.HashSqueezePage:
		return c.hashSqueeze()
	case wal.HashDelete:
		return c.hashDelete()
	case wal.HashSplitCleanup:
		if id == 0 {
			return c.hashClearFlag(hashNeedsCleanup)
		}
	case wal.HashUpdateMetaPage:
		return c.only(0, c.hashSetTuples)
	case wal.HashVacuumOnePage:
		return c.hashVacuum()
	}
	return c.unexpected()
}

// only does f for the block reference id, the only one of its record.
func (c *call) only(id uint8, f func() error) error {
	if c.ref.ID != id {
		return c.unexpected()
	}
	return f()
}

func (c *call) hashInsert() error {
	off, err := wal.DecodeHashInsert(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		if _, err := c.hashOpaque(); err != nil {
			return err
		}
		return c.add(c.page, c.ref.Data, off)
	case 1:
		return c.hashCountTuples(1)
	}
	return c.unexpected()
}

// hashInitBitmap redoes INIT_BITMAP_PAGE: a bitmap page, and its place in the metapage.
func (c *call) hashInitBitmap() error {
	size, err := wal.DecodeHashBitmapInit(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		return c.hashBitmap(size)
	case 1:
		m, err := c.hashMeta()
		if err != nil {
			return err
		}
		return m.addBitmap(c, m.u32(hashmMaxBucket)+2)
	}
	return c.unexpected()
}

// hashBitmap makes a bitmap page of size bytes, all of them set: nothing is
// free (_hash_initbitmapbuffer, access/hash/hashovfl.c).
func (c *call) hashBitmap(size int) error {
	if size > pg.BlockSize-page.HeaderSize-opaqueSize {
		return c.errorf("bitmap of %d bytes", size)
	}
	c.hashInit(invalidBlock, invalidBucket, hashBitmapPage)
	for i := range size {
		c.page[page.HeaderSize+i] = 0xFF
	}
	c.page.SetLower(page.HeaderSize + size)
	return nil
}

// hashSetBit sets or clears the bit of a bitmap page that block data names.
func (c *call) hashSetBit(on bool) error {
	o, err := c.hashOpaque()
	if err != nil {
		return err
	}
	bit, err := c.blockWord()
	if err != nil {
		return err
	}
	bitmap := c.page[page.HeaderSize : pg.BlockSize-opaqueSize]
	if o.flags()&hashBitmapPage == 0 || uint64(bit) >= uint64(len(bitmap))*8 {
		return c.errorf("bit %d of a page with flags 0x%04X", bit, o.flags())
	}
	mask := byte(1) << (bit % 8)
	if on {
		bitmap[bit/8] |= mask
	} else {
		bitmap[bit/8] &^= mask
	}
	return nil
}

// hashAddOverflow redoes ADD_OVFL_PAGE: an overflow page behind another page of its bucket.
func (c *call) hashAddOverflow() error {
	a, err := wal.DecodeHashOverflow(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		bucket, err := c.blockWord()
		if err != nil {
			return err
		}
		c.hashInit(uint32(c.blockOf(1)), bucket, hashOverflowPage)
		return nil
	case 1:
		return c.hashLink(hashNext, c.blockOf(0))
	case 2:
		return c.hashSetBit(true)
	case 3:
		return c.hashBitmap(a.BitmapSize)
	case 4:
		return c.hashMetaOverflow(a)
	}
	return c.unexpected()
}

// hashLink changes a link of an existing page.
func (c *call) hashLink(at int, to pg.BlockNumber) error {
	o, err := c.hashOpaque()
	if err == nil {
		o.setU32(at, uint32(to))
	}
	return err
}

func (c *call) hashClearFlag(flag uint16) error {
	o, err := c.hashOpaque()
	if err == nil {
		o.setFlags(o.flags() &^ flag)
	}
	return err
}

// hashSplit redoes SPLIT_ALLOCATE_PAGE and SPLIT_COMPLETE, which change the
// flags of both buckets; the former makes the new one.
func (c *call) hashSplit() error {
	s, err := wal.DecodeHashSplit(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	allocate := c.rec.Op() == wal.HashSplitAllocate
	switch id := c.ref.ID; {
	case id == 0:
		o, err := c.hashOpaque()
		if err != nil {
			return err
		}
		o.setFlags(s.OldFlag)
		if allocate { // hasho_prevblkno of a bucket is hashm_maxbucket at its last split
			o.setU32(hashPrev, s.NewBucket)
		}
		return nil
	case id == 1 && allocate:
		c.hashInit(s.NewBucket, s.NewBucket, s.NewFlag)
		return nil
	case id == 1:
		o, err := c.hashOpaque()
		if err == nil {
			o.setFlags(s.NewFlag)
		}
		return err
	case id == 2 && allocate:
		return c.hashMetaSplit(s)
	}
	return c.unexpected()
}

// hashDelete redoes DELETE. Block reference 0 is there for its lock only.
func (c *call) hashDelete() error {
	clearDead, err := wal.DecodeHashDelete(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		c.unchanged = true
		return nil
	case 1:
		if err := c.hashDeleteData(); err != nil || !clearDead {
			return err
		}
		return c.hashClearFlag(hashHasDead)
	}
	return c.unexpected()
}

// hashDeleteData deletes the items whose offset numbers are the block data.
func (c *call) hashDeleteData() error {
	if _, err := c.hashOpaque(); err != nil {
		return err
	}
	gone, err := wal.DecodeOffsets(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	return c.deleteItems(gone)
}

// hashVacuum redoes VACUUM_ONE_PAGE.
func (c *call) hashVacuum() error {
	gone, err := wal.DecodeHashVacuum(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		if _, err := c.hashOpaque(); err != nil {
			return err
		}
		if err := c.deleteItems(gone); err != nil {
			return err
		}
		return c.hashClearFlag(hashHasDead)
	case 1:
		return c.hashCountTuples(-float64(gone.Len()))
	}
	return c.unexpected()
}
