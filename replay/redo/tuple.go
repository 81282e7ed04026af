package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

const (
	maxHeapTupleSize = pg.BlockSize - 32 // MaxHeapTupleSize (access/htup_details.h)
	frozenXID        = 2                 // FrozenTransactionId (access/transam.h)

	// xmaxBits is HEAP_XMAX_BITS: all of t_infomask that says something about xmax.
	xmaxBits = page.HeapXmaxCommitted | page.HeapXmaxInvalid | page.HeapXmaxIsMulti |
		page.HeapXmaxKeyShr | page.HeapXmaxExcl | page.HeapXmaxLockOnly
)

// tuple finds the tuple at an offset number of the call's page.
func (c *call) tuple(off uint16) (page.HeapTuple, error) {
	t, ok := c.page.HeapTuple(int(off))
	if !ok {
		return nil, c.errorf("line pointer %d of %d points to no tuple within the page", off, c.page.NumItems())
	}
	return t, nil
}

// addTuple makes room for a tuple at an offset number: its fixed header, to
// be filled by initTuple, and size bytes more.
func (c *call) addTuple(off uint16, size int) (page.HeapTuple, error) {
	size += page.HeapTupleHeaderSize
	if off == 0 || size > maxHeapTupleSize {
		return nil, c.errorf("add a tuple of %d bytes as number %d", size, off)
	}
	_, t, err := pageReserve(c.page, size, int(off), true, true)
	if err != nil {
		return nil, c.errorf("add a tuple of %d bytes as number %d: %v", size, off, err)
	}
	return t, nil
}

// initTuple fills the fixed header of a tuple that was just added.
func initTuple(t page.HeapTuple, h wal.TupleHeader, xmin, xmax pg.XID, block pg.BlockNumber, off uint16) {
	t.SetXmin(xmin)
	t.SetXmax(xmax)
	t.SetCtid(block, int(off))
	t.SetInfomask2(h.Infomask2)
	t.SetInfomask(h.Infomask)
	t[page.HeapTupleHeaderSize-1] = h.Hoff
	setCID(t, h.CID, 0) // no new tuple has a combined one
}

// setCID stores the command id that a change of a tuple gives it, and whether
// it is a combined one. Stock PostgreSQL's records have none: its redo stores
// FirstCommandId, which is 0 (HeapTupleHeaderSetCmin and …SetCmax). Neon's
// redo stores what the record says (pgxn/neon_rmgr of Neon); before August
// 2024 its records lacked the bit for combined ones, and its redo cleared it.
func setCID(t page.HeapTuple, cid uint32, infobits uint8) {
	m := t.Infomask() &^ page.HeapComboCID
	if infobits&wal.InfobitComboCID != 0 {
		m |= page.HeapComboCID
	}
	t.SetInfomask(m)
	t.SetField3(cid)
}

// setLockBits replaces everything the infomasks say about xmax by
// infobits_set of a record (fix_infomask_from_infobits and what its callers
// clear before).
func setLockBits(t page.HeapTuple, infobits uint8) {
	m := t.Infomask() &^ (xmaxBits | page.HeapMoved)
	if infobits&wal.InfobitXMaxIsMulti != 0 {
		m |= page.HeapXmaxIsMulti
	}
	if infobits&wal.InfobitXMaxLockOnly != 0 {
		m |= page.HeapXmaxLockOnly
	}
	if infobits&wal.InfobitXMaxExclLock != 0 {
		m |= page.HeapXmaxExcl
	}
	if infobits&wal.InfobitXMaxKeyShrLock != 0 {
		m |= page.HeapXmaxKeyShr
	}
	t.SetInfomask(m)
	setInfomask2(t, page.HeapKeysUpdated, infobits&wal.InfobitKeysUpdated != 0)
}

// setHotUpdated sets or clears HEAP_HOT_UPDATED.
func setHotUpdated(t page.HeapTuple, on bool) { setInfomask2(t, page.HeapHotUpdated, on) }

func setInfomask2(t page.HeapTuple, bit uint16, on bool) {
	m := t.Infomask2() &^ bit
	if on {
		m |= bit
	}
	t.SetInfomask2(m)
}

// setPrunable is PageSetPrunable (storage/bufpage.h).
func setPrunable(p page.Page, xid pg.XID) {
	if old := p.PruneXID(); old == 0 || precedes(xid, old) {
		p.SetPruneXID(xid)
	}
}

// precedes is TransactionIdPrecedes: modulo 2^32 for normal transaction ids.
func precedes(a, b pg.XID) bool {
	if a < firstNormalXID || b < firstNormalXID {
		return a < b
	}
	return int32(a-b) < 0
}

// setAllVisible sets or clears PD_ALL_VISIBLE.
func setAllVisible(p page.Page, on bool) {
	f := p.Flags() &^ page.AllVisible
	if on {
		f |= page.AllVisible
	}
	p.SetFlags(f)
}
