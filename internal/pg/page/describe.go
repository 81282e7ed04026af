package page

import (
	"fmt"

	"redoubt/internal/pg"
)

// field is a named half-open range of bytes.
type field struct {
	end  int
	name string
}

var headerFields = []field{
	{8, "pd_lsn"}, {10, "pd_checksum"}, {12, "pd_flags"}, {14, "pd_lower"}, {16, "pd_upper"},
	{18, "pd_special"}, {20, "pd_pagesize_version"}, {24, "pd_prune_xid"},
}

var heapTupleFields = []field{
	{4, "xmin"}, {8, "xmax"}, {12, "cid"}, {18, "ctid"}, {20, "infomask2"}, {22, "infomask"}, {23, "hoff"},
}

var btreeMetaFields = []field{
	{4, "btm_magic"}, {8, "btm_version"}, {12, "btm_root"}, {16, "btm_level"}, {20, "btm_fastroot"},
	{24, "btm_fastlevel"}, {28, "btm_last_cleanup_num_delpages"}, {32, "padding"},
	{40, "btm_last_cleanup_num_heap_tuples"}, {41, "btm_allequalimage"},
}

var specialFields = map[Kind][]field{
	KindBtree:    {{4, "btpo_prev"}, {8, "btpo_next"}, {12, "btpo_level"}, {14, "btpo_flags"}, {16, "btpo_cycleid"}},
	KindHash:     {{4, "hasho_prevblkno"}, {8, "hasho_nextblkno"}, {12, "hasho_bucket"}, {14, "hasho_flag"}, {16, "hasho_page_id"}},
	KindGist:     {{8, "nsn"}, {12, "rightlink"}, {14, "flags"}, {16, "gist_page_id"}},
	KindGin:      {{4, "rightlink"}, {6, "maxoff"}, {8, "flags"}},
	KindSPGist:   {{2, "flags"}, {4, "nRedirection"}, {6, "nPlaceholder"}, {8, "spgist_page_id"}},
	KindBRIN:     {{4, "padding"}, {6, "flags"}, {8, "page type"}},
	KindBloom:    {{2, "maxoff"}, {4, "flags"}, {6, "padding"}, {8, "bloom_page_id"}},
	KindSequence: {{4, "magic"}, {8, "padding"}},
}

// fieldAt names the field that holds byte at; past the last one it is "".
func fieldAt(fs []field, at int) string {
	for _, f := range fs {
		if at < f.end {
			return f.name
		}
	}
	return ""
}

// Describe says in a few words what lies at a byte of the page: "pd_lower",
// "line pointer 3", "tuple 3 xmax", "item 4", "hole", "special btpo_next".
// What no line pointer covers is "unused space". It trusts nothing: on a
// page whose header is damaged it says which half of it still makes sense.
func Describe(p Page, kind Kind, at int) string {
	switch {
	case len(p) != pg.BlockSize || at < 0 || at >= pg.BlockSize:
		return "outside of the page"
	case at < HeaderSize:
		return fieldAt(headerFields, at)
	case kind == KindNew:
		return "contents"
	case kind == KindVM:
		return fmt.Sprintf("bits of heap blocks %s", vmSpan(at))
	case kind == KindFSM:
		return "free space tree"
	case !p.headerSane():
		return "contents (the header is damaged)"
	case at >= p.Special():
		return describeSpecial(p, kind, at)
	case kind == KindBtree && isBtreeMeta(p) && at < p.Lower():
		return "metapage " + fieldAt(btreeMetaFields, at-HeaderSize)
	case at < p.Lower():
		return describeLower(kind, at)
	case at < p.Upper():
		return "hole"
	}
	return describeItem(p, kind, at)
}

// describeLower names what lies between the header and pd_lower: line
// pointers, but for the kinds that keep an array of their own there.
func describeLower(kind Kind, at int) string {
	switch kind {
	case KindUnknown, KindBloom, KindGin, KindBRIN, KindHash, KindSPGist:
		return fmt.Sprintf("contents or line pointer %d", (at-HeaderSize)/ItemIDSize+1)
	}
	return fmt.Sprintf("line pointer %d", (at-HeaderSize)/ItemIDSize+1)
}

func isBtreeMeta(p Page) bool {
	_, ok := p.BtreeMeta()
	return ok
}

func describeSpecial(p Page, kind Kind, at int) string {
	if name := fieldAt(specialFields[kind], at-p.Special()); name != "" {
		return "special " + name
	}
	return "special area"
}

// describeItem finds the item whose storage, padding included, holds the byte.
func describeItem(p Page, kind Kind, at int) string {
	for n := 1; n <= p.NumItems(); n++ {
		item := p.Item(n)
		off := p.ItemID(n).Offset()
		if item == nil || at < off || at >= (off+len(item)+7)&^7 {
			continue
		}
		if at >= off+len(item) {
			return fmt.Sprintf("padding after item %d", n)
		}
		return describeInItem(p, kind, n, at-off)
	}
	return "unused space"
}

func describeInItem(p Page, kind Kind, n, at int) string {
	t, ok := p.HeapTuple(n)
	if !ok || kind != KindHeap && kind != KindSequence {
		return fmt.Sprintf("item %d", n)
	}
	if kind == KindSequence && at >= sequenceHoff {
		return [...]string{"last_value", "log_cnt", "is_called"}[min((at-sequenceHoff)/8, 2)]
	}
	if name := fieldAt(heapTupleFields, at); name != "" {
		return fmt.Sprintf("tuple %d %s", n, name)
	}
	if at < t.Hoff() {
		return fmt.Sprintf("tuple %d null bitmap", n)
	}
	return fmt.Sprintf("tuple %d data", n)
}
