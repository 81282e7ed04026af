package mask

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Flag words of the index access methods' special areas: where they lie,
// counted from the page's end, and the bits that matter here.
const (
	flagsFromEnd16 = 4 // hasho_flag, GiST's flags, BRIN's flags
	ginFlagsAt     = pg.BlockSize - 2
	spgistFlagsAt  = pg.BlockSize - 8

	hashPageTypes = 0x000F // LH_PAGE_TYPE; 0 is LH_UNUSED_PAGE
	hashOverflow  = 0x0001 // LH_OVERFLOW_PAGE
	hashBucket    = 0x0002 // LH_BUCKET_PAGE
	hashHasDead   = 0x0080 // LH_PAGE_HAS_DEAD_TUPLES

	gistLeaf        = 0x0001 // F_LEAF
	gistDeleted     = 0x0002 // F_DELETED
	gistTuplesGone  = 0x0004 // F_TUPLES_DELETED
	gistFollowRight = 0x0008 // F_FOLLOW_RIGHT
	gistHasGarbage  = 0x0010 // F_HAS_GARBAGE

	ginDeleted = 0x0004 // GIN_DELETED

	spgistMeta = 0x0001 // SPGIST_META

	brinEvacuate = 0x0001 // BRIN_EVACUATE_PAGE
	brinMeta     = 0xF091 // BRIN_PAGETYPE_META
	brinRegular  = 0xF093 // BRIN_PAGETYPE_REGULAR
)

// The part of SP-GiST's metapage that caches pages with room
// (SpGistMetaPageData.lastUsedPages), in bytes of the page.
const (
	spgistLastUsedFrom = page.HeaderSize + 4
	spgistLastUsedTo   = spgistLastUsedFrom + 8*8
)

func word(p page.Page, at int) uint16 { return binary.LittleEndian.Uint16(p[at:]) }

func setWord(p page.Page, at int, v uint16) { binary.LittleEndian.PutUint16(p[at:], v) }

// clearBits clears bits of the flag word at.
func clearBits(p page.Page, at int, bits uint16) { setWord(p, at, word(p, at)&^bits) }

// clearContent empties a page whose contents mean nothing: everything between
// the header and flags, the place of the flag word, pd_lower and pd_upper too.
func clearContent(p page.Page, flags int) {
	clear(p[page.HeaderSize:flags])
	p.SetLower(page.HeaderSize)
	p.SetUpper(p.Special())
}

func normalizeBtree(p page.Page) {
	s, ok := p.BtreeSpecial()
	if !ok {
		return
	}
	clearHole(p)
	f := s.Flags()
	if f&page.BtreeLeaf != 0 && f&(page.BtreeDeleted|page.BtreeMeta) == 0 {
		reviveDead(p) // RuleBtreeLPDead; a deleted page holds an xid where line pointers would be
	}
	s.SetFlags(f &^ (page.BtreeHasGarbage | page.BtreeSplitEnd)) // RuleBtreeFlags
	s.SetCycleID(0)                                              // RuleBtreeCycleID
}

func normalizeHash(p page.Page) {
	const at = pg.BlockSize - flagsFromEnd16
	if p.SpecialSize() != 16 {
		return
	}
	clearHole(p)
	switch word(p, at) & hashPageTypes {
	case 0: // RuleHashUnused
		clearContent(p, at)
	case hashOverflow, hashBucket:
		reviveDead(p)                 // RuleHashLPDead
		clearBits(p, at, hashHasDead) // RuleHashDeadFlag
	}
}

func normalizeGist(p page.Page) {
	const at = pg.BlockSize - flagsFromEnd16
	if p.SpecialSize() != 16 {
		return
	}
	clearHole(p)
	if f := word(p, at); f&gistLeaf != 0 && f&gistDeleted == 0 {
		reviveDead(p) // RuleGistLPDead
	}
	clearBits(p, at, gistHasGarbage) // RuleGistGarbage
	clearBits(p, at, gistTuplesGone) // RuleGistTuplesGone
}

func normalizeGin(p page.Page) {
	switch {
	case p.SpecialSize() != 8:
	case word(p, ginFlagsAt)&ginDeleted != 0: // RuleGinDeleted
		clearContent(p, ginFlagsAt)
	case p.Lower() > page.HeaderSize: // old pages have contents and no pd_lower
		clearHole(p)
	}
}

func normalizeSPGist(p page.Page) {
	if p.SpecialSize() != 8 {
		return
	}
	l := p.Lower()
	switch {
	case word(p, spgistFlagsAt)&spgistMeta == 0:
		clearHole(p)
	case (l == page.HeaderSize || l == spgistLastUsedTo) && p.Upper() >= spgistLastUsedTo:
		// RuleSPGistLastUsed: the cache is refreshed without WAL, pd_lower with it.
		clear(p[spgistLastUsedFrom:p.Upper()])
		p.SetLower(spgistLastUsedTo)
	}
}

func normalizeBRIN(p page.Page) {
	if p.SpecialSize() != 8 {
		return
	}
	switch word(p, pg.BlockSize-2) {
	case brinRegular:
		clearHole(p)
	case brinMeta:
		if p.Lower() > page.HeaderSize {
			clearHole(p)
		}
	}
	clearBits(p, pg.BlockSize-flagsFromEnd16, brinEvacuate) // RuleBRINEvacuateFlag
}
