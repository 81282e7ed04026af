package pageview

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Conceal is a copy of the page without what its users stored in it: the page
// header, line pointers, headers of tuples and index items, metapages, maps
// and special areas are kept, everything else is zeros. Of a tuple the fixed
// header of 23 bytes is kept, not the null bitmap.
//
// A page whose header or items make no sense, and one of an access method
// that is not known, loses everything behind its header: what looks like a
// line pointer or an item's header there may be anything. Something that is
// no page, by its length, becomes nothing but zeros.
func Conceal(p page.Page, fork pg.ForkNumber) page.Page {
	out := make(page.Page, len(p))
	if len(p) != pg.BlockSize {
		return out
	}
	copy(out, p[:page.HeaderSize])
	kind := page.KindOf(p, fork)
	if p.Check() != nil || kind == page.KindNew || kind == page.KindUnknown {
		return out
	}
	l := layoutOf(p, kind)
	switch {
	case kind == page.KindVM || kind == page.KindFSM:
		copy(out, p)
		return out
	case l.item > 0 && !itemsApart(p, l.item):
		return out
	case l.item > 0:
		copy(out[page.HeaderSize:p.Lower()], p[page.HeaderSize:p.Lower()])
		for n := 1; n <= p.NumItems(); n++ {
			if item := p.Item(n); item != nil {
				copy(out[p.ItemID(n).Offset():], item[:l.item])
			}
		}
	case l.numbers:
		copy(out[page.HeaderSize:p.Lower()], p[page.HeaderSize:p.Lower()])
	}
	copy(out[p.Special():], p[p.Special():])
	return out
}
