package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// heapUpdate is heap_xlog_update. Block 0 is the page of the new page.HeapTuple, block
// 1 the page of the old one, absent if they are the same.
func (c *call) heapUpdate(hot bool) error {
	rec, err := wal.DecodeHeapUpdate(c.rec)
	if err != nil {
		return c.fail(err)
	}
	newRef, oldRef := c.rec.Block(0), c.rec.Block(1)
	if newRef == nil {
		return c.errorf("block reference 0 is missing")
	}
	if oldRef == nil {
		return c.updateWithin(&rec, hot)
	}
	if hot || oldRef.RelFork != newRef.RelFork || oldRef.Number == newRef.Number {
		return c.errorf("block reference 1 to %s does not go with 0 to %s", oldRef.Block, newRef.Block)
	}
	if err := c.startHeap(min(c.ref.ID, 1)); err != nil {
		return err
	}
	if c.ref.ID == 1 {
		_, err = c.updateOld(&rec, false, newRef.Number)
		return err
	}
	return c.updateNew(&rec, nil)
}

// updateWithin redoes an update whose tuples are on one page.
func (c *call) updateWithin(rec *wal.HeapUpdate, hot bool) error {
	if err := c.startHeap(0); err != nil {
		return err
	}
	old, err := c.updateOld(rec, hot, c.ref.Number)
	if err != nil {
		return err
	}
	return c.updateNew(rec, old)
}

// updateOld marks the old tuple as updated and returns it.
func (c *call) updateOld(rec *wal.HeapUpdate, hot bool, newBlock pg.BlockNumber) (page.HeapTuple, error) {
	t, err := c.tuple(rec.OldOffset)
	if err != nil {
		return nil, err
	}
	setLockBits(t, rec.OldInfobits)
	setHotUpdated(t, hot)
	t.SetXmax(rec.OldXMax)
	setCID(t, rec.CID, rec.OldInfobits)
	t.SetCtid(newBlock, int(rec.NewOffset))
	setPrunable(c.page, c.rec.XID)
	if rec.Flags&wal.UpdateOldAllVisibleCleared != 0 {
		setAllVisible(c.page, false)
	}
	return t, nil
}

// updateNew adds the new tuple. The start and the end of its data may have
// to come from the old page.HeapTuple, which then is on the same page.
func (c *call) updateNew(rec *wal.HeapUpdate, old page.HeapTuple) error {
	u, err := wal.DecodeHeapUpdateTuple(c.rec, c.ref, rec.Flags)
	if err != nil {
		return c.fail(err)
	}
	prefix, suffix, err := c.sharedData(&u, old)
	if err != nil {
		return err
	}
	t, err := c.addTuple(rec.NewOffset, len(u.Bitmap)+len(prefix)+len(u.Data)+len(suffix))
	if err != nil {
		return err
	}
	at := page.HeapTupleHeaderSize
	for _, part := range [...][]byte{u.Bitmap, prefix, u.Data, suffix} {
		at += copy(t[at:], part)
	}
	initTuple(t, u.Header, c.rec.XID, rec.NewXMax, c.ref.Number, rec.NewOffset)
	if rec.Flags&wal.UpdateNewAllVisibleCleared != 0 {
		setAllVisible(c.page, false)
	}
	return nil
}

// sharedData is what the new tuple has in common with the old one.
func (c *call) sharedData(u *wal.UpdateTuple, old page.HeapTuple) (prefix, suffix []byte, err error) {
	if u.Prefix == 0 && u.Suffix == 0 {
		return nil, nil, nil
	}
	if old == nil {
		return nil, nil, c.errorf("the new tuple takes data from an old tuple on another page")
	}
	from := old.Hoff()
	if from+int(u.Prefix) > len(old) || from+int(u.Suffix) > len(old) {
		return nil, nil, c.errorf("prefix %d and suffix %d do not fit the old tuple of %d bytes with header of %d",
			u.Prefix, u.Suffix, len(old), from)
	}
	return old[from : from+int(u.Prefix)], old[len(old)-int(u.Suffix):], nil
}
