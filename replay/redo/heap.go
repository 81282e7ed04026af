package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// redoHeap redoes a Heap record (access/heap/heapam.c, heap_redo; in 18
// heapam_xlog.c). Block references to the visibility map are told by their
// fork: 17.11 and 18.6 began to register them.
func redoHeap(c *call) error {
	if c.ref.Fork == pg.VMFork {
		return c.clearVM()
	}
	switch c.rec.HeapOp() {
	case wal.OpHeapConfirm:
		return c.heapConfirm()
	case wal.OpHeapInplace:
		return c.heapInplace()
	case wal.OpHeapTruncate:
		return c.nothing() // for logical decoding
	}
	return c.heapChange()
}

// heapChange redoes a change of tuples, logged by Heap, by Heap2 or by Neon's
// own resource manager (pgxn/neon_rmgr of Neon, neon_rm_redo), whose redo is
// that of the others but for the command ids.
func (c *call) heapChange() error {
	switch c.rec.HeapChange() {
	case wal.HeapInserts:
		return c.heapInsert()
	case wal.HeapDeletes:
		return c.heapDelete()
	case wal.HeapUpdates:
		return c.heapUpdate(false)
	case wal.HeapHotUpdates:
		return c.heapUpdate(true)
	case wal.HeapLocks:
		return c.heapLock()
	case wal.HeapMultiInserts:
		return c.heapMultiInsert()
	}
	return c.nothing()
}

// nothing is the redo of records that change no page.
func (c *call) nothing() error {
	c.unchanged = true
	if err := wal.CheckHeap(c.rec); err != nil {
		return c.fail(err)
	}
	return nil
}

// startHeap readies the page that a block reference with the wanted id
// changes: PageInit if the record says so, else it must have been before.
func (c *call) startHeap(id uint8) error {
	if c.ref.ID != id {
		return c.errorf("block reference %d is none that the record changes", c.ref.ID)
	}
	inits := c.rec.InitsPage() && id == 0
	if inits != c.ref.WillInit {
		return c.errorf("init bit of the record is %t, WILL_INIT of its block %t", inits, c.ref.WillInit)
	}
	if inits {
		pageInit(c.page, 0)
	}
	if c.page.IsNew() {
		return c.errorf("the page is new: its pd_upper is 0")
	}
	return nil
}

// heapInsert is heap_xlog_insert.
func (c *call) heapInsert() error {
	rec, err := wal.DecodeHeapInsert(c.rec)
	if err != nil {
		return c.fail(err)
	}
	if err := c.startHeap(0); err != nil {
		return err
	}
	h, body, err := wal.DecodeHeapTuple(c.rec, c.ref)
	if err != nil {
		return c.fail(err)
	}
	t, err := c.addTuple(rec.Offset, len(body))
	if err != nil {
		return err
	}
	copy(t[page.HeapTupleHeaderSize:], body)
	initTuple(t, h, c.rec.XID, 0, c.ref.Number, rec.Offset)
	setInsertVisible(c.page, rec.Flags)
	return nil
}

// setInsertVisible does what the flags of INSERT and MULTI_INSERT say.
func setInsertVisible(p page.Page, flags uint8) {
	if flags&wal.InsertAllVisibleCleared != 0 {
		setAllVisible(p, false)
	}
	if flags&wal.InsertAllFrozenSet != 0 {
		setAllVisible(p, true)
	}
}

// heapDelete is heap_xlog_delete.
func (c *call) heapDelete() error {
	rec, err := wal.DecodeHeapDelete(c.rec)
	if err != nil {
		return c.fail(err)
	}
	if err := c.startHeap(0); err != nil {
		return err
	}
	t, err := c.tuple(rec.Offset)
	if err != nil {
		return err
	}
	setLockBits(t, rec.Infobits)
	setHotUpdated(t, false)
	if rec.Flags&wal.DeleteIsSuper != 0 {
		t.SetXmin(0) // an insertion that lost a race against its conflict
	} else {
		t.SetXmax(rec.XMax)
	}
	setCID(t, rec.CID, rec.Infobits)
	setPrunable(c.page, c.rec.XID)
	if rec.Flags&wal.DeleteAllVisibleCleared != 0 {
		setAllVisible(c.page, false)
	}
	if rec.Flags&wal.DeleteIsPartitionMove != 0 {
		t.SetCtid(pg.InvalidBlock, page.MovedPartitionsOffset)
	} else {
		t.SetCtid(c.ref.Number, int(rec.Offset))
	}
	return nil
}

// heapConfirm is heap_xlog_confirm: a speculative insertion took place.
func (c *call) heapConfirm() error {
	t, off, err := c.heapOffset()
	if err != nil {
		return err
	}
	t.SetCtid(c.ref.Number, int(off))
	return nil
}

// heapOffset finds the one tuple that CONFIRM and INPLACE name.
func (c *call) heapOffset() (page.HeapTuple, uint16, error) {
	off, err := wal.DecodeHeapOffset(c.rec)
	if err != nil {
		return nil, 0, c.fail(err)
	}
	if err := c.startHeap(0); err != nil {
		return nil, 0, err
	}
	t, err := c.tuple(off)
	return t, off, err
}

// heapLock is heap_xlog_lock.
func (c *call) heapLock() error {
	t, rec, err := c.heapLocked()
	if err != nil {
		return err
	}
	if t.XmaxLockedOnly() {
		setHotUpdated(t, false)
		t.SetCtid(c.ref.Number, int(rec.Offset))
	}
	t.SetXmax(rec.XMax)
	setCID(t, rec.CID, rec.Infobits)
	return nil
}

// heapLockUpdated is heap_xlog_lock_updated; it leaves t_cid and t_ctid alone.
func (c *call) heapLockUpdated() error {
	t, rec, err := c.heapLocked()
	if err != nil {
		return err
	}
	t.SetXmax(rec.XMax)
	return nil
}

// heapLocked finds the tuple that LOCK and LOCK_UPDATED name and sets its
// lock bits.
func (c *call) heapLocked() (page.HeapTuple, wal.HeapLock, error) {
	rec, err := wal.DecodeHeapLock(c.rec)
	if err != nil {
		return nil, rec, c.fail(err)
	}
	if err := c.startHeap(0); err != nil {
		return nil, rec, err
	}
	t, err := c.tuple(rec.Offset)
	if err != nil {
		return nil, rec, err
	}
	setLockBits(t, rec.Infobits)
	return t, rec, nil
}

// heapInplace is heap_xlog_inplace: new data of the same length.
func (c *call) heapInplace() error {
	t, off, err := c.heapOffset()
	if err != nil {
		return err
	}
	if want := len(t) - t.Hoff(); want != len(c.ref.Data) {
		return c.errorf("tuple %d holds %d bytes of data, the record %d", off, want, len(c.ref.Data))
	}
	copy(t[t.Hoff():], c.ref.Data)
	return nil
}

// redoNeon redoes a record of Neon's resource manager. The visibility map
// pages that it changes are not registered: see VMClears.
func redoNeon(c *call) error {
	if c.ref.Fork == pg.VMFork {
		return c.clearVM()
	}
	return c.heapChange()
}
