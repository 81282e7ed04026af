package mask

import (
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
	for n := 1; n <= p.NumItems(); n++ {
		if t, ok := p.HeapTuple(n); ok {
			normalizeTuple(t, block, n)
			clearPadding(p, p.ItemID(n))
		}
	}
}

// clearPadding zeroes the bytes that align an item's end (RuleHeapPadding):
// adding an item leaves there what the hole held.
func clearPadding(p page.Page, id page.ItemID) {
	end := id.Offset() + id.Len()
	clear(p[end:maxAlign(end)])
}

// normalizeTuple masks the header of tuple n of that block.
func normalizeTuple(t page.HeapTuple, block pg.BlockNumber, n int) {
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
	upper, special := p.Upper(), p.Special()
	lowest := special // of the items seen so far, while each lay below the one before
	for n := 1; n <= p.NumItems(); n++ {
		id := p.ItemID(n)
		if !id.HasStorage() {
			continue
		}
		from, to := id.Offset(), id.Offset()+maxAlign(id.Len())
		if from%8 != 0 || from < upper || to > special ||
			id.Flags() == page.LPNormal && id.Len() < page.HeapTupleHeaderSize {
			return false
		}
		if to > lowest {
			return itemsApartAnyOrder(p)
		}
		lowest = from
	}
	return true
}

// itemsApartAnyOrder marks each item's 8-byte units; all are in the page.
func itemsApartAnyOrder(p page.Page) bool {
	var taken [pg.BlockSize / 8 / 64]uint64
	upper, special := p.Upper(), p.Special()
	for n := 1; n <= p.NumItems(); n++ {
		id := p.ItemID(n)
		if !id.HasStorage() {
			continue
		}
		from, to := id.Offset(), id.Offset()+maxAlign(id.Len())
		if from%8 != 0 || from < upper || to > special ||
			id.Flags() == page.LPNormal && id.Len() < page.HeapTupleHeaderSize {
			return false
		}
		if !take(&taken, from/8, to/8) {
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
