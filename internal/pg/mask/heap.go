package mask

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// normalizeHeap masks a heap page whose header has been checked. If its items
// overlap or lie outside of the item area it is left alone: then a tuple's
// hint bits might be another's data.
func normalizeHeap(p page.Page, block pg.BlockNumber) {
	if p.Special() != pg.BlockSize || zeroIfEmpty(p) || !itemsApart(p) {
		return
	}
	p.SetFlags(p.Flags() &^ (page.PageFull | page.HasFreeLines)) // RuleHeapPageFlags
	p.SetPruneXID(0)                                             // RuleHeapPruneXID
	clearHole(p)
	for i, ids := 0, linePointers(p); i+page.ItemIDSize <= len(ids); i += page.ItemIDSize {
		id := linePointer(ids, i)
		if id.Flags() != page.LPNormal || !id.HasStorage() {
			continue
		}
		from, to := id.Offset(), id.Offset()+maxAlign(id.Len())
		normalizeTuple(page.HeapTuple(p[from:to]), block, i/page.ItemIDSize+1)
		clearPadding(p[to-8:to], to-from-id.Len())
	}
}

// linePointers is the array of line pointers of a page whose header has been checked.
func linePointers(p page.Page) []byte { return p[page.HeaderSize:p.Lower()] }

// linePointer is the one at byte i of the array.
func linePointer(ids []byte, i int) page.ItemID {
	return page.ItemID(binary.LittleEndian.Uint32(ids[i : i+page.ItemIDSize]))
}

// clearPadding zeroes the last pad bytes, 0 to 7, of an item's last 8
// (RuleHeapPadding): adding an item leaves there what the hole held.
func clearPadding(unit []byte, pad int) {
	v := binary.LittleEndian.Uint64(unit)
	binary.LittleEndian.PutUint64(unit, v&(^uint64(0)>>(8*pad)))
}

// normalizeTuple masks the header of tuple n of that block; t has its padding.
func normalizeTuple(t page.HeapTuple, block pg.BlockNumber, n int) {
	_ = t[page.HeapTupleHeaderSize]
	if unconfirmed(t) {
		t.SetCtid(block, n) // RuleHeapSpeculative
	}
	m := t.Infomask()
	if m&page.HeapMoved == 0 {
		t.SetField3(0) // RuleHeapCID; t_xvac of a pre-9.0 VACUUM FULL is not a hint
	}
	m &^= page.HeapComboCID // RuleHeapComboCID
	if m&page.HeapXminFrozen != page.HeapXminFrozen {
		m &^= page.HeapXminFrozen // RuleHeapXminHints
	}
	m &^= page.HeapXmaxCommitted | page.HeapXmaxInvalid // RuleHeapXmaxHints
	t.SetInfomask(m)
}

// unconfirmed reports whether the tuple is what INSERT … ON CONFLICT leaves
// behind when it dies before it confirms or takes back its tuple: a token in
// t_ctid, no xmax, an inserter that did not commit. Redo has put the tuple's
// own address there (heap_xlog_insert).
func unconfirmed(t page.HeapTuple) bool {
	return t.Speculative() && t.Xmax() == 0 && t.Infomask()&page.HeapXminCommitted == 0
}

// maxAlign is MAXALIGN: the next multiple of 8.
func maxAlign(n int) int { return (n + 7) &^ 7 }

// itemsApart reports whether all items with storage are aligned, lie between
// pd_upper and pd_special with their padding, and don't share a byte; a
// normal one must also hold a tuple header.
func itemsApart(p page.Page) bool {
	lowest := pg.BlockSize // of the items so far, while each lies below the one before
	ids := linePointers(p)
	for i := 0; i+page.ItemIDSize <= len(ids); i += page.ItemIDSize {
		id := linePointer(ids, i)
		if !id.HasStorage() {
			continue
		}
		if !itemInPlace(p, id) {
			return false
		}
		if id.Offset()+maxAlign(id.Len()) > lowest {
			return itemsApartAnyOrder(p)
		}
		lowest = id.Offset()
	}
	return true
}

// itemInPlace is the part of itemsApart that looks at one item.
func itemInPlace(p page.Page, id page.ItemID) bool {
	from, n := id.Offset(), id.Len()
	return from%8 == 0 && from >= p.Upper() && from+maxAlign(n) <= p.Special() &&
		(n >= page.HeapTupleHeaderSize || id.Flags() != page.LPNormal)
}

// itemsApartAnyOrder is itemsApart for items in any order: it marks the 8-byte
// units that each takes.
func itemsApartAnyOrder(p page.Page) bool {
	var taken [pg.BlockSize / 8 / 64]uint64
	ids := linePointers(p)
	for i := 0; i+page.ItemIDSize <= len(ids); i += page.ItemIDSize {
		id := linePointer(ids, i)
		if id.HasStorage() && (!itemInPlace(p, id) || !take(&taken, id.Offset()/8, (id.Offset()+maxAlign(id.Len()))/8)) {
			return false
		}
	}
	return true
}

// take marks the units [from, to) and reports whether all of them were free.
func take(taken *[pg.BlockSize / 8 / 64]uint64, from, to int) bool {
	for from < to {
		word, bit := from/64, from%64
		n := min(64-bit, to-from)
		bits := (^uint64(0) >> (64 - n)) << bit
		if taken[word]&bits != 0 {
			return false
		}
		taken[word] |= bits
		from += n
	}
	return true
}
