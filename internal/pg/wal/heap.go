package wal

import "redoubt/internal/pg"

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
	infobits              = 0x1F
)

// Sizes in bytes.
const (
	sizeOfHeapHeader = 5  // xl_heap_header
	tupleHeaderSize  = 23 // SizeofHeapTupleHeader
	sizeOfInvalMsg   = 16 // SharedInvalidationMessage
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
}

// HeapUpdate is xl_heap_update, of UPDATE and HOT_UPDATE.
type HeapUpdate struct {
	OldXMax     pg.XID
	OldOffset   uint16
	OldInfobits uint8
	Flags       uint8
	NewXMax     pg.XID
	NewOffset   uint16
}

// HeapLock is xl_heap_lock and xl_heap_lock_updated.
type HeapLock struct {
	XMax     pg.XID // may be a MultiXactID
	Offset   uint16
	Infobits uint8
	Flags    uint8
}

// TupleHeader is xl_heap_header: the fields of a tuple's header that the
// record cannot give otherwise.
type TupleHeader struct {
	Infomask2 uint16
	Infomask  uint16
	Hoff      uint8
}

// HeapOp is the operation of a Heap or Heap2 record, without HeapInitPage.
func (r *Record) HeapOp() uint8 { return r.Info & OpHeapMask }

// InitsPage says whether a Heap or Heap2 record rebuilds its page from nothing.
func (r *Record) InitsPage() bool { return r.Info&HeapInitPage != 0 }

// CheckHeap says whether a Heap or Heap2 record is one that stock PostgreSQL
// of its major version writes: a known operation, main data of exactly the
// right length, no unknown flags. Its errors are *DialectError. All decoders
// of these records ask it first. Neon's inserts pass: what they add is in the
// block data, and DecodeHeapTuple finds it, but not if the command id's
// lowest byte happens to be t_hoff. So the first ErrDialect of a timeline
// must be taken as a verdict on all of its WAL.
func CheckHeap(r *Record) error {
	if r.Rmgr == pg.RmgrHeap2 {
		return checkHeap2(r)
	}
	if r.InitsPage() && r.HeapOp() != OpHeapInsert && r.HeapOp() != OpHeapUpdate && r.HeapOp() != OpHeapHotUpdate {
		return r.dialect("the operation is unknown")
	}
	switch r.HeapOp() {
	case OpHeapInsert:
		return r.checkFixed(3, 2, insertFlags)
	case OpHeapDelete:
		return r.checkChange(8, deleteFlags, deleteOldTuple)
	case OpHeapUpdate, OpHeapHotUpdate:
		return r.checkChange(14, updateFlags, updateOldTuple)
	case OpHeapLock:
		return r.checkChange(8, LockAllFrozenCleared, 0)
	case OpHeapConfirm:
		return r.wantMain(2)
	case OpHeapInplace:
		return r.checkInplace()
	}
	return r.checkTruncate()
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

// checkChange wants fixed bytes of main data, which have infobits_set and
// flags at 6 and 7, and behind them an old tuple if the flags say so.
func (r *Record) checkChange(fixed int, known, oldTuple uint8) error {
	if len(r.Main) < fixed {
		return r.wantMain(fixed)
	}
	if err := r.checkFlags(r.Main[7], known); err != nil {
		return err
	}
	if bits := r.Main[6]; bits&^infobits != 0 {
		return r.dialect("infobits are %#02x, known are %#02x", bits, infobits)
	}
	if r.Main[7]&oldTuple == 0 {
		return r.wantMain(fixed)
	}
	return r.checkOldTuple(r.Main[fixed:])
}

// checkOldTuple wants an xl_heap_header and a tuple without its fixed header.
func (r *Record) checkOldTuple(b []byte) error {
	c := newCursor(b)
	h := readTupleHeader(&c)
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

func readTupleHeader(c *cursor) TupleHeader {
	return TupleHeader{Infomask2: c.u16(), Infomask: c.u16(), Hoff: c.u8()}
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

// checkTuple says whether a tuple in block data is in stock format. Neon's 14
// and 15 put t_cid before t_hoff, so that stock PostgreSQL would take the
// lowest byte of t_cid for t_hoff.
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

// DecodeHeapInsert decodes the main data of INSERT.
func DecodeHeapInsert(r *Record) (HeapInsert, error) {
	if err := CheckHeap(r); err != nil {
		return HeapInsert{}, err
	}
	c := newCursor(r.Main)
	return HeapInsert{Offset: c.u16(), Flags: c.u8()}, r.mainRead(&c)
}

// DecodeHeapDelete decodes the main data of DELETE.
func DecodeHeapDelete(r *Record) (HeapDelete, error) {
	if err := CheckHeap(r); err != nil {
		return HeapDelete{}, err
	}
	c := newCursor(r.Main)
	return HeapDelete{XMax: pg.XID(c.u32()), Offset: c.u16(), Infobits: c.u8(), Flags: c.u8()}, r.mainRead(&c)
}

// DecodeHeapUpdate decodes the main data of UPDATE and HOT_UPDATE.
func DecodeHeapUpdate(r *Record) (HeapUpdate, error) {
	if err := CheckHeap(r); err != nil {
		return HeapUpdate{}, err
	}
	c := newCursor(r.Main)
	return HeapUpdate{OldXMax: pg.XID(c.u32()), OldOffset: c.u16(), OldInfobits: c.u8(), Flags: c.u8(),
		NewXMax: pg.XID(c.u32()), NewOffset: c.u16()}, r.mainRead(&c)
}

// DecodeHeapLock decodes the main data of LOCK and LOCK_UPDATED.
func DecodeHeapLock(r *Record) (HeapLock, error) {
	if err := CheckHeap(r); err != nil {
		return HeapLock{}, err
	}
	c := newCursor(r.Main)
	return HeapLock{XMax: pg.XID(c.u32()), Offset: c.u16(), Infobits: c.u8(), Flags: c.u8()}, r.mainRead(&c)
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
	h, body := readTupleHeader(&c), c.rest()
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
	t.Header = readTupleHeader(&c)
	t.Bitmap = c.bytes(int(t.Header.Hoff) - tupleHeaderSize)
	t.Data = c.rest()
	return t, r.checkTuple(b, t.Header, &c)
}
