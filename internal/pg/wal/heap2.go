package wal

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// Operations of the Heap2 resource manager (access/heapam_xlog.h,
// XLOG_HEAP2_*). What 0x10, 0x20 and 0x30 mean moved with 17.
const (
	OpHeap2Rewrite     = 0x00
	OpHeap2Visible     = 0x40
	OpHeap2MultiInsert = 0x50
	OpHeap2LockUpdated = 0x60
	OpHeap2NewCID      = 0x70

	// Up to 16.
	OpHeap2Prune      = 0x10
	OpHeap2Vacuum     = 0x20
	OpHeap2FreezePage = 0x30

	// Since 17: one format, three reasons.
	OpHeap2PruneOnAccess      = 0x10
	OpHeap2PruneVacuumScan    = 0x20
	OpHeap2PruneVacuumCleanup = 0x30
)

// Bits of the visibility map (access/visibilitymapdefs.h), as in the flags of VISIBLE.
const (
	VMAllVisible = 0x01
	VMAllFrozen  = 0x02
	VMValidBits  = 0x03
	vmCatalogRel = 0x04 // VISIBILITYMAP_XLOG_CATALOG_REL, since 16
)

// Bits of xl_heap_prune.flags since 17 (XLHP_*).
const (
	pruneCleanupLock     = 0x04
	pruneConflictHorizon = 0x08
	pruneFreezePlans     = 0x10
	pruneRedirections    = 0x20
	pruneDeadItems       = 0x40
	pruneUnusedItems     = 0x80
	pruneFlags           = 0xFE
)

// Bits of a freeze plan's flags (XLH_*).
const (
	FreezeXVac  = 0x02 // XLH_FREEZE_XVAC
	InvalidXVac = 0x04 // XLH_INVALID_XVAC
)

const sizeOfTupleMasks = 6 // of xl_multi_insert_tuple: length and infomasks

const sizeOfFreezePlan = 12 // xl_heap_freeze_tuple, xl_heap_freeze_plan, xlhp_freeze_plan

// Offsets is an array of offset numbers as it lies in a record.
type Offsets []byte

// Len is the number of offset numbers.
func (o Offsets) Len() int { return len(o) / 2 }

// At is the i-th offset number, from 0; 0, which is no offset number, beyond the end.
func (o Offsets) At(i int) uint16 {
	if i < 0 || i >= o.Len() {
		return 0
	}
	return binary.LittleEndian.Uint16(o[2*i:])
}

// HeapVisible is xl_heap_visible.
type HeapVisible struct {
	Horizon pg.XID // snapshotConflictHorizon, cutoff_xid before 16
	Flags   uint8  // VMAllVisible, VMAllFrozen
}

// HeapMultiInsert is xl_heap_multi_insert.
type HeapMultiInsert struct {
	Flags   uint8
	Count   int     // ntuples
	CID     uint32  // command id, of Neon's resource manager only; in 14 and 15 each tuple has its own
	Offsets Offsets // Count of them; none if the record inits its page: then they are 1, 2, 3 …
}

// HeapPrune is what PRUNE, VACUUM and FREEZE_PAGE (up to 16) and the three
// PRUNE operations (since 17) do to a page. The slices alias the record.
type HeapPrune struct {
	Redirected Offsets // pairs: from, to
	NowDead    Offsets
	NowUnused  Offsets
	Freeze     FreezePlans
	// Prune says that line pointers change, and Repair that the page is
	// defragmented afterwards; otherwise only its line pointer array is cut.
	Prune, Repair bool
}

// FreezePlans is a list of freeze plans as it lies in a record.
type FreezePlans struct {
	plans   []byte
	offsets Offsets // all plans', one after the other; nil up to 15, whose plans hold their one offset
	next    int
	major   int
}

// FreezePlan says how to freeze the tuples at Offsets (xlhp_freeze_plan).
type FreezePlan struct {
	XMax      pg.XID
	Infomask2 uint16
	Infomask  uint16
	Flags     uint8
	Offsets   Offsets
}

func checkHeap2(r *Record) error {
	op := r.HeapOp()
	if r.InitsPage() {
		return r.dialect("the operation is unknown")
	}
	switch op {
	case OpHeap2Visible:
		known := uint8(VMValidBits)
		if r.Major >= 16 {
			known |= vmCatalogRel
		}
		return r.checkFixed(5, 4, known)
	case OpHeap2LockUpdated:
		return r.checkChange(&stockLayout.lock, LockAllFrozenCleared, NoHeapChange)
	case OpHeap2NewCID:
		return r.wantMain(34)
	case OpHeap2Rewrite:
		return r.checkRewrite()
	}
	if r.Major >= 17 {
		return r.checkPrune17()
	}
	return r.wantMain(pruneMain16(op, r.Major))
}

// pruneMain16 is the length of the main data of PRUNE, VACUUM and FREEZE_PAGE
// up to 16, which appended isCatalogRel to two of them.
func pruneMain16(op uint8, major int) int {
	n := 0
	switch op {
	case OpHeap2Prune:
		n = 8
	case OpHeap2FreezePage:
		n = 6
	case OpHeap2Vacuum:
		return 2
	}
	if major >= 16 {
		n++
	}
	return n
}

func (r *Record) checkMultiInsert() error {
	c := newCursor(r.Main)
	flags := c.u8()
	c.align(2)
	want := r.layout().multi
	if n := int(c.u16()); !r.InitsPage() {
		want += 2 * n
	}
	if err := r.wantMain(want); err != nil {
		return err
	}
	return r.checkFlags(flags, insertFlags)
}

// checkRewrite wants the mappings that xl_heap_rewrite_mapping counts.
func (r *Record) checkRewrite() error {
	const fixed, mapping = 40, 36 // LogicalRewriteMappingData
	c := newCursor(r.Main)
	c.skip(24)
	n := c.u32()
	c.skip(fixed - 28)
	if want := uint64(n)*mapping + fixed; c.err() != nil || uint64(len(r.Main)) != want {
		return r.dialect("main data is %d bytes long, want %d", len(r.Main), want)
	}
	return nil
}

func (r *Record) checkPrune17() error {
	if len(r.Main) < 2 {
		return r.wantMain(2)
	}
	flags := r.Main[1]
	if err := r.checkFlags(flags, pruneFlags); err != nil {
		return err
	}
	if flags&pruneConflictHorizon != 0 {
		return r.wantMain(6)
	}
	return r.wantMain(2)
}

// DecodeHeapVisible decodes the main data of VISIBLE.
func DecodeHeapVisible(r *Record) (HeapVisible, error) {
	if err := CheckHeap(r); err != nil {
		return HeapVisible{}, err
	}
	c := newCursor(r.Main)
	return HeapVisible{Horizon: pg.XID(c.u32()), Flags: c.u8() & VMValidBits}, r.mainRead(&c)
}

// DecodeHeapMultiInsert decodes the main data of MULTI_INSERT.
func DecodeHeapMultiInsert(r *Record) (HeapMultiInsert, error) {
	if err := CheckHeap(r); err != nil {
		return HeapMultiInsert{}, err
	}
	c := newCursor(r.Main)
	m := HeapMultiInsert{Flags: c.u8()}
	c.align(2)
	m.Count = int(c.u16())
	l := r.layout()
	m.CID = r.cid(l.multiCID)
	c.skip(l.multi - stockLayout.multi)
	m.Offsets = Offsets(c.rest())
	return m, r.mainRead(&c)
}

// MultiInsertTuples reads the tuples in the block data of MULTI_INSERT, one
// after the other.
type MultiInsertTuples struct {
	rec *Record
	ref *BlockRef
	c   cursor
}

// DecodeMultiInsertTuples starts at the first tuple of the block data.
func DecodeMultiInsertTuples(r *Record, b *BlockRef) MultiInsertTuples {
	return MultiInsertTuples{rec: r, ref: b, c: newCursor(b.Data)}
}

// Next is the next tuple (xl_multi_insert_tuple): its header fields and what
// follows its fixed header of 23 bytes.
func (m *MultiInsertTuples) Next() (TupleHeader, []byte, error) {
	m.c.align(2)
	n := m.c.u16()
	h := TupleHeader{Infomask2: m.c.u16(), Infomask: m.c.u16()}
	if at := m.rec.layout().tupleCID; at != 0 {
		m.c.skip(at - sizeOfTupleMasks)
		h.CID = m.c.u32()
	}
	h.Hoff = m.c.u8()
	body := m.c.bytes(int(n))
	return h, body, m.rec.checkTuple(m.ref, h, &m.c)
}

// End says whether the tuples read so far are all of the block data.
func (m *MultiInsertTuples) End() error {
	if n := m.c.remaining(); n != 0 {
		return m.rec.dialect("data of block %d has %d bytes behind its last tuple", m.ref.ID, n)
	}
	return nil
}

// DecodeHeapPrune decodes main data and block data of PRUNE, VACUUM and
// FREEZE_PAGE, and of the PRUNE operations of 17 and later.
func DecodeHeapPrune(r *Record, b *BlockRef) (HeapPrune, error) {
	if err := CheckHeap(r); err != nil {
		return HeapPrune{}, err
	}
	var p HeapPrune
	c := newCursor(b.Data)
	switch {
	case r.Major >= 17:
		p = readPrune17(r, &c)
	case r.HeapOp() == OpHeap2FreezePage:
		p = readFreeze16(r, &c)
	default:
		p = readPrune16(r, &c)
	}
	if c.err() != nil || c.remaining() != 0 {
		return HeapPrune{}, r.dialect("data of block %d is %d bytes long, which is not what its counts add up to", b.ID, len(b.Data))
	}
	return p, nil
}

// readPrune16 reads PRUNE and VACUUM up to 16 (heap_xlog_prune, heap_xlog_vacuum).
func readPrune16(r *Record, c *cursor) HeapPrune {
	main := newCursor(r.Main)
	if r.HeapOp() == OpHeap2Vacuum {
		return HeapPrune{NowUnused: c.offsets(int(main.u16())), Prune: true}
	}
	main.skip(4)
	redirected, dead := int(main.u16()), int(main.u16())
	return HeapPrune{Prune: true, Repair: true,
		Redirected: c.offsets(2 * redirected), NowDead: c.offsets(dead), NowUnused: c.offsets(c.remaining() / 2)}
}

// readFreeze16 reads FREEZE_PAGE: up to 15 one entry per tuple, in 16 plans
// and behind them the offsets of all plans (heap_xlog_freeze_page).
func readFreeze16(r *Record, c *cursor) HeapPrune {
	main := newCursor(r.Main)
	main.skip(4)
	n := int(main.u16())
	f := FreezePlans{plans: c.bytes(n * sizeOfFreezePlan), major: r.Major}
	if r.Major >= 16 {
		f.offsets = c.offsets(f.tuples())
	}
	return HeapPrune{Freeze: f}
}

// readPrune17 reads the format that 17 gave pruning, vacuuming and freezing
// (heap_xlog_deserialize_prune_and_freeze).
func readPrune17(r *Record, c *cursor) HeapPrune {
	main := newCursor(r.Main)
	main.skip(1)
	flags := main.u8()
	p := HeapPrune{Repair: flags&pruneCleanupLock != 0}
	if flags&pruneFreezePlans != 0 {
		n := int(c.u16())
		c.align(4)
		p.Freeze = FreezePlans{plans: c.bytes(n * sizeOfFreezePlan), major: r.Major}
	}
	if flags&pruneRedirections != 0 {
		p.Redirected = c.offsets(2 * int(c.u16()))
	}
	if flags&pruneDeadItems != 0 {
		p.NowDead = c.offsets(int(c.u16()))
	}
	if flags&pruneUnusedItems != 0 {
		p.NowUnused = c.offsets(int(c.u16()))
	}
	p.Freeze.offsets = c.offsets(p.Freeze.tuples())
	p.Prune = len(p.Redirected)+len(p.NowDead)+len(p.NowUnused) > 0
	return p
}

// offsets takes n offset numbers.
func (c *cursor) offsets(n int) Offsets { return Offsets(c.bytes(2 * n)) }

// tuples is the number of offsets that the plans of 16 and later ask for together.
func (f *FreezePlans) tuples() int {
	sum := 0
	for i := sizeOfFreezePlan; i <= len(f.plans); i += sizeOfFreezePlan {
		sum += int(binary.LittleEndian.Uint16(f.plans[i-2 : i]))
	}
	return sum
}

// Next is the next plan; false after the last one.
func (f *FreezePlans) Next() (FreezePlan, bool) {
	if len(f.plans)-f.next < sizeOfFreezePlan {
		return FreezePlan{}, false
	}
	c := newCursor(f.plans[f.next : f.next+sizeOfFreezePlan])
	f.next += sizeOfFreezePlan
	p := FreezePlan{XMax: pg.XID(c.u32())}
	if f.major < 16 {
		p.Offsets = c.offsets(1)
	}
	p.Infomask2, p.Infomask, p.Flags = c.u16(), c.u16(), c.u8()
	if f.major >= 16 {
		c.align(2)
		n := 2 * int(c.u16()) // tuples() added them up, so they are there
		p.Offsets, f.offsets = f.offsets[:n], f.offsets[n:]
	}
	return p, true
}
