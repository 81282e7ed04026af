package pageview

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// layout says what lies where on a page of a kind.
type layout struct {
	item     int // bytes of an item's header; 0: the page holds no items
	header   func(p page.Page, from int) []spec
	contents []spec // of a page without items
	numbers  bool   // the contents are PostgreSQL's own numbers, nothing that a user stored
	special  []spec
}

// Bits of the flag words of index pages that decide what is on them.
const (
	hashPageTypes = 0x000F // LH_PAGE_TYPE
	hashOverflow  = 0x0001 // LH_OVERFLOW_PAGE
	hashBucket    = 0x0002 // LH_BUCKET_PAGE
	hashMeta      = 0x0008 // LH_META_PAGE

	ginData    = 0x0001 // GIN_DATA
	ginLeaf    = 0x0002 // GIN_LEAF
	ginDeleted = 0x0004 // GIN_DELETED
	ginMeta    = 0x0008 // GIN_META
	ginList    = 0x0010 // GIN_LIST

	gistDeleted = 0x0002 // F_DELETED

	spgistMeta = 0x0001 // SPGIST_META
	spgistLeaf = 0x0004 // SPGIST_LEAF

	brinMeta    = 0xF091 // BRIN_PAGETYPE_META
	brinRevmap  = 0xF092 // BRIN_PAGETYPE_REVMAP
	brinRegular = 0xF093 // BRIN_PAGETYPE_REGULAR
)

// layoutOf is the layout of a page whose header has been checked.
func layoutOf(p page.Page, kind page.Kind) layout {
	switch kind {
	case page.KindHeap:
		return layout{item: page.HeapTupleHeaderSize}
	case page.KindSequence:
		return layout{item: page.HeapTupleHeaderSize, special: sequenceSpecial}
	case page.KindBtree:
		return btreeLayout(p)
	case page.KindHash:
		return hashLayout(number(p[pg.BlockSize-4 : pg.BlockSize-2]))
	case page.KindGin:
		return ginLayout(number(p[pg.BlockSize-2:]))
	case page.KindGist:
		return gistLayout(number(p[pg.BlockSize-4 : pg.BlockSize-2]))
	case page.KindSPGist:
		return spgistLayout(number(p[pg.BlockSize-8 : pg.BlockSize-6]))
	case page.KindBRIN:
		return brinLayout(number(p[pg.BlockSize-2:]))
	case page.KindBloom:
		return layout{special: bloomSpecial}
	case page.KindVM, page.KindFSM:
		return layout{numbers: true}
	}
	return layout{}
}

func plainItem(table []spec) func(page.Page, int) []spec {
	return func(page.Page, int) []spec { return table }
}

func btreeLayout(p page.Page) layout {
	s, _ := p.BtreeSpecial()
	switch {
	case s.Flags()&page.BtreeMeta != 0:
		return layout{contents: btreeMeta, numbers: true, special: btreeSpecial}
	case s.Flags()&page.BtreeDeleted != 0:
		return layout{contents: []spec{{"safexid", 0, 8, decimal}}, numbers: true, special: btreeSpecial}
	}
	return layout{item: indexHeader, header: btreeItem, special: btreeSpecial}
}

func hashLayout(flags uint64) layout {
	switch flags & hashPageTypes {
	case hashMeta:
		return layout{contents: hashMetaFields, numbers: true, special: hashSpecial}
	case hashOverflow, hashBucket:
		return layout{item: indexHeader, header: plainItem(indexTuple), special: hashSpecial}
	}
	return layout{special: hashSpecial}
}

func ginLayout(flags uint64) layout {
	switch {
	case flags&ginMeta != 0:
		return layout{contents: ginMetaFields, numbers: true, special: ginSpecial}
	case flags&(ginData|ginDeleted) != 0:
		return layout{special: ginSpecial}
	}
	return layout{item: indexHeader, header: ginItem, special: ginSpecial}
}

func gistLayout(flags uint64) layout {
	if flags&gistDeleted != 0 {
		return layout{contents: []spec{{"deleteXid", 0, 8, decimal}}, numbers: true, special: gistSpecial}
	}
	return layout{item: indexHeader, header: plainItem(indexTuple), special: gistSpecial}
}

func spgistLayout(flags uint64) layout {
	switch {
	case flags&spgistMeta != 0:
		return layout{contents: spgistMetaFields, numbers: true, special: spgistSpecial}
	case flags&spgistLeaf != 0:
		return layout{item: 12, header: plainItem(spgistLeafItem), special: spgistSpecial}
	}
	return layout{item: 6, header: plainItem(spgistInnerItem), special: spgistSpecial}
}

func brinLayout(typ uint64) layout {
	switch typ {
	case brinMeta:
		return layout{contents: brinMetaFields, numbers: true, special: brinSpecial}
	case brinRegular:
		return layout{item: 5, header: plainItem(brinItem), special: brinSpecial}
	}
	return layout{numbers: typ == brinRevmap, special: brinSpecial}
}

// itemsApart reports whether every item with storage is aligned, holds its
// header, lies between pd_upper and pd_special and shares no byte with
// another. The page's header has been checked.
func itemsApart(p page.Page, header int) bool {
	var taken [pg.BlockSize / 8]bool
	for n := 1; n <= p.NumItems(); n++ {
		id := p.ItemID(n)
		if !id.HasStorage() {
			continue
		}
		from, to := id.Offset(), (id.Offset()+id.Len()+7)&^7
		if from%8 != 0 || from < p.Upper() || to > p.Special() || id.Len() < header {
			return false
		}
		for i := from / 8; i < to/8; i++ {
			if taken[i] {
				return false
			}
			taken[i] = true
		}
	}
	return true
}
