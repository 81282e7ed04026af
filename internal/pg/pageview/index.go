package pageview

import (
	"fmt"

	"redoubt/internal/pg/page"
)

// indexHeader is sizeof(IndexTupleData) in bytes.
const indexHeader = 8

// indexTuple is IndexTupleData (access/itup.h), as hash, GIN, GiST and
// btrees have it.
var indexTuple = []spec{{"t_tid", 0, 6, tid}, {"t_info", 6, 2, indexInfo}}

// indexInfo is t_info: the size and three flags.
func indexInfo(v uint64) string {
	s := fmt.Sprintf("%d bytes", v&0x1FFF)
	if rest := v &^ 0x1FFF; rest != 0 {
		s += ", " + indexInfoFlags(rest)
	}
	return s
}

var indexInfoFlags = flags([]flag{{0x8000, "NULLS"}, {0x4000, "VARWIDTH"}, {0x2000, "AM_RESERVED"}})

// btreeAlternate is INDEX_ALT_TID_MASK of t_info: t_tid is no heap TID.
const btreeAlternate = 0x2000

// btreeItem reads t_tid of a btree's item (access/nbtree.h): a heap TID, the
// place and length of a posting list, or a downlink.
func btreeItem(p page.Page, from int) []spec {
	s, _ := p.BtreeSpecial()
	leaf := s.Flags()&page.BtreeLeaf != 0
	switch alternate := number(p[from+6:from+8])&btreeAlternate != 0; {
	case alternate && leaf:
		return btreeLeafItem
	case alternate:
		return btreePivot
	case leaf:
		return indexTuple
	}
	return downlink
}

var (
	downlink      = []spec{{"t_tid", 0, 6, func(v uint64) string { return "downlink to " + block(blockOf(v)) }}, {"t_info", 6, 2, indexInfo}}
	btreePivot    = []spec{{"t_tid", 0, 6, btreePivotTID}, {"t_info", 6, 2, indexInfo}}
	btreeLeafItem = []spec{{"t_tid", 0, 6, btreeLeafTID}, {"t_info", 6, 2, indexInfo}}
)

// blockOf is the block number of an ItemPointerData.
func blockOf(v uint64) uint64 { return v&0xFFFF<<16 | v>>16&0xFFFF }

// BT_IS_POSTING, BT_PIVOT_HEAP_TID_ATTR, BT_OFFSET_MASK.
const (
	btreePosting      = 0x2000
	btreePivotHeapTID = 0x1000
	btreeCount        = 0x0FFF
)

func btreeLeafTID(v uint64) string {
	if off := v >> 32; off&btreePosting != 0 {
		return fmt.Sprintf("posting list of %d at byte %d", off&btreeCount, blockOf(v))
	}
	return "high key, " + keyColumns(v)
}

func btreePivotTID(v uint64) string {
	return fmt.Sprintf("downlink to %s, %s", block(blockOf(v)), keyColumns(v))
}

// keyColumns says how many attributes a truncated key has.
func keyColumns(v uint64) string {
	s := fmt.Sprintf("%d attributes", v>>32&btreeCount)
	if v>>32&btreePivotHeapTID != 0 {
		s += " and a heap TID"
	}
	return s
}

// ginItem reads t_tid of a GIN entry (access/ginblock.h): on the pending list
// a heap TID, on inner pages a downlink, on leaves the place of the postings.
func ginItem(p page.Page, _ int) []spec {
	switch f := number(p[len(p)-2:]); {
	case f&ginList != 0:
		return indexTuple
	case f&ginLeaf == 0:
		return downlink
	}
	return ginEntry
}

var ginEntry = []spec{{"t_tid", 0, 6, ginPostings}, {"t_info", 6, 2, indexInfo}}

func ginPostings(v uint64) string {
	const treePosting, compressed = 0xFFFF, 1 << 31 // GIN_TREE_POSTING, GIN_ITUP_COMPRESSED
	if v>>32 == treePosting {
		return "posting tree at block " + block(blockOf(v))
	}
	return fmt.Sprintf("posting list of %d at byte %d", v>>32, blockOf(v)&^compressed)
}

var btreeSpecial = []spec{
	{"btpo_prev", 0, 4, sibling}, {"btpo_next", 4, 4, sibling}, {"btpo_level", 8, 4, decimal},
	{"btpo_flags", 12, 2, flags([]flag{
		{page.BtreeLeaf, "LEAF"}, {page.BtreeRoot, "ROOT"}, {page.BtreeDeleted, "DELETED"}, {page.BtreeMeta, "META"},
		{page.BtreeHalfDead, "HALF_DEAD"}, {page.BtreeSplitEnd, "SPLIT_END"}, {page.BtreeHasGarbage, "HAS_GARBAGE"},
		{page.BtreeIncompleteSplit, "INCOMPLETE_SPLIT"}, {page.BtreeHasFullXID, "HAS_FULLXID"},
	})},
	{"btpo_cycleid", 14, 2, decimal},
}

var btreeMeta = []spec{
	{"btm_magic", 0, 4, hex32}, {"btm_version", 4, 4, decimal}, {"btm_root", 8, 4, sibling}, {"btm_level", 12, 4, decimal},
	{"btm_fastroot", 16, 4, sibling}, {"btm_fastlevel", 20, 4, decimal}, {"btm_last_cleanup_num_delpages", 24, 4, decimal},
	{"btm_allequalimage", 40, 1, boolean},
}

var hashSpecial = []spec{
	{"hasho_prevblkno", 0, 4, block}, {"hasho_nextblkno", 4, 4, block}, {"hasho_bucket", 8, 4, decimal},
	{"hasho_flag", 12, 2, flags([]flag{
		{0x0001, "OVERFLOW_PAGE"}, {0x0002, "BUCKET_PAGE"}, {0x0004, "BITMAP_PAGE"}, {0x0008, "META_PAGE"},
		{0x0010, "BUCKET_BEING_POPULATED"}, {0x0020, "BUCKET_BEING_SPLIT"}, {0x0040, "BUCKET_NEEDS_SPLIT_CLEANUP"},
		{0x0080, "PAGE_HAS_DEAD_TUPLES"},
	})},
	{"hasho_page_id", 14, 2, hex16},
}

var hashMetaFields = []spec{
	{"hashm_magic", 0, 4, hex32}, {"hashm_version", 4, 4, decimal}, {"hashm_ffactor", 16, 2, decimal}, {"hashm_bsize", 18, 2, decimal},
	{"hashm_bmsize", 20, 2, decimal}, {"hashm_bmshift", 22, 2, decimal}, {"hashm_maxbucket", 24, 4, decimal},
	{"hashm_highmask", 28, 4, hex32}, {"hashm_lowmask", 32, 4, hex32}, {"hashm_ovflpoint", 36, 4, decimal},
	{"hashm_firstfree", 40, 4, decimal}, {"hashm_nmaps", 44, 4, decimal}, {"hashm_procid", 48, 4, decimal},
}

var ginSpecial = []spec{
	{"rightlink", 0, 4, block}, {"maxoff", 4, 2, decimal},
	{"flags", 6, 2, flags([]flag{
		{0x01, "DATA"}, {0x02, "LEAF"}, {0x04, "DELETED"}, {0x08, "META"}, {0x10, "LIST"}, {0x20, "LIST_FULLROW"},
		{0x40, "INCOMPLETE_SPLIT"}, {0x80, "COMPRESSED"},
	})},
}

var ginMetaFields = []spec{
	{"head", 0, 4, block}, {"tail", 4, 4, block}, {"tailFreeSize", 8, 4, decimal}, {"nPendingPages", 12, 4, decimal},
	{"nPendingHeapTuples", 16, 8, decimal}, {"nTotalPages", 24, 4, decimal}, {"nEntryPages", 28, 4, decimal},
	{"nDataPages", 32, 4, decimal}, {"nEntries", 40, 8, decimal}, {"ginVersion", 48, 4, decimal},
}

var gistSpecial = []spec{
	{"nsn", 0, 8, lsn}, {"rightlink", 8, 4, block},
	{"flags", 12, 2, flags([]flag{
		{0x01, "LEAF"}, {0x02, "DELETED"}, {0x04, "TUPLES_DELETED"}, {0x08, "FOLLOW_RIGHT"}, {0x10, "HAS_GARBAGE"},
	})},
	{"gist_page_id", 14, 2, hex16},
}

var spgistSpecial = []spec{
	{"flags", 0, 2, flags([]flag{{0x01, "META"}, {0x02, "DELETED"}, {0x04, "LEAF"}, {0x08, "NULLS"}})},
	{"nRedirection", 2, 2, decimal}, {"nPlaceholder", 4, 2, decimal}, {"spgist_page_id", 6, 2, hex16},
}

var spgistMetaFields = []spec{{"magicNumber", 0, 4, hex32}}

// SpGistLeafTupleData and SpGistInnerTupleData (access/spgist_private.h).
var (
	spgistLeafItem = []spec{
		{"tupstate", 0, 4, func(v uint64) string { return fmt.Sprintf("%s, %d bytes", spgistState(v), v>>2) }},
		{"t_info", 4, 2, func(v uint64) string { return fmt.Sprintf("next %d", v&0x3FFF) }},
		{"heapPtr", 6, 6, tid},
	}
	spgistInnerItem = []spec{
		{"tupstate", 0, 4, func(v uint64) string { return fmt.Sprintf("%s, %d nodes", spgistState(v), v>>3&0x1FFF) }},
		{"size", 4, 2, decimal},
	}
)

func spgistState(v uint64) string {
	return [...]string{"live", "redirect", "dead", "placeholder"}[v&3]
}

// brinItem is BrinTuple (access/brin_tuple.h).
var brinItem = []spec{
	{"bt_blkno", 0, 4, block},
	{"bt_info", 4, 1, func(v uint64) string {
		s := fmt.Sprintf("data at %d", v&0x1F)
		if rest := v &^ 0x1F; rest != 0 {
			s += ", " + brinFlags(rest)
		}
		return s
	}},
}

var brinFlags = flags([]flag{{0x80, "NULLS"}, {0x40, "PLACEHOLDER"}, {0x20, "EMPTY_RANGE"}})

var brinSpecial = []spec{{"flags", 4, 2, flags([]flag{{0x01, "EVACUATE_PAGE"}})}, {"page type", 6, 2, brinType}}

func brinType(v uint64) string {
	switch v {
	case brinMeta:
		return "META"
	case brinRevmap:
		return "REVMAP"
	case brinRegular:
		return "REGULAR"
	}
	return hex16(v)
}

var brinMetaFields = []spec{
	{"brinMagic", 0, 4, hex32}, {"brinVersion", 4, 4, decimal}, {"pagesPerRange", 8, 4, decimal}, {"lastRevmapPage", 12, 4, decimal},
}

var bloomSpecial = []spec{{"maxoff", 0, 2, decimal}, {"flags", 2, 2, hex16}, {"bloom_page_id", 6, 2, hex16}}

var sequenceSpecial = []spec{{"magic", 0, 4, hex32}}
