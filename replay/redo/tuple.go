package redo

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Bits of t_infomask and t_infomask2 (access/htup_details.h).
const (
	xmaxKeyShrLock = 0x0010
	comboCID       = 0x0020
	xmaxExclLock   = 0x0040
	xmaxLockOnly   = 0x0080
	xmaxIsMulti    = 0x1000
	xmaxLockMask   = xmaxKeyShrLock | xmaxExclLock
	xmaxBits       = 0x0400 | 0x0800 | xmaxIsMulti | xmaxLockMask | xmaxLockOnly // HEAP_XMAX_BITS
	moved          = 0xC000                                                      // HEAP_MOVED

	keysUpdated = 0x2000 // t_infomask2
	hotUpdated  = 0x4000 // t_infomask2
)

const (
	tupleHeaderSize  = 23                // SizeofHeapTupleHeader
	maxHeapTupleSize = pg.BlockSize - 32 // MaxHeapTupleSize
	frozenXID        = 2                 // FrozenTransactionId

	movedPartitionsOffset = 0xFFFD // MovedPartitionsOffsetNumber
)

// tuple is a heap tuple of at least 23 bytes (HeapTupleHeaderData):
//
//	t_xmin u32 | t_xmax u32 | t_cid u32 | t_ctid: block high u16, low u16, offset u16 |
//	t_infomask2 u16 | t_infomask u16 | t_hoff u8 | null bitmap, padding, data
type tuple []byte

func (t tuple) setXMin(x pg.XID)      { binary.LittleEndian.PutUint32(t[0:], uint32(x)) }
func (t tuple) setXMax(x pg.XID)      { binary.LittleEndian.PutUint32(t[4:], uint32(x)) }
func (t tuple) setField3(v uint32)    { binary.LittleEndian.PutUint32(t[8:], v) }
func (t tuple) infomask2() uint16     { return binary.LittleEndian.Uint16(t[18:]) }
func (t tuple) setInfomask2(m uint16) { binary.LittleEndian.PutUint16(t[18:], m) }
func (t tuple) infomask() uint16      { return binary.LittleEndian.Uint16(t[20:]) }
func (t tuple) setInfomask(m uint16)  { binary.LittleEndian.PutUint16(t[20:], m) }
func (t tuple) hoff() int             { return int(t[22]) }

// setCTID stores t_ctid.
func (t tuple) setCTID(block pg.BlockNumber, off uint16) {
	binary.LittleEndian.PutUint16(t[12:], uint16(block>>16))
	binary.LittleEndian.PutUint16(t[14:], uint16(block))
	binary.LittleEndian.PutUint16(t[16:], off)
}

// setCID0 is HeapTupleHeaderSetCmin and …SetCmax as redo calls them: redo
// does not know the command id and stores FirstCommandId.
func (t tuple) setCID0() {
	t.setField3(0)
	t.setInfomask(t.infomask() &^ comboCID)
}

// setNew fills the header of a tuple that was just added.
func (t tuple) setNew(h wal.TupleHeader, xmin, xmax pg.XID, block pg.BlockNumber, off uint16) {
	t.setXMin(xmin)
	t.setXMax(xmax)
	t.setCTID(block, off)
	t.setInfomask2(h.Infomask2)
	t.setInfomask(h.Infomask)
	t[22] = h.Hoff
	t.setCID0()
}

// setLockBits replaces everything the infomasks say about xmax by
// infobits_set of a record (fix_infomask_from_infobits and what its callers
// clear before).
func (t tuple) setLockBits(infobits uint8) {
	m := t.infomask() &^ (xmaxBits | moved)
	m2 := t.infomask2() &^ keysUpdated
	for _, b := range [...]struct {
		record uint8
		mask   uint16
	}{
		{wal.InfobitXMaxIsMulti, xmaxIsMulti},
		{wal.InfobitXMaxLockOnly, xmaxLockOnly},
		{wal.InfobitXMaxExclLock, xmaxExclLock},
		{wal.InfobitXMaxKeyShrLock, xmaxKeyShrLock},
	} {
		if infobits&b.record != 0 {
			m |= b.mask
		}
	}
	if infobits&wal.InfobitKeysUpdated != 0 {
		m2 |= keysUpdated
	}
	t.setInfomask(m)
	t.setInfomask2(m2)
}

// setHotUpdated sets or clears HEAP_HOT_UPDATED.
func (t tuple) setHotUpdated(on bool) {
	m2 := t.infomask2() &^ hotUpdated
	if on {
		m2 |= hotUpdated
	}
	t.setInfomask2(m2)
}

// lockedOnly is HEAP_XMAX_IS_LOCKED_ONLY.
func (t tuple) lockedOnly() bool {
	m := t.infomask()
	return m&xmaxLockOnly != 0 || m&(xmaxIsMulti|xmaxLockMask) == xmaxExclLock
}

// tuple finds the tuple at an offset number of the call's page.
func (c *call) tuple(off uint16) (tuple, error) {
	if c.page.ItemID(int(off)).Flags() != page.LPNormal {
		return nil, c.errorf("line pointer %d of %d is no tuple", off, c.page.NumItems())
	}
	t := tuple(c.page.Item(int(off)))
	if len(t) < tupleHeaderSize {
		return nil, c.errorf("line pointer %d does not point to a tuple within the page", off)
	}
	return t, nil
}

// addTuple makes room for a tuple of 23 bytes and size more at an offset number.
func (c *call) addTuple(off uint16, size int) (tuple, error) {
	if off == 0 {
		return nil, c.errorf("add a tuple at offset number 0")
	}
	size += tupleHeaderSize
	if size > maxHeapTupleSize {
		return nil, c.errorf("add a tuple of %d bytes, more than %d", size, maxHeapTupleSize)
	}
	_, t, err := pageReserve(c.page, size, int(off), true, true)
	if err != nil {
		return nil, c.errorf("add a tuple of %d bytes as number %d: %v", size, off, err)
	}
	return t, nil
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
