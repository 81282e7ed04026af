package page

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// HeapTupleHeaderSize is SizeofHeapTupleHeader: the fixed part, in bytes.
const HeapTupleHeaderSize = 23

// Bits of t_infomask (access/htup_details.h).
const (
	HeapHasNull       = 0x0001
	HeapHasVarWidth   = 0x0002
	HeapHasExternal   = 0x0004
	HeapHasOIDOld     = 0x0008
	HeapXmaxKeyShr    = 0x0010 // xmax is a key-share locker
	HeapComboCID      = 0x0020
	HeapXmaxExcl      = 0x0040 // xmax is an exclusive locker
	HeapXmaxLockOnly  = 0x0080 // xmax, if valid, only locks
	HeapXminCommitted = 0x0100
	HeapXminInvalid   = 0x0200
	HeapXminFrozen    = HeapXminCommitted | HeapXminInvalid
	HeapXmaxCommitted = 0x0400
	HeapXmaxInvalid   = 0x0800
	HeapXmaxIsMulti   = 0x1000
	HeapUpdated       = 0x2000 // this version came from an UPDATE
	HeapMovedOff      = 0x4000 // by a VACUUM FULL before 9.0
	HeapMovedIn       = 0x8000
	HeapMoved         = HeapMovedOff | HeapMovedIn
	HeapXactMask      = 0xFFF0 // HEAP_XACT_MASK: everything about visibility
)

// Bits of t_infomask2.
const (
	HeapNattsMask   = 0x07FF // number of attributes
	HeapKeysUpdated = 0x2000
	HeapHotUpdated  = 0x4000
	HeapOnlyTuple   = 0x8000
)

// Offset numbers that are no line pointers (t_ctid).
const (
	// SpecTokenOffset marks a speculative insertion: the block half holds its token (SpecTokenOffsetNumber).
	SpecTokenOffset = 0xFFFE
	// MovedPartitionsOffset marks a row that moved to another partition (MovedPartitionsOffsetNumber).
	MovedPartitionsOffset = 0xFFFD
)

// HeapTuple is a heap tuple as stored (HeapTupleHeaderData):
//
//	t_xmin u32 | t_xmax u32 | t_cid or t_xvac u32 | t_ctid: block u16 high, u16 low, offset u16 |
//	t_infomask2 u16 | t_infomask u16 | t_hoff u8 | null bitmap … | data at t_hoff
//
// Its length is at least HeapTupleHeaderSize; it aliases its page.
type HeapTuple []byte

// HeapTuple is the tuple of offset number n; ok is false if the line pointer
// is not a normal one or what it points to can't be a heap tuple.
func (p Page) HeapTuple(n int) (t HeapTuple, ok bool) {
	if p.ItemID(n).Flags() != LPNormal {
		return nil, false
	}
	item := p.Item(n)
	return HeapTuple(item), len(item) >= HeapTupleHeaderSize
}

// Xmin is the inserting transaction as stored, also on a frozen tuple.
func (t HeapTuple) Xmin() pg.XID { return pg.XID(binary.LittleEndian.Uint32(t[0:])) }

// SetXmin stores t_xmin.
func (t HeapTuple) SetXmin(x pg.XID) { binary.LittleEndian.PutUint32(t[0:], uint32(x)) }

// Xmax is the deleting or locking transaction, or a multixact.
func (t HeapTuple) Xmax() pg.XID { return pg.XID(binary.LittleEndian.Uint32(t[4:])) }

// SetXmax stores t_xmax.
func (t HeapTuple) SetXmax(x pg.XID) { binary.LittleEndian.PutUint32(t[4:], uint32(x)) }

// Field3 is t_cid, or t_xvac if one of the HeapMoved bits is set.
func (t HeapTuple) Field3() uint32 { return binary.LittleEndian.Uint32(t[8:]) }

// SetField3 stores t_cid or t_xvac.
func (t HeapTuple) SetField3(v uint32) { binary.LittleEndian.PutUint32(t[8:], v) }

// Ctid is t_ctid: this tuple, or its next version, or a token (SpecTokenOffset).
func (t HeapTuple) Ctid() (pg.BlockNumber, int) {
	hi, lo := binary.LittleEndian.Uint16(t[12:]), binary.LittleEndian.Uint16(t[14:])
	return pg.BlockNumber(hi)<<16 | pg.BlockNumber(lo), int(binary.LittleEndian.Uint16(t[16:]))
}

// SetCtid stores t_ctid.
func (t HeapTuple) SetCtid(b pg.BlockNumber, off int) {
	binary.LittleEndian.PutUint16(t[12:], uint16(b>>16))
	binary.LittleEndian.PutUint16(t[14:], uint16(b))
	binary.LittleEndian.PutUint16(t[16:], uint16(off))
}

// Infomask2 is t_infomask2.
func (t HeapTuple) Infomask2() uint16 { return binary.LittleEndian.Uint16(t[18:]) }

// SetInfomask2 stores t_infomask2.
func (t HeapTuple) SetInfomask2(v uint16) { binary.LittleEndian.PutUint16(t[18:], v) }

// Infomask is t_infomask.
func (t HeapTuple) Infomask() uint16 { return binary.LittleEndian.Uint16(t[20:]) }

// SetInfomask stores t_infomask.
func (t HeapTuple) SetInfomask(v uint16) { binary.LittleEndian.PutUint16(t[20:], v) }

// Hoff is t_hoff: where the data starts, bytes from the start of the tuple.
func (t HeapTuple) Hoff() int { return int(t[22]) }

// XminFrozen is HeapTupleHeaderXminFrozen: WAL-logged, not a hint.
func (t HeapTuple) XminFrozen() bool { return t.Infomask()&HeapXminFrozen == HeapXminFrozen }

// Speculative is HeapTupleHeaderIsSpeculative: t_ctid holds a token.
func (t HeapTuple) Speculative() bool {
	_, off := t.Ctid()
	return off == SpecTokenOffset
}

// XmaxLockedOnly is HEAP_XMAX_IS_LOCKED_ONLY: xmax locks and does not delete.
func (t HeapTuple) XmaxLockedOnly() bool {
	m := t.Infomask()
	return m&HeapXmaxLockOnly != 0 || m&(HeapXmaxIsMulti|HeapXmaxExcl|HeapXmaxKeyShr) == HeapXmaxExcl
}
