package redo

import (
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of the visibility map (access/heap/visibilitymap.c): two bits for
// each heap block behind the page header, no line pointers.
const (
	vmBlocksPerByte = 4
	vmBlocksPerPage = (pg.BlockSize - page.HeaderSize) * vmBlocksPerByte // 32672
)

// VMBlock is the block of the visibility map that holds the bits of a heap
// block (HEAPBLK_TO_MAPBLOCK).
func VMBlock(heap pg.BlockNumber) pg.BlockNumber { return heap / vmBlocksPerPage }

// vmPlace is where in its page a heap block's bits are: byte, counted from the
// start of the page, and shift.
func vmPlace(heap pg.BlockNumber) (int, int) {
	n := int(heap % vmBlocksPerPage)
	return page.HeaderSize + n/vmBlocksPerByte, n % vmBlocksPerByte * 2
}

// VMClear is a change of a visibility map page that a heap record brings
// about without a block reference for it.
type VMClear struct {
	Page pg.Block       // of the visibility map
	Heap pg.BlockNumber // whose bits are cleared
	Bits uint8          // wal.VMAllVisible, wal.VMAllFrozen
}

// Apply clears the bits and reports whether any was set (visibilitymap_clear).
// There is no LSN check and the page's LSN stays, as in PostgreSQL. A page
// that is new (PageIsNew) has no bits set and stays as it is.
func (v VMClear) Apply(p page.Page) bool {
	at, shift := vmPlace(v.Heap)
	mask := v.Bits << shift
	if p.IsNew() || p[at]&mask == 0 {
		return false
	}
	p[at] &^= mask
	return true
}

// VMClears appends to dst the changes of the visibility map that rec implies
// without a block reference: all that clear bits in 14 to 16, in 17 up to
// 17.10 and in 18 up to 18.4; later ones register the page, per record. It
// returns dst as it is for records of other resource managers than Heap, Heap2
// and Neon's. Errors wrap wal.ErrDialect, or say that a block reference is
// missing; each of these records that is not in its dialect's format gives one.
func VMClears(rec *wal.Record, dst []VMClear) ([]VMClear, error) {
	if rec.Rmgr != pg.RmgrHeap && rec.Rmgr != pg.RmgrHeap2 && !rec.IsNeon() {
		return dst, nil
	}
	cleared, err := vmCleared(rec)
	if err != nil {
		return dst, fmt.Errorf("read heap record at %s: %w", rec.LSN, err)
	}
	if cleared == (vmBits{}) || hasVMRef(rec) {
		return dst, nil
	}
	newBlock, oldBlock, err := vmHeapBlocks(rec)
	if err != nil {
		return dst, err
	}
	if cleared.old != 0 {
		dst = append(dst, vmClearOf(oldBlock, cleared.old))
	}
	if cleared.new != 0 {
		dst = append(dst, vmClearOf(newBlock, cleared.new))
	}
	return dst, nil
}

func vmClearOf(heap *pg.Block, bits uint8) VMClear {
	vm := pg.RelFork{RelFileLocator: heap.RelFileLocator, Fork: pg.VMFork}
	return VMClear{Page: pg.Block{RelFork: vm, Number: VMBlock(heap.Number)}, Heap: heap.Number, Bits: bits}
}

func hasVMRef(rec *wal.Record) bool {
	for i := range rec.Blocks {
		if rec.Blocks[i].Fork == pg.VMFork {
			return true
		}
	}
	return false
}

// vmBits are the bits that a record clears: of its only or new heap block,
// and of the block an update's old tuple is on.
type vmBits struct{ new, old uint8 }

// vmCleared reads from a heap record's flags what it clears. VISIBLE
// and records without such a flag clear nothing.
func vmCleared(rec *wal.Record) (out vmBits, err error) {
	flags, err := wal.HeapFlags(rec)
	if flags == 0 || err != nil {
		return out, err
	}
	bits := func(flag, bits uint8) uint8 {
		if flags&flag != 0 {
			return bits
		}
		return 0
	}
	switch rec.HeapChange() {
	case wal.HeapInserts, wal.HeapMultiInserts:
		out.new = bits(wal.InsertAllVisibleCleared, wal.VMValidBits)
	case wal.HeapDeletes:
		out.new = bits(wal.DeleteAllVisibleCleared, wal.VMValidBits)
	case wal.HeapUpdates, wal.HeapHotUpdates:
		out.new = bits(wal.UpdateNewAllVisibleCleared, wal.VMValidBits)
		out.old = bits(wal.UpdateOldAllVisibleCleared, wal.VMValidBits)
	default: // LOCK and LOCK_UPDATED
		out.new = bits(wal.LockAllFrozenCleared, wal.VMAllFrozen)
	}
	return out, nil
}

// vmHeapBlocks are the heap blocks that vmBits speak of: block 0, and block 1
// if there is one in the main fork.
func vmHeapBlocks(rec *wal.Record) (newBlock, oldBlock *pg.Block, err error) {
	r := rec.Block(0)
	if r == nil {
		return nil, nil, fmt.Errorf("read heap record at %s: block reference 0 is missing", rec.LSN)
	}
	newBlock, oldBlock = &r.Block, &r.Block
	if o := rec.Block(1); o != nil && o.Fork != pg.VMFork {
		oldBlock = &o.Block
	}
	return newBlock, oldBlock, nil
}

// refVMOld is the block id of the visibility map page of an update's old
// tuple (HEAP_UPDATE_BLKREF_VM_OLD). All other registered pages are those of
// the record's only or new heap block.
const refVMOld = 3

// clearVM redoes a heap record's registered visibility map page
// (heap_xlog_vm_clear, heap_xlog_update). The page of an update's new tuple
// stands for the old tuple's as well if it is the same.
func (c *call) clearVM() error {
	cleared, err := vmCleared(c.rec)
	if err != nil {
		return c.fail(err)
	}
	newBlock, oldBlock, err := vmHeapBlocks(c.rec)
	if err != nil {
		return c.fail(err)
	}
	if c.page.IsNew() {
		return c.errorf("the page is new: its pd_upper is 0")
	}
	here := newBlock
	if c.ref.ID == refVMOld {
		here, cleared.new = oldBlock, 0
	}
	if vmClearOf(here, 0).Page != c.ref.Block {
		return c.errorf("block reference %d is not the visibility map page of %s", c.ref.ID, here)
	}
	changed := vmClearOf(newBlock, cleared.new).Apply(c.page)
	if old := vmClearOf(oldBlock, cleared.old); old.Page == c.ref.Block && old.Apply(c.page) {
		changed = true
	}
	c.unchanged = !changed
	return nil
}

// setVM sets the bits of VISIBLE (heap_xlog_visible, visibilitymap_set). A
// page of zeros gets its header first. PostgreSQL leaves the page alone if
// its bits are the wanted ones; if they are more, only the LSN moves.
func (c *call) setVM(flags uint8) error {
	heap := c.rec.Block(1)
	if heap == nil || vmClearOf(&heap.Block, 0).Page != c.ref.Block {
		return c.errorf("block reference 1 is missing or the map is not the one of its block")
	}
	at, shift := vmPlace(heap.Number)
	if c.page.IsNew() {
		pageInit(c.page, 0)
	}
	if c.page[at]>>shift&wal.VMValidBits == flags {
		c.unchanged = true
		return nil
	}
	c.page[at] |= flags << shift
	return nil
}

// ZeroOnMissing says whether redo of a block reference takes a block that
// does not exist as an empty one, as PostgreSQL does for the visibility map
// page of VISIBLE, which it reads with RBM_ZERO_ON_ERROR. A visibility map
// page that a record registers to clear bits must exist (RBM_NORMAL).
func ZeroOnMissing(rec *wal.Record, ref *wal.BlockRef) bool {
	return rec.Rmgr == pg.RmgrHeap2 && rec.HeapOp() == wal.OpHeap2Visible && ref.Fork == pg.VMFork
}

// VMTruncate clears the bits of all heap blocks from heapBlocks on, in the
// last visibility map page that a truncation of the heap to heapBlocks
// blocks keeps, VMBlock(heapBlocks). It reports whether a bit changed; the
// LSN stays. At a page boundary nothing of the page before is cut
// (visibilitymap_prepare_truncate).
func VMTruncate(p page.Page, heapBlocks pg.BlockNumber) bool {
	at, shift := vmPlace(heapBlocks)
	if p.IsNew() || heapBlocks%vmBlocksPerPage == 0 {
		return false
	}
	changed := p[at]>>shift != 0
	p[at] &= 1<<shift - 1
	for i := at + 1; i < pg.BlockSize; i++ {
		changed = changed || p[i] != 0
		p[i] = 0
	}
	return changed
}

// VMTruncation says what a truncation of the heap to heapBlocks blocks leaves
// of its visibility map: blocks 0 to last-1 whole, and if tail, block last too,
// with the bits of the heap blocks beyond the end cleared.
//
// Source: access/heap/visibilitymap.c, visibilitymap_prepare_truncate.
func VMTruncation(heapBlocks pg.BlockNumber) (last pg.BlockNumber, tail bool) {
	return VMBlock(heapBlocks), heapBlocks%vmBlocksPerPage != 0
}
