package page

import (
	"encoding/binary"
	"fmt"

	"redoubt/internal/pg"
)

// Kind is what wrote a page: it decides which of its bytes mean something.
type Kind uint8

// The kinds. Unknown pages (an extension's access method) are compared byte
// by byte.
const (
	KindUnknown  Kind = iota
	KindNew           // pd_upper is zero: all zeros, or not a page at all
	KindHeap          // tables, TOAST tables, materialized views
	KindBtree         //
	KindSequence      //
	KindHash          //
	KindGin           //
	KindGist          //
	KindSPGist        //
	KindBRIN          //
	KindBloom         // contrib/bloom
	KindVM            // visibility map: the map fills the hole
	KindFSM           // free space map: the tree fills the hole
)

var kindNames = [...]string{
	"unknown", "new", "heap", "btree", "sequence", "hash", "gin", "gist", "spgist", "brin", "bloom",
	"visibility map", "free space map",
}

// String is the kind in lower case, as explanations name it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind%d", uint8(k))
}

// Identification words in the last two bytes of the special area.
const (
	hashPageID   = 0xFF80 // HASHO_PAGE_ID
	gistPageID   = 0xFF81 // GIST_PAGE_ID
	spgistPageID = 0xFF82 // SPGIST_PAGE_ID
	bloomPageID  = 0xFF83 // BLOOM_PAGE_ID
	brinMetaID   = 0xF091 // BRIN_PAGETYPE_META
	brinRegular  = 0xF093 // BRIN_PAGETYPE_REGULAR, REVMAP between
	maxCycleID   = 0xFF7F // MAX_BT_CYCLE_ID
	ginFlagsMask = 0x00FF // bits of GinPageOpaqueData.flags
	maxTreeLevel = 64     // of a btree page that can be believed
)

// KindOf tells what kind of page this is: by its fork, the size of its
// special area and the identification word at the page's end, which
// PostgreSQL's index access methods keep for this purpose. The init fork is
// judged like the main fork.
func KindOf(p Page, fork pg.ForkNumber) Kind {
	switch {
	case len(p) != pg.BlockSize:
		return KindUnknown
	case p.IsNew():
		return KindNew
	case fork == pg.VMFork:
		return KindVM
	case fork == pg.FSMFork:
		return KindFSM
	}
	word := binary.LittleEndian.Uint16(p[pg.BlockSize-2:])
	switch p.Special() {
	case pg.BlockSize:
		return KindHeap
	case pg.BlockSize - 8:
		return kindOfSpecial8(p, word)
	case pg.BlockSize - 16:
		return kindOfSpecial16(p, word)
	}
	return KindUnknown
}

// kindOfSpecial8 knows the access methods with a special area of 8 bytes.
func kindOfSpecial8(p Page, word uint16) Kind {
	switch {
	case word == spgistPageID:
		return KindSPGist
	case word == bloomPageID:
		return KindBloom
	case word >= brinMetaID && word <= brinRegular:
		return KindBRIN
	}
	if _, ok := p.Sequence(); ok {
		return KindSequence
	}
	if word&^ginFlagsMask == 0 {
		return KindGin
	}
	return KindUnknown
}

// kindOfSpecial16 knows those with 16 bytes.
func kindOfSpecial16(p Page, word uint16) Kind {
	switch {
	case word == hashPageID:
		return KindHash
	case word == gistPageID:
		return KindGist
	}
	s, ok := p.BtreeSpecial()
	if ok && word <= maxCycleID && s.Flags()&^BtreeValidFlags == 0 && s.Level() <= maxTreeLevel {
		return KindBtree
	}
	return KindUnknown
}
