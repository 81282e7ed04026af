package pageview

import (
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// View is one page taken apart.
type View struct {
	Kind     page.Kind
	Problem  string // why nothing but the header is shown; empty if the page makes sense
	Header   []Field
	Contents []Field // of pages that hold no items: metapages, maps, posting trees
	Items    []Item  // one per line pointer
	Special  []Field // the special area of index pages and sequences
}

// Item is a line pointer and what it points to.
type Item struct {
	Number  int     // offset number, counted from 1: the second half of a ctid
	Pointer Field   // "normal, at 8152, 40 bytes"
	Fields  []Field // header of the tuple or index item; none if it has no storage
	Data    Field   // what the user stored, by its length; From equals To if there is nothing
}

// Of takes a page of that fork apart. masked says that the page went through
// Conceal: what is zeros for that reason is not shown as a value. A page of
// another length than pg.BlockSize is only a problem.
func Of(p page.Page, fork pg.ForkNumber, masked bool) View {
	if len(p) != pg.BlockSize {
		return View{Problem: fmt.Sprintf("not a page: %d bytes instead of %d", len(p), pg.BlockSize)}
	}
	v := View{Kind: page.KindOf(p, fork), Header: fields(p, 0, page.HeaderSize, headerFields)}
	switch {
	case p.IsZero():
		v.Problem = "all zeros: a page that was added to its file and never written"
		return v
	case p.Check() != nil:
		v.Problem = p.Check().Error()
		return v
	}
	l := layoutOf(p, v.Kind)
	v.Special = fields(p, p.Special(), pg.BlockSize, l.special)
	switch {
	case l.item == 0:
		v.Contents = contents(p, v.Kind, l)
	case !itemsApart(p, l.item):
		v.Problem = "its items overlap or lie outside of the page's item area"
	default:
		v.Items = items(p, v.Kind, l, masked)
	}
	return v
}

var headerFields = []spec{
	{"pd_lsn", 0, 8, lsn},
	{"pd_checksum", 8, 2, hex16},
	{"pd_flags", 10, 2, flags([]flag{
		{page.HasFreeLines, "HAS_FREE_LINES"}, {page.PageFull, "PAGE_FULL"}, {page.AllVisible, "ALL_VISIBLE"},
	})},
	{"pd_lower", 12, 2, decimal},
	{"pd_upper", 14, 2, decimal},
	{"pd_special", 16, 2, decimal},
	{"pd_pagesize_version", 18, 2, func(v uint64) string { return fmt.Sprintf("%d, layout %d", v&0xFF00, v&0xFF) }},
	{"pd_prune_xid", 20, 4, decimal},
}

// contents describes what lies behind the header of a page without items.
func contents(p page.Page, kind page.Kind, l layout) []Field {
	switch kind {
	case page.KindVM:
		return visibility(p)
	case page.KindFSM:
		return []Field{{"free space tree", fmt.Sprintf("%d bytes", pg.BlockSize-page.HeaderSize), page.HeaderSize, pg.BlockSize}}
	}
	end := p.Lower()
	if out := fields(p, page.HeaderSize, end, l.contents); len(out) > 0 {
		return out
	}
	if end == page.HeaderSize { // pages of old index versions do not keep pd_lower
		end = p.Special()
	}
	return []Field{{"contents", fmt.Sprintf("%d bytes", end-page.HeaderSize), page.HeaderSize, end}}
}

// visibility counts the bits of a visibility map page.
func visibility(p page.Page) []Field {
	visible, frozen := 0, 0
	for i := range page.VMBlocksPerPage {
		b := p.VMBits(i)
		visible += int(b & page.VMAllVisible)
		frozen += int(b & page.VMAllFrozen / page.VMAllFrozen)
	}
	return []Field{
		{"all-visible", fmt.Sprintf("%d heap blocks", visible), page.HeaderSize, pg.BlockSize},
		{"all-frozen", fmt.Sprintf("%d heap blocks", frozen), page.HeaderSize, pg.BlockSize},
	}
}

var pointerStates = [...]string{"unused", "normal", "redirect", "dead"}

func items(p page.Page, kind page.Kind, l layout, masked bool) []Item {
	out := make([]Item, 0, p.NumItems())
	for n := 1; n <= p.NumItems(); n++ {
		out = append(out, itemOf(p, kind, l, n, masked))
	}
	return out
}

func itemOf(p page.Page, kind page.Kind, l layout, n int, masked bool) Item {
	id := p.ItemID(n)
	at := page.HeaderSize + (n-1)*page.ItemIDSize
	it := Item{Number: n, Pointer: Field{"line pointer", pointerStates[id.Flags()], at, at + page.ItemIDSize}}
	switch {
	case id.HasStorage():
		it.Pointer.Value += fmt.Sprintf(", at %d, %d bytes", id.Offset(), id.Len())
	case id.Flags() == page.LPRedirect:
		it.Pointer.Value += fmt.Sprintf(" to %d", id.Offset())
	}
	item := p.Item(n)
	if item == nil {
		return it
	}
	from := id.Offset()
	end := from + len(item)
	var data int
	switch kind {
	case page.KindHeap, page.KindSequence:
		it.Fields, data = tuple(p, from, end, masked)
		if kind == page.KindSequence && !masked {
			it.Fields = append(it.Fields, fields(p, data, end, sequenceFields)...)
		}
	default:
		it.Fields = fields(p, from, end, l.header(p, from))
		data = min(from+l.item, end)
	}
	it.Data = Field{"data", fmt.Sprintf("%d bytes", end-data), data, end}
	return it
}
