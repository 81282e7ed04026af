package wal

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// Operations of the Heap resource manager (access/heapam_xlog.h, XLOG_HEAP_*).
const (
	OpHeapInsert    = 0x00
	OpHeapDelete    = 0x10
	OpHeapUpdate    = 0x20
	OpHeapTruncate  = 0x30
	OpHeapHotUpdate = 0x40
	OpHeapConfirm   = 0x50
	OpHeapLock      = 0x60
	OpHeapInplace   = 0x70

	// OpHeapMask is the part of xl_info that holds the operation, for Heap and Heap2.
	OpHeapMask = 0x70
	// HeapInitPage in xl_info: redo starts from an empty page.
	HeapInitPage = 0x80
)

// Flags of INSERT and MULTI_INSERT (XLH_INSERT_*).
const (
	InsertAllVisibleCleared = 0x01
	InsertAllFrozenSet      = 0x20
	insertFlags             = 0x3F
)

// Flags of DELETE (XLH_DELETE_*).
const (
	DeleteAllVisibleCleared = 0x01
	DeleteIsSuper           = 0x08
	DeleteIsPartitionMove   = 0x10
	deleteOldTuple          = 0x06 // XLH_DELETE_CONTAINS_OLD
	deleteFlags             = 0x1F
)

// Flags of UPDATE and HOT_UPDATE (XLH_UPDATE_*).
const (
	UpdateOldAllVisibleCleared = 0x01
	UpdateNewAllVisibleCleared = 0x02
	UpdatePrefixFromOld        = 0x20
	UpdateSuffixFromOld        = 0x40
	updateOldTuple             = 0x0C // XLH_UPDATE_CONTAINS_OLD
	updateFlags                = 0x7F
)

// LockAllFrozenCleared is the one flag of LOCK and LOCK_UPDATED.
const LockAllFrozenCleared = 0x01

// Bits of infobits_set (XLHL_*).
const (
	InfobitXMaxIsMulti    = 0x01
	InfobitXMaxLockOnly   = 0x02
	InfobitXMaxExclLock   = 0x04
	InfobitXMaxKeyShrLock = 0x08
	InfobitKeysUpdated    = 0x10
	InfobitComboCID       = 0x20 // XLHL_COMBOCID, Neon's only: the command id is a combined one
)

// Sizes in bytes.
const (
	insertFlagsAt   = 2  // in xl_heap_insert
	tupleHeaderSize = 23 // SizeofHeapTupleHeader
	sizeOfInvalMsg  = 16 // SharedInvalidationMessage
)

// HeapInsert is xl_heap_insert.
type HeapInsert struct {
	Offset uint16 // of the new tuple
	Flags  uint8
}

// HeapDelete is xl_heap_delete; the old tuple that logical decoding may want
// behind it is left out.
type HeapDelete struct {
	XMax     pg.XID
	Offset   uint16
	Infobits uint8
	Flags    uint8
	CID      uint32 // command id, Neon's only, as in all of these
}

// HeapUpdate is xl_heap_update, of UPDATE and HOT_UPDATE.
type HeapUpdate struct {
	OldXMax     pg.XID
	OldOffset   uint16
	OldInfobits uint8
	Flags       uint8
	NewXMax     pg.XID
	NewOffset   uint16
	CID         uint32 // of the old tuple
}

// HeapLock is xl_heap_lock and xl_heap_lock_updated.
type HeapLock struct {
	XMax     pg.XID // may be a MultiXactID
	Offset   uint16
	Infobits uint8
	Flags    uint8
	CID      uint32 // of LOCK only
}

// TupleHeader is xl_heap_header: the fields of a tuple's header that the
// record cannot give otherwise.
type TupleHeader struct {
	Infomask2 uint16
	Infomask  uint16
	Hoff      uint8
	CID       uint32 // command id, Neon's only
}

// HeapOp is the operation of a record of Heap, Heap2 or Neon's resource
// manager, without HeapInitPage.
func (r *Record) HeapOp() uint8 { return r.Info & OpHeapMask }

// InitsPage says whether a record of these rebuilds its page from nothing.
func (r *Record) InitsPage() bool { return r.Info&HeapInitPage != 0 }

// CheckHeap says whether a record of Heap, Heap2 or Neon's resource manager is
// one that a server of its dialect and major version writes: a known
// operation, main data of exactly the right length, no unknown flags. Its
// errors are *DialectError. All decoders of these records ask it first. What
// dialects have in common passes in each of them: see Dialects.
func CheckHeap(r *Record) error {
	if r.sound {
		return nil
	}
	return r.checkHeap(r.HeapChange())
}

func (r *Record) checkHeap(change HeapChange) error {
	if r.Rmgr == pg.RmgrHeap2 && change == NoHeapChange {
		return checkHeap2(r)
	}
	if r.InitsPage() && !change.mayInit() {
		return r.dialect("the operation is unknown")
	}
	switch change {
	case HeapInserts:
		return r.checkFixed(insertFlagsAt+1, insertFlagsAt, insertFlags)
	case HeapDeletes:
		return r.checkChange(&r.layout().del, deleteFlags, change)
	case HeapUpdates, HeapHotUpdates:
		return r.checkChange(&r.layout().update, updateFlags, change)
	case HeapLocks:
		return r.checkChange(&r.layout().lock, LockAllFrozenCleared, change)
	case HeapMultiInserts:
		return r.checkMultiInsert()
	}
	if r.Rmgr != pg.RmgrHeap {
		return r.dialect("the operation is unknown")
	}
	switch r.HeapOp() {
	case OpHeapConfirm:
		return r.wantMain(2)
	case OpHeapInplace:
		return r.checkInplace()
	}
	return r.checkTruncate()
}

// mayInit says whether the change may be the first of a page.
func (c HeapChange) mayInit() bool {
	return c == HeapInserts || c == HeapUpdates || c == HeapHotUpdates || c == HeapMultiInserts
}

// oldTuple are the flags of a change that an old tuple lies behind the fixed
// part of its main data.
func oldTuple(c HeapChange) uint8 {
	switch c {
	case HeapDeletes:
		return deleteOldTuple
	case HeapUpdates, HeapHotUpdates:
		return updateOldTuple
	}
	return 0
}

// checkFixed wants n bytes of main data, with flags at one of them.
func (r *Record) checkFixed(n, flagsAt int, known uint8) error {
	if err := r.wantMain(n); err != nil {
		return err
	}
	return r.checkFlags(r.Main[flagsAt], known)
}

func (r *Record) checkFlags(flags, known uint8) error {
	if flags&^known != 0 {
		return r.dialect("flags are %#02x, known are %#02x", flags, known)
	}
	return nil
}

// checkChange wants the fixed part of main data, and behind it an old tuple if
// the flags say so.
func (r *Record) checkChange(at *fieldsAt, known uint8, change HeapChange) error {
	if len(r.Main) < at.size {
		return r.wantMain(at.size)
	}
	if err := r.checkFlags(r.Main[at.flags], known); err != nil {
		return err
	}
	if bits, all := r.Main[at.infobits], r.layout().infobits; bits&^all != 0 {
		return r.dialect("infobits are %#02x, known are %#02x", bits, all)
	}
	if r.Main[at.flags]&oldTuple(change) == 0 {
		return r.wantMain(at.size)
	}
	return r.checkOldTuple(r.Main[at.size:])
}

// checkOldTuple wants an xl_heap_header and a tuple without its fixed header.
func (r *Record) checkOldTuple(b []byte) error {
	c := newCursor(b)
	h := r.readTupleHeader(&c)
	if c.err() != nil || int(h.Hoff) != h.hoff() || c.remaining() < int(h.Hoff)-tupleHeaderSize {
		return r.dialect("main data is %d bytes long, its last %d are not the old tuple that the flags promise", len(r.Main), len(b))
	}
	return nil
}

// checkInplace knows that 18 appended the invalidation messages of the commit
// (MinSizeOfHeapInplace).
func (r *Record) checkInplace() error {
	if r.Major < 18 {
		return r.wantMain(2)
	}
	const fixed = 20
	c := newCursor(r.Main)
	c.skip(fixed - 4)
	n := c.u32()
	if c.err() != nil {
		return r.wantMain(fixed)
	}
	if want := uint64(n)*sizeOfInvalMsg + fixed; uint64(len(r.Main)) != want {
		return r.dialect("main data is %d bytes long, want %d", len(r.Main), want)
	}
	return nil
}

// checkTruncate wants the relation OIDs that xl_heap_truncate counts.
func (r *Record) checkTruncate() error {
	c := newCursor(r.Main)
	c.skip(4)
	n := c.u32()
	c.skip(4)
	if want := uint64(n)*4 + 12; c.err() != nil || uint64(len(r.Main)) != want {
		return r.dialect("main data is %d bytes long, want %d", len(r.Main), want)
	}
	return nil
}

// readTupleHeader reads an xl_heap_header; Neon's has t_cid before t_hoff.
func (r *Record) readTupleHeader(c *cursor) (h TupleHeader) {
	n := r.layout().header
	b := c.take(n)
	if b == nil {
		return h
	}
	h.Infomask2, h.Infomask, h.Hoff = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), b[n-1]
	if n > stockLayout.header {
		h.CID = binary.LittleEndian.Uint32(b[4:])
	}
	return h
}

// hoff is what t_hoff must be: the fixed header, the null bitmap, the OID
// that tuples from before 12 may still carry, aligned to 8 bytes
// (heap_form_tuple, access/common/heaptuple.c).
func (h TupleHeader) hoff() int {
	const hasNull, hasOIDOld, nattsMask = 0x0001, 0x0008, 0x07FF
	n := tupleHeaderSize
	if h.Infomask&hasNull != 0 {
		n += (int(h.Infomask2&nattsMask) + 7) / 8
	}
	if h.Infomask&hasOIDOld != 0 {
		n += 4
	}
	return (n + 7) &^ 7
}

// checkTuple says whether a tuple in block data is in the format of its
// dialect: read as Neon's, one of stock PostgreSQL has the wrong t_hoff, and
// the other way round.
func (r *Record) checkTuple(b *BlockRef, h TupleHeader, c *cursor) error {
	if c.err() != nil {
		return r.dialect("data of block %d is %d bytes long, which is too short", b.ID, len(b.Data))
	}
	if want := h.hoff(); int(h.Hoff) != want {
		return r.dialect("t_hoff of a tuple in the data of block %d is %d, want %d", b.ID, h.Hoff, want)
	}
	return nil
}

// mainRead is the error of a cursor over main data, as a *DialectError.
func (r *Record) mainRead(c *cursor) error {
	if c.err() != nil {
		return r.dialect("main data is %d bytes long, which is too short", len(r.Main))
	}
	return nil
}

// HeapFlags are the flags in the main data of a change of heap tuples and of
// LOCK_UPDATED, 0 for other records of their resource managers.
func HeapFlags(r *Record) (uint8, error) {
	if err := CheckHeap(r); err != nil {
		return 0, err
	}
	switch change := r.HeapChange(); change {
	case HeapInserts:
		return r.u8(insertFlagsAt), nil
	case HeapMultiInserts:
		return r.u8(0), nil
	case NoHeapChange:
		if r.Rmgr == pg.RmgrHeap2 && r.HeapOp() == OpHeap2LockUpdated {
			return r.u8(stockLayout.lock.flags), nil
		}
		return 0, nil
	default:
		return r.u8(r.layout().fields(change).flags), nil
	}
}

// DecodeHeapInsert decodes the main data of INSERT.
func DecodeHeapInsert(r *Record) (HeapInsert, error) {
	if err := CheckHeap(r); err != nil {
		return HeapInsert{}, err
	}
	c := newCursor(r.Main)
	return HeapInsert{Offset: c.u16(), Flags: c.u8()}, r.mainRead(&c)
}

// u8, u16 and u32 read main data at an offset that a layout gives; what lies
// beyond its end is 0.
func (r *Record) u8(at int) uint8 {
	if at >= len(r.Main) {
		return 0
	}
	return r.Main[at]
}

func (r *Record) u16(at int) uint16 {
	if at+2 > len(r.Main) {
		return 0
	}
	return binary.LittleEndian.Uint16(r.Main[at:])
}

func (r *Record) u32(at int) uint32 {
	if at+4 > len(r.Main) {
		return 0
	}
	return binary.LittleEndian.Uint32(r.Main[at:])
}

// cid is the command id in main data, 0 where the layout has none.
func (r *Record) cid(at int) uint32 {
	if at == 0 {
		return 0
	}
	return r.u32(at)
}

// DecodeHeapDelete decodes the main data of DELETE.
func DecodeHeapDelete(r *Record) (HeapDelete, error) {
	if err := CheckHeap(r); err != nil {
		return HeapDelete{}, err
	}
	at := &r.layout().del
	return HeapDelete{XMax: pg.XID(r.u32(0)), Offset: r.u16(at.offset), Infobits: r.u8(at.infobits), Flags: r.u8(at.flags), CID: r.cid(at.cid)}, nil
}

// DecodeHeapUpdate decodes the main data of UPDATE and HOT_UPDATE.
func DecodeHeapUpdate(r *Record) (HeapUpdate, error) {
	if err := CheckHeap(r); err != nil {
		return HeapUpdate{}, err
	}
	at := &r.layout().update
	return HeapUpdate{OldXMax: pg.XID(r.u32(0)), OldOffset: r.u16(at.offset), OldInfobits: r.u8(at.infobits), Flags: r.u8(at.flags),
		NewXMax: pg.XID(r.u32(at.newXMax)), NewOffset: r.u16(at.newOff), CID: r.cid(at.cid)}, nil
}

// DecodeHeapLock decodes the main data of LOCK and of LOCK_UPDATED, which is
// the same in all dialects.
func DecodeHeapLock(r *Record) (HeapLock, error) {
	if err := CheckHeap(r); err != nil {
		return HeapLock{}, err
	}
	at := &stockLayout.lock
	if r.HeapChange() == HeapLocks {
		at = &r.layout().lock
	}
	return HeapLock{XMax: pg.XID(r.u32(0)), Offset: r.u16(at.offset), Infobits: r.u8(at.infobits), Flags: r.u8(at.flags), CID: r.cid(at.cid)}, nil
}

// DecodeHeapOffset decodes the offset number that the main data of CONFIRM
// and INPLACE begins with.
func DecodeHeapOffset(r *Record) (uint16, error) {
	if err := CheckHeap(r); err != nil {
		return 0, err
	}
	c := newCursor(r.Main)
	return c.u16(), r.mainRead(&c)
}

// DecodeHeapTuple decodes the block data of INSERT: the tuple's header fields
// and what follows its fixed header of 23 bytes, aliasing the block data.
func DecodeHeapTuple(r *Record, b *BlockRef) (TupleHeader, []byte, error) {
	c := newCursor(b.Data)
	h, body := r.readTupleHeader(&c), c.rest()
	return h, body, r.checkTuple(b, h, &c)
}

// UpdateTuple is the block data of UPDATE and HOT_UPDATE: Prefix and Suffix
// bytes of the new tuple's data come from the old tuple.
type UpdateTuple struct {
	Prefix, Suffix uint16
	Header         TupleHeader
	Bitmap         []byte // what lies between the fixed header and the data, up to t_hoff
	Data           []byte // between prefix and suffix
}

// DecodeHeapUpdateTuple decodes the block data of UPDATE and HOT_UPDATE; the
// slices alias it.
func DecodeHeapUpdateTuple(r *Record, b *BlockRef, flags uint8) (UpdateTuple, error) {
	var t UpdateTuple
	c := newCursor(b.Data)
	if flags&UpdatePrefixFromOld != 0 {
		t.Prefix = c.u16()
	}
	if flags&UpdateSuffixFromOld != 0 {
		t.Suffix = c.u16()
	}
	t.Header = r.readTupleHeader(&c)
	t.Bitmap = c.bytes(int(t.Header.Hoff) - tupleHeaderSize)
	t.Data = c.rest()
	return t, r.checkTuple(b, t.Header, &c)
}
