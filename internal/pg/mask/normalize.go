package mask

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Normalize writes the normal form of src into dst, both pg.BlockSize long:
// a copy in which everything that may legitimately differ between a cleanly
// stopped primary and a replayed copy has one value. block is the page's
// number within its fork. dst and src may be the same memory.
//
// The rules are the same in PostgreSQL 14 to 18. A page whose header makes no
// sense, and a kind without rules, lose nothing but pd_checksum.
func Normalize(dst, src []byte, kind page.Kind, block pg.BlockNumber) {
	copy(dst, src)
	if len(src) != pg.BlockSize || len(dst) != pg.BlockSize {
		return
	}
	p := page.Page(dst)
	p.SetChecksum(0) // RuleChecksum
	if p.Check() != nil || p.IsNew() {
		return
	}
	switch kind {
	case page.KindHeap:
		normalizeHeap(p, block)
	case page.KindVM:
		zeroIfEmpty(p)
	case page.KindBtree:
		normalizeBtree(p)
	case page.KindSequence:
		clearHole(p)
	case page.KindHash:
		normalizeHash(p)
	case page.KindGin:
		normalizeGin(p)
	case page.KindGist:
		normalizeGist(p)
	case page.KindSPGist:
		normalizeSPGist(p)
	case page.KindBRIN:
		normalizeBRIN(p)
	}
}

// clearHole zeroes what lies between pd_lower and pd_upper (RuleHole). The
// header has been checked.
func clearHole(p page.Page) { clear(p[p.Lower():p.Upper()]) }

// zeroIfEmpty makes a page that was initialised and never logged all zeros,
// and reports whether it did (RuleNewPage). Nothing but the header may be on
// it: no LSN, no flags, no items, a hole of zeros.
func zeroIfEmpty(p page.Page) bool {
	if p.LSN() != 0 || p.Flags() != 0 || p.PruneXID() != 0 ||
		p.Lower() != page.HeaderSize || p.Upper() != pg.BlockSize {
		return false
	}
	for _, b := range p[page.HeaderSize:] {
		if b != 0 {
			return false
		}
	}
	clear(p)
	return true
}

// reviveDead turns LP_DEAD line pointers with storage into LP_NORMAL: an
// index scan kills items without WAL (_bt_killitems and its like).
func reviveDead(p page.Page) {
	ids := linePointers(p)
	for i := 0; i+page.ItemIDSize <= len(ids); i += page.ItemIDSize {
		if id := linePointer(ids, i); id.Flags() == page.LPDead && id.HasStorage() {
			p.SetItemID(i/page.ItemIDSize+1, page.MakeItemID(id.Offset(), page.LPNormal, id.Len()))
		}
	}
}
