package pageview

import (
	"bytes"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Differing lists, as half-open ranges of offset numbers, the items that
// differ between two versions of a block: the rows of a table or the entries
// of an index that are hit. An item differs if its line pointer's state or,
// beyond what PostgreSQL itself makes no promise about (package mask), its
// bytes differ, wherever on the page they lie. Where one version is missing,
// empty or makes no sense, all items of the other differ that are used. It is
// nil for pages without items.
func Differing(a, b page.Page, block pg.Block) [][2]int {
	ai, bi := normalItems(a, b, block), normalItems(b, a, block)
	var out [][2]int
	for n := 1; n <= max(len(ai), len(bi)); n++ {
		x, y := nth(ai, n), nth(bi, n)
		if x.state == y.state && bytes.Equal(x.data, y.data) {
			continue
		}
		if k := len(out); k > 0 && out[k-1][1] == n {
			out[k-1][1] = n + 1
		} else {
			out = append(out, [2]int{n, n + 1})
		}
	}
	return out
}

// normalItem is an item by what it is, not where it lies.
type normalItem struct {
	state page.ItemID // the line pointer without the place of its storage
	data  []byte
}

func nth(items []normalItem, n int) normalItem {
	if n > len(items) {
		return normalItem{} // unused
	}
	return items[n-1]
}

// normalItems are the items of p in their normal form; none if p has none
// that can be told.
func normalItems(p, other page.Page, block pg.Block) []normalItem {
	if len(p) != pg.BlockSize || p.IsNew() || p.Check() != nil {
		return nil
	}
	kind := page.KindOf(p, block.Fork)
	l := layoutOf(p, kind)
	if l.item == 0 || !itemsApart(p, l.item) {
		return nil
	}
	if n := normalForm(p, other, block); n != nil && n.NumItems() == p.NumItems() {
		p = n
	}
	out := make([]normalItem, 0, p.NumItems())
	for n := 1; n <= p.NumItems(); n++ {
		id, data := p.ItemID(n), p.Item(n)
		if data != nil {
			id = page.MakeItemID(0, id.Flags(), id.Len())
		}
		out = append(out, normalItem{id, data})
	}
	return out
}

// visibilityRows bounds how many heap blocks of a visibility map are listed.
const visibilityRows = 64

// visibility lists the heap blocks whose bits differ.
func (c *comparison) visibility() []FieldPair {
	if len(c.A) != pg.BlockSize || len(c.B) != pg.BlockSize {
		return nil
	}
	var out []FieldPair
	first := uint64(c.Block.Number) * page.VMBlocksPerPage
	for i := range page.VMBlocksPerPage {
		a, b := c.A.VMBits(i), c.B.VMBits(i)
		if a == b {
			continue
		}
		if len(out) == visibilityRows {
			return append(out, FieldPair{Name: "more heap blocks", Mark: Differs})
		}
		out = append(out, FieldPair{fmt.Sprintf("heap block %d", first+uint64(i)), visibilityBits(uint64(a)), visibilityBits(uint64(b)), Differs})
	}
	return out
}

var visibilityBits = flags([]flag{{page.VMAllVisible, "all-visible"}, {page.VMAllFrozen, "all-frozen"}})
