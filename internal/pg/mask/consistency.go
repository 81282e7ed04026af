package mask

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// MaskConsistency masks, in place, one of the two pages that a consistency
// check compares: the image that wal_consistency_checking put into a record
// of that resource manager, or the page as redo left it. Both are masked,
// then they must be the same bytes. block is the number within the fork.
//
// It reports false where equal pages would prove nothing: an extension's
// resource manager, whose mask nobody knows, and the visibility map, which
// PostgreSQL masks whole because it lies in what counts as the hole; see
// VMSubset. Then the page is left as it is.
//
// The caller skips images that redo applied (they would be compared with
// themselves) and pages whose LSN is ahead of the record's end, as
// checkXLogConsistency does (access/transam/xlogrecovery.c). PostgreSQL gives
// up on a page whose header is damaged; here such a page loses only its LSN
// and checksum, so that it equals nothing but its like.
func MaskConsistency(b []byte, rmgr pg.RmgrID, fork pg.ForkNumber, block pg.BlockNumber) bool {
	if len(b) != pg.BlockSize || !rmgr.BuiltIn() && rmgr != pg.RmgrNeon || fork == pg.VMFork || fork == pg.FSMFork {
		return false
	}
	p := page.Page(b)
	p.SetLSN(0)
	p.SetChecksum(0)
	if p.IsNew() || p.Check() != nil {
		return true
	}
	switch rmgr {
	case pg.RmgrHeap, pg.RmgrHeap2, pg.RmgrNeon: // neon_rm_mask is heap_mask
		maskHeap(p, block)
	case pg.RmgrBtree:
		maskBtree(p)
	case pg.RmgrSequence, pg.RmgrGeneric:
		clearHole(p)
	case pg.RmgrHash:
		maskHash(p)
	case pg.RmgrGin:
		maskGin(p)
	case pg.RmgrGist:
		maskGist(p)
	case pg.RmgrSPGist:
		maskPageHints(p)
		clearHole(p)
	case pg.RmgrBRIN:
		maskBRIN(p)
	}
	return true
}

// maskPageHints is mask_page_hint_bits.
func maskPageHints(p page.Page) {
	p.SetPruneXID(0)
	p.SetFlags(p.Flags() &^ page.ValidFlags)
}

// maskLinePointers is mask_lp_flags: the state of used line pointers.
func maskLinePointers(p page.Page) {
	for n := 1; n <= p.NumItems(); n++ {
		if id := p.ItemID(n); id.Flags() != page.LPUnused {
			p.SetItemID(n, page.MakeItemID(id.Offset(), page.LPUnused, id.Len()))
		}
	}
}

// maskContent is mask_page_content: everything but the rest of the header.
func maskContent(p page.Page) {
	clear(p[page.HeaderSize:])
	p.SetLower(0)
	p.SetUpper(0)
}

// maskHeap is heap_mask (access/heap/heapam.c).
func maskHeap(p page.Page, block pg.BlockNumber) {
	maskPageHints(p)
	clearHole(p)
	for n := 1; n <= p.NumItems(); n++ {
		if t, ok := p.HeapTuple(n); ok {
			maskTuple(t, block, n)
		}
		id := p.ItemID(n)
		if end := id.Offset() + id.Len(); id.HasStorage() && id.Offset() >= page.HeaderSize && end <= pg.BlockSize {
			clear(p[end:min(id.Offset()+maxAlign(id.Len()), pg.BlockSize)])
		}
	}
}

// maskTuple masks a tuple. Of frozen ones PostgreSQL compares HEAP_COMBOCID, and
// so finds fault with its own redo: a subtransaction that updates a row of its
// own transaction and is taken back leaves the bit, freezing keeps it, and when
// somebody locks the row redo clears it (heap_xlog_lock), the server does not
// (heap_lock_tuple).
func maskTuple(t page.HeapTuple, block pg.BlockNumber, n int) {
	if t.XminFrozen() {
		t.SetInfomask(t.Infomask() &^ (page.HeapXmaxInvalid | page.HeapXmaxCommitted | page.HeapComboCID))
	} else {
		t.SetInfomask(t.Infomask() &^ page.HeapXactMask)
	}
	t.SetField3(0)
	if t.Speculative() {
		t.SetCtid(block, n)
	}
}

// maskBtree is btree_mask (access/nbtree/nbtxlog.c).
func maskBtree(p page.Page) {
	maskPageHints(p)
	clearHole(p)
	s, ok := p.BtreeSpecial()
	if !ok {
		return
	}
	if s.Flags()&page.BtreeLeaf != 0 {
		maskLinePointers(p)
	}
	s.SetFlags(s.Flags() &^ (page.BtreeHasGarbage | page.BtreeSplitEnd))
	s.SetCycleID(0)
}

// maskHash is hash_mask (access/hash/hash_xlog.c).
func maskHash(p page.Page) {
	const at = pg.BlockSize - flagsFromEnd16
	maskPageHints(p)
	clearHole(p)
	if p.SpecialSize() != 16 {
		return
	}
	switch word(p, at) & hashPageTypes {
	case 0:
		maskContent(p)
	case hashBucket, hashOverflow:
		maskLinePointers(p)
	}
	clearBits(p, at, hashHasDead)
}

// maskGin is gin_mask (access/gin/ginxlog.c).
func maskGin(p page.Page) {
	maskPageHints(p)
	switch {
	case p.SpecialSize() == 8 && word(p, ginFlagsAt)&ginDeleted != 0:
		maskContent(p)
	case p.Lower() > page.HeaderSize:
		clearHole(p)
	}
}

// maskGist is gist_mask (access/gist/gistxlog.c): NSNs are LSNs, and
// F_FOLLOW_RIGHT is set on the left child after the record was written. What
// PostgreSQL's mask forgets: redo of DELETE sets F_TUPLES_DELETED, the primary
// (gistprunepage, access/gist/gist.c) does not.
func maskGist(p page.Page) {
	const at = pg.BlockSize - flagsFromEnd16
	maskPageHints(p)
	clearHole(p)
	if p.SpecialSize() != 16 {
		return
	}
	clear(p[p.Special() : p.Special()+8])
	setWord(p, at, word(p, at)|gistFollowRight)
	if word(p, at)&gistLeaf != 0 {
		maskLinePointers(p)
	}
	clearBits(p, at, gistHasGarbage|gistTuplesGone)
}

// maskBRIN is brin_mask (access/brin/brin_xlog.c).
func maskBRIN(p page.Page) {
	maskPageHints(p)
	if p.SpecialSize() != 8 {
		return
	}
	typ := word(p, pg.BlockSize-2)
	if typ == brinRegular || typ == brinMeta && p.Lower() > page.HeaderSize {
		clearHole(p)
	}
	clearBits(p, pg.BlockSize-flagsFromEnd16, brinEvacuate)
}

// VMSubset reports whether every bit of visibility map page a is set in b
// too; headers don't count. It is what can be said of a consistency image of
// the map: bits are set under the map page's lock and in WAL order, but
// older minor releases clear them before the record that says so,
// so the image may lack bits that the replayed page still has, never the
// other way round.
func VMSubset(a, b []byte) bool {
	if len(a) != pg.BlockSize || len(b) != pg.BlockSize {
		return false
	}
	for i := page.HeaderSize; i < pg.BlockSize; i++ {
		if a[i]&^b[i] != 0 {
			return false
		}
	}
	return true
}
