package redo

import "redoubt/internal/pg/wal"

// hashMove redoes MOVE_PAGE_CONTENTS: items go from one page of a bucket to an
// earlier one. Block reference 0 is there for its lock only.
func (c *call) hashMove() error {
	m, err := wal.DecodeHashMove(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		c.unchanged = true
		return nil
	case 1:
		return c.hashAddItems(m.Tuples)
	case 2:
		return c.hashDeleteData()
	}
	return c.unexpected()
}

// hashSqueeze redoes SQUEEZE_PAGE: the last items of an overflow page go to an
// earlier page of the bucket, and the page is freed.
func (c *call) hashSqueeze() error {
	m, err := wal.DecodeHashMove(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch id := c.ref.ID; {
	case id == 0:
		c.unchanged = true
		return nil
	case id == 1:
		return c.hashSqueezeTarget(&m)
	case id == 2:
		if _, err := c.hashOpaque(); err != nil {
			return err
		}
		c.hashInit(invalidBlock, invalidBucket, hashUnusedPage)
		return nil
	case id == 3 && !m.ToPrevious:
		return c.hashLink(hashNext, m.Next)
	case id == 4:
		return c.hashLink(hashPrev, m.Prev)
	case id == 5:
		return c.hashSetBit(false)
	case id == 6:
		return c.hashSetFirstFree()
	}
	return c.unexpected()
}

// hashSqueezeTarget is the page that gets the items, which may be none. Since
// 17 a page that then does not change at all does not get the record's LSN.
func (c *call) hashSqueezeTarget(m *wal.HashMove) error {
	if m.Tuples == 0 && !m.ToPrevious && c.rec.Major >= 17 {
		c.unchanged = true
		return nil
	}
	if err := c.hashAddItems(m.Tuples); err != nil || !m.ToPrevious {
		return err
	}
	return c.hashLink(hashNext, m.Next)
}

// hashAddItems adds the n items of the block data at the offset numbers that
// stand before them.
func (c *call) hashAddItems(n int) error {
	if _, err := c.hashOpaque(); err != nil {
		return err
	}
	at, items, err := wal.DecodeHashMoved(c.rec, c.ref, n)
	if err != nil {
		return c.errorf("%v", err)
	}
	for i := range n {
		size := maxAlign(tupleSize(items))
		if size < indexTupleHeader || size > len(items) {
			return c.errorf("item %d of %d has %d bytes in %d", i+1, n, size, len(items))
		}
		if at.At(i) == 0 {
			return c.errorf("item %d of %d has no offset number", i+1, n)
		}
		if err := c.add(c.page, items[:size], int(at.At(i))); err != nil {
			return err
		}
		items = items[size:]
	}
	if len(items) > 0 {
		return c.errorf("%d bytes of block data behind %d items", len(items), n)
	}
	return nil
}
