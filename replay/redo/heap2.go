package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// redoHeap2 redoes a Heap2 record (access/heap/heapam.c, heap2_redo; in 18
// heapam_xlog.c).
func redoHeap2(c *call) error {
	op := c.rec.HeapOp()
	switch {
	case op == wal.OpHeap2Visible:
		return c.heapVisible()
	case c.ref.Fork == pg.VMFork:
		return c.clearVM()
	}
	switch op {
	case wal.OpHeap2MultiInsert:
		return c.heapChange()
	case wal.OpHeap2LockUpdated:
		return c.heapLockUpdated()
	case wal.OpHeap2NewCID, wal.OpHeap2Rewrite:
		return c.nothing() // for logical decoding
	}
	return c.heapPrune()
}

// heapVisible is heap_xlog_visible: block 0 is the visibility map's page,
// block 1 the heap page.
func (c *call) heapVisible() error {
	rec, err := wal.DecodeHeapVisible(c.rec)
	if err != nil {
		return c.fail(err)
	}
	if c.ref.Fork == pg.VMFork {
		return c.setVM(rec.Flags)
	}
	if err := c.startHeap(1); err != nil {
		return err
	}
	setAllVisible(c.page, true)
	c.keepLSN = !c.env.HintBitsLogged
	return nil
}

// heapMultiInsert is heap_xlog_multi_insert.
func (c *call) heapMultiInsert() error {
	rec, err := wal.DecodeHeapMultiInsert(c.rec)
	if err != nil {
		return c.fail(err)
	}
	if err := c.startHeap(0); err != nil {
		return err
	}
	tuples := wal.DecodeMultiInsertTuples(c.rec, c.ref)
	for i := range rec.Count {
		off := uint16(i + 1)
		if !c.rec.InitsPage() {
			off = rec.Offsets.At(i)
		}
		h, body, err := tuples.Next()
		if err != nil {
			return c.fail(err)
		}
		t, err := c.addTuple(off, len(body))
		if err != nil {
			return err
		}
		copy(t[page.HeapTupleHeaderSize:], body)
		h.CID |= rec.CID // one of them is there
		initTuple(t, h, c.rec.XID, 0, c.ref.Number, off)
	}
	if err := tuples.End(); err != nil {
		return c.fail(err)
	}
	setInsertVisible(c.page, rec.Flags)
	return nil
}

// heapPrune redoes PRUNE, VACUUM and FREEZE_PAGE up to 16 and their one
// successor since 17 (heap_xlog_prune, heap_xlog_vacuum,
// heap_xlog_freeze_page, heap_xlog_prune_freeze).
func (c *call) heapPrune() error {
	rec, err := wal.DecodeHeapPrune(c.rec, c.ref)
	if err != nil {
		return c.fail(err)
	}
	if err := c.startHeap(0); err != nil {
		return err
	}
	if rec.Prune {
		if err := c.pruneItems(&rec); err != nil {
			return err
		}
	}
	for {
		plan, ok := rec.Freeze.Next()
		if !ok {
			return nil
		}
		if err := c.freeze(&plan); err != nil {
			return err
		}
	}
}

// pruneItems is heap_page_prune_execute (access/heap/pruneheap.c), and the
// same for VACUUM, which moves no tuples.
func (c *call) pruneItems(rec *wal.HeapPrune) error {
	if !rec.Repair && len(rec.Redirected)+len(rec.NowDead) > 0 {
		return c.errorf("tuples are redirected or dead without a cleanup lock")
	}
	for i := 0; i < rec.Redirected.Len(); i += 2 {
		to := int(rec.Redirected.At(i + 1))
		if err := c.setItem(rec.Redirected.At(i), page.MakeItemID(to, page.LPRedirect, 0)); err != nil {
			return err
		}
	}
	for i := range rec.NowDead.Len() {
		if err := c.setItem(rec.NowDead.At(i), page.MakeItemID(0, page.LPDead, 0)); err != nil {
			return err
		}
	}
	for i := range rec.NowUnused.Len() {
		if err := c.setItem(rec.NowUnused.At(i), 0); err != nil {
			return err
		}
	}
	tidy := pageTruncateLinePointerArray
	if rec.Repair {
		tidy = func(p page.Page) error { return pageRepairFragmentation(p, c.rec.Major) }
	}
	if err := tidy(c.page); err != nil {
		return c.errorf("tidy the page: %v", err)
	}
	return nil
}

// setItem replaces a line pointer that must be there.
func (c *call) setItem(off uint16, id page.ItemID) error {
	if off == 0 || int(off) > c.page.NumItems() {
		return c.errorf("line pointer %d is not among the page's %d", off, c.page.NumItems())
	}
	c.page.SetItemID(int(off), id)
	return nil
}

// freeze is heap_execute_freeze_tuple for all tuples of a plan.
func (c *call) freeze(plan *wal.FreezePlan) error {
	for i := range plan.Offsets.Len() {
		t, err := c.tuple(plan.Offsets.At(i))
		if err != nil {
			return err
		}
		t.SetXmax(plan.XMax)
		if plan.Flags&wal.FreezeXVac != 0 {
			t.SetField3(frozenXID)
		}
		if plan.Flags&wal.InvalidXVac != 0 {
			t.SetField3(0)
		}
		t.SetInfomask(plan.Infomask)
		t.SetInfomask2(plan.Infomask2)
	}
	return nil
}
