package redo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// maxHeapTuples is MaxHeapTuplesPerPage (access/htup_details.h).
const maxHeapTuples = (pg.BlockSize - page.HeaderSize) / (24 + page.ItemIDSize)

// What keeps an item off a page. They are constant: the caller knows which
// item and block.
var (
	errItemUsed    = errors.New("the line pointer to overwrite is in use")
	errItemBeyond  = errors.New("the offset number is beyond the first free line pointer")
	errItemTooMany = errors.New("a heap page holds at most 291 line pointers")
	errItemNoRoom  = errors.New("the item does not fit into the page's free space")
)

// maxAlign is MAXALIGN: the next multiple of 8.
func maxAlign(n int) int { return (n + 7) &^ 7 }

// pageInit is PageInit (storage/page/bufpage.c): a page without items, all
// zeros but its header. special is the size of the special area in bytes.
func pageInit(p page.Page, special int) {
	clear(p)
	end := pg.BlockSize - maxAlign(special)
	p.SetLower(page.HeaderSize)
	p.SetUpper(end)
	p.SetSpecial(end)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
}

// checkBounds says whether pd_lower, pd_upper and pd_special are in order,
// as every routine of bufpage.c asks before it moves bytes.
func checkBounds(p page.Page) error {
	l, u, s := p.Lower(), p.Upper(), p.Special()
	if l < page.HeaderSize || l > u || u > s || s > pg.BlockSize {
		return fmt.Errorf("page pointers are corrupt: lower %d, upper %d, special %d", l, u, s)
	}
	return nil
}

// pageAddItem is PageAddItemExtended (storage/page/bufpage.c): it stores item
// below pd_upper, aligned to 8 bytes, and returns its offset number. off 0
// takes the first unused line pointer if PD_HAS_FREE_LINES promises one, else
// a new one. Any other off takes exactly that one: with overwrite it must be
// unused or the next new one, without, later line pointers move up by one.
// The bytes that pad the item keep what the hole held.
func pageAddItem(p page.Page, item []byte, off int, overwrite, isHeap bool) (int, error) {
	off, room, err := pageReserve(p, len(item), off, overwrite, isHeap)
	if err != nil {
		return 0, err
	}
	copy(room, item)
	return off, nil
}

// pageReserve is pageAddItem without the item: it returns the size bytes of
// the page that the caller fills.
func pageReserve(p page.Page, size, off int, overwrite, isHeap bool) (int, []byte, error) {
	if err := checkBounds(p); err != nil {
		return 0, nil, err
	}
	limit := p.NumItems() + 1
	shuffle := off != 0 && off < limit && !overwrite
	if off == 0 {
		off = freeLinePointer(p, limit)
	}
	switch {
	case off < 1 || off > limit:
		return 0, nil, errItemBeyond
	case isHeap && off > maxHeapTuples:
		return 0, nil, errItemTooMany
	case !shuffle && off < limit && !reusable(p.ItemID(off)):
		return 0, nil, errItemUsed
	}
	lower := p.Lower()
	if off == limit || shuffle {
		lower += page.ItemIDSize
	}
	upper := p.Upper() - maxAlign(size)
	if lower > upper {
		return 0, nil, errItemNoRoom
	}
	if shuffle {
		from := page.HeaderSize + (off-1)*page.ItemIDSize
		end := page.HeaderSize + (limit-1)*page.ItemIDSize
		copy(p[from+page.ItemIDSize:end+page.ItemIDSize], p[from:end])
	}
	p.SetItemID(off, page.MakeItemID(upper, page.LPNormal, size))
	p.SetLower(lower)
	p.SetUpper(upper)
	return off, p[upper : upper+size : upper+size], nil
}

// reusable says whether a line pointer is unused and holds no storage.
func reusable(id page.ItemID) bool { return id.Flags() == page.LPUnused && !id.HasStorage() }

// freeLinePointer is the offset number of the first unused line pointer, or
// limit, the next new one. PD_HAS_FREE_LINES is a hint: without it nobody
// searches, and a search that finds nothing clears it.
func freeLinePointer(p page.Page, limit int) int {
	if p.Flags()&page.HasFreeLines == 0 {
		return limit
	}
	for off := 1; off < limit; off++ {
		if reusable(p.ItemID(off)) {
			return off
		}
	}
	p.SetFlags(p.Flags() &^ page.HasFreeLines)
	return limit
}

// setFreeLines sets or clears PD_HAS_FREE_LINES.
func setFreeLines(p page.Page, on bool) {
	f := p.Flags() &^ page.HasFreeLines
	if on {
		f |= page.HasFreeLines
	}
	p.SetFlags(f)
}

// pageRepairFragmentation is PageRepairFragmentation (storage/page/bufpage.c):
// it closes the gaps between the items of a heap page. Items end up in the
// order of their line pointers, the first one at the page's end, as
// compactify_tuples leaves them. Since 15 it also drops unused line pointers
// from the end of their array; 14 only marks them free.
func pageRepairFragmentation(p page.Page, major int) error {
	if err := checkBounds(p); err != nil {
		return err
	}
	unused, lastUsed, err := compactItems(p)
	if err != nil {
		return err
	}
	if n := p.NumItems(); major >= 15 && lastUsed < n {
		unused -= n - lastUsed
		p.SetLower(p.Lower() - (n-lastUsed)*page.ItemIDSize)
	}
	setFreeLines(p, unused > 0)
	return nil
}

// checkSpecial says whether the special area starts where one may.
func checkSpecial(p page.Page) error {
	if special := p.Special(); special != maxAlign(special) {
		return fmt.Errorf("page pointers are corrupt: special %d is not aligned", special)
	}
	return nil
}

// corruptItem is the error of the line pointer whose bytes are at at.
func corruptItem(at int, id page.ItemID) error {
	return fmt.Errorf("line pointer %d is corrupt: offset %d, length %d", at/page.ItemIDSize+1, id.Offset(), id.Len())
}

// checkItems says whether every item lies between pd_upper and pd_special and
// whether all of them fit there again.
func checkItems(p page.Page) error {
	if err := checkSpecial(p); err != nil {
		return err
	}
	special := p.Special()
	total, upper := 0, p.Upper()
	for at, pointers := 0, linePointers(p); at < len(pointers); at += page.ItemIDSize {
		id := page.ItemID(binary.LittleEndian.Uint32(pointers[at:]))
		if id.Flags() == page.LPUnused || !id.HasStorage() {
			continue
		}
		length := maxAlign(id.Len())
		if id.Offset() < upper || id.Offset()+length > special {
			return corruptItem(at, id)
		}
		total += length
	}
	if total > special-p.Lower() {
		return fmt.Errorf("item lengths are corrupt: %d bytes where %d fit", total, special-p.Lower())
	}
	return nil
}

// compactItems moves the items of a page to its end, in the order of their line
// pointers, and wipes what unused line pointers still say. It returns how many
// are unused and the last used one. Every item must lie between pd_upper and
// pd_special, and all of them must fit there again; with an error the page is
// left halfway.
//
// Most items of a page that was compacted before lie in order still: those at
// its end stay where they are, and neighbours move together.
func compactItems(p page.Page) (unused, lastUsed int, err error) {
	if err := checkSpecial(p); err != nil {
		return 0, 0, err
	}
	low, special := p.Upper(), p.Special()
	m := mover{page: p, low: low, upper: special}
	defer m.done()
	pointers := linePointers(p)
	for at := 0; at+page.ItemIDSize <= len(pointers); at += page.ItemIDSize {
		id := page.ItemID(binary.LittleEndian.Uint32(pointers[at:]))
		if id.Flags() == page.LPUnused {
			binary.LittleEndian.PutUint32(pointers[at:], 0)
			unused++
			continue
		}
		lastUsed = at/page.ItemIDSize + 1
		if !id.HasStorage() {
			continue
		}
		off, length := id.Offset(), maxAlign(id.Len())
		if off < low || off+length > special {
			return 0, 0, fmt.Errorf("line pointer %d is corrupt: offset %d, length %d", at/page.ItemIDSize+1, off, id.Len())
		}
		if off+length != m.from {
			m.flush()
			m.to = off + length
		}
		m.from = off
		if m.upper -= length; m.upper < p.Lower() {
			return 0, 0, fmt.Errorf("item lengths are corrupt: more than %d bytes", special-p.Lower())
		}
		binary.LittleEndian.PutUint32(pointers[at:], uint32(page.MakeItemID(m.upper, id.Flags(), id.Len())))
	}
	m.flush()
	p.SetUpper(m.upper)
	return unused, lastUsed, nil
}

// linePointers are the bytes of the line pointers, for loops over all of them.
func linePointers(p page.Page) []byte {
	return p[page.HeaderSize:][:p.NumItems()*page.ItemIDSize]
}

// mover moves items downwards from the end of a page, one below the other.
type mover struct {
	page  page.Page
	low   int // where the items began
	upper int // where the item moved last starts
	// A run of neighbours that is still to be moved to upper: where it lies.
	from, to int
	old      *[pg.BlockSize]byte // if anything moved: the page before that, from low on
}

// oldPages are the buffers of movers.
var oldPages = sync.Pool{New: func() any { return new([pg.BlockSize]byte) }}

// flush moves the run. One that is where it should be needs no copy as long as
// nothing before it was moved over it.
func (m *mover) flush() {
	if m.to == 0 || m.from == m.upper && m.old == nil {
		return
	}
	if m.old == nil {
		m.old = oldPages.Get().(*[pg.BlockSize]byte) //nolint:forcetypeassert // it has nothing else
		copy(m.old[m.low:], m.page[m.low:])
	}
	copy(m.page[m.upper:], m.old[m.from:m.to])
}

// done gives the buffer back.
func (m *mover) done() {
	if m.old != nil {
		oldPages.Put(m.old)
	}
}

// pageTruncateLinePointerArray is PageTruncateLinePointerArray
// (storage/page/bufpage.c): it drops unused line pointers from the end of
// their array, but always leaves one. Items stay where they are.
func pageTruncateLinePointerArray(p page.Page) error {
	if err := checkBounds(p); err != nil {
		return err
	}
	n := p.NumItems()
	keep := n
	for keep > 1 && p.ItemID(keep).Flags() == page.LPUnused {
		keep--
	}
	free := false
	for i := 1; i <= keep && !free; i++ {
		free = p.ItemID(i).Flags() == page.LPUnused
	}
	p.SetLower(p.Lower() - (n-keep)*page.ItemIDSize)
	setFreeLines(p, free)
	return nil
}
