package redo

import (
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
	unused, err := compactItems(p)
	if err != nil {
		return err
	}
	if major >= 15 {
		unused -= dropUnused(p, 0)
	}
	setFreeLines(p, unused > 0)
	return nil
}

// dropUnused drops unused line pointers from the end of their array, but leaves
// at least so many line pointers. It returns how many it dropped.
func dropUnused(p page.Page, least int) int {
	n := p.NumItems()
	keep := n
	for keep > least && p.ItemID(keep).Flags() == page.LPUnused {
		keep--
	}
	p.SetLower(p.Lower() - (n-keep)*page.ItemIDSize)
	return n - keep
}

// checkSpecial says whether the special area starts where one may.
func checkSpecial(p page.Page) error {
	if special := p.Special(); special != maxAlign(special) {
		return fmt.Errorf("page pointers are corrupt: special %d is not aligned", special)
	}
	return nil
}

// corruptItem is the error of line pointer n.
func corruptItem(p page.Page, n int) error {
	id := p.ItemID(n)
	return fmt.Errorf("line pointer %d is corrupt: offset %d, length %d", n, id.Offset(), id.Len())
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
		id := itemID(pointers, at)
		if id.Flags() == page.LPUnused || !id.HasStorage() {
			continue
		}
		length := maxAlign(id.Len())
		if id.Offset() < upper || id.Offset()+length > special {
			return corruptItem(p, at/page.ItemIDSize+1)
		}
		total += length
	}
	if total > special-p.Lower() {
		return fmt.Errorf("item lengths are corrupt: %d bytes where %d fit", total, special-p.Lower())
	}
	return nil
}

// compactItems moves the items of a page to its end, in the order of their line
// pointers, and wipes what unused line pointers still say; it returns how many
// these are. Every item must lie between pd_upper and pd_special, and all of them
// must fit there again; with an error the page is left halfway.
func compactItems(p page.Page) (unused int, err error) {
	if err := checkSpecial(p); err != nil {
		return 0, err
	}
	m := movers.Get().(*mover) //nolint:forcetypeassert // it has nothing else
	defer movers.Put(m)
	upper, unused, bad := m.plan(linePointers(p), p.Upper(), p.Special())
	if bad != 0 {
		return 0, corruptItem(p, bad)
	}
	if upper < p.Lower() {
		return 0, fmt.Errorf("item lengths are corrupt: %d bytes where %d fit", p.Special()-upper, p.Special()-p.Lower())
	}
	m.move(p)
	p.SetUpper(upper)
	return unused, nil
}

// plan points the line pointers to where the items between low and high will be,
// one below the other from high on, and notes where they are. It returns where
// the last one will be, how many line pointers are unused, and the number of one
// that is corrupt, if any.
func (m *mover) plan(pointers []byte, low, high int) (upper, unused, bad int) {
	m.runs = m.runs[:0]
	upper = high
	for at := 0; at < len(pointers); {
		id := itemID(pointers, at)
		switch {
		case id.Flags() == page.LPUnused:
			setItemID(pointers, at, 0)
			unused++
			at += page.ItemIDSize
		case !id.HasStorage():
			at += page.ItemIDSize
		default:
			to := id.Offset() + maxAlign(id.Len())
			if to > high {
				return 0, 0, at/page.ItemIDSize + 1
			}
			from, next := shiftRun(pointers, at, low, to, upper-to)
			if next == at {
				return 0, 0, at/page.ItemIDSize + 1
			}
			if last := len(m.runs) - 1; last >= 0 && m.runs[last].from == to { // a redirection lies between their line pointers
				m.runs[last].from = from
			} else {
				m.runs = append(m.runs, run{from: from, to: to})
			}
			upper -= to - from
			at = next
		}
	}
	return upper, unused, 0
}

// shiftRun adds shift to the offsets of the items that lie one below the other
// from to on and down to low, those of the line pointers from at on. It returns
// where the last of them starts and where the line pointer after it is.
func shiftRun(pointers []byte, at, low, to, shift int) (from, next int) {
	for ; at < len(pointers); at += page.ItemIDSize {
		id := itemID(pointers, at)
		off, length := id.Offset(), id.Len()
		if id.Flags() == page.LPUnused || length == 0 || off+maxAlign(length) != to || off < low {
			break
		}
		to = off
		setItemID(pointers, at, id.At(to+shift))
	}
	return to, at
}

// linePointers are the bytes of the line pointers, for loops over all of them.
func linePointers(p page.Page) []byte {
	return p[page.HeaderSize:][:p.NumItems()*page.ItemIDSize]
}

// itemID is the line pointer at at of their bytes: to the compiler one load,
// where a slice of the four bytes would be several steps.
func itemID(pointers []byte, at int) page.ItemID {
	_ = pointers[at+3]
	return page.ItemID(pointers[at]) | page.ItemID(pointers[at+1])<<8 | page.ItemID(pointers[at+2])<<16 | page.ItemID(pointers[at+3])<<24
}

// setItemID is itemID's inverse.
func setItemID(pointers []byte, at int, id page.ItemID) {
	_ = pointers[at+3]
	pointers[at], pointers[at+1], pointers[at+2], pointers[at+3] = byte(id), byte(id>>8), byte(id>>16), byte(id>>24)
}

// run is where items lie that follow each other, upwards, in the order of
// their line pointers; their order on the page is the other way around.
type run struct {
	from, to int
	later    int // the highest to of the runs after it
}

// mover moves the items of one page.
type mover struct {
	runs []run
	old  [pg.BlockSize]byte // the page before, as far as it is wanted
}

// movers are kept, for there is one to each prune record.
var movers = sync.Pool{New: func() any { return new(mover) }}

// move moves the runs to the end of the page, one below the other.
//
// Most items of a page that was compacted before lie in order still: those at
// its end stay where they are, others move up together, and only what came
// since is out of order.
func (m *mover) move(p page.Page) {
	later := 0
	for i := len(m.runs) - 1; i >= 0; i-- {
		m.runs[i].later = later
		later = max(later, m.runs[i].to)
	}
	at, copied := p.Special(), false
	for _, r := range m.runs {
		at -= r.to - r.from
		switch {
		case r.from == at: // and nothing was moved over it, for all of that is above
		case !copied && r.later <= at: // nothing is wanted of what it is moved over
			copy(p[at:], p[r.from:r.to])
		default:
			if !copied {
				high := max(r.to, r.later)
				copy(m.old[p.Upper():high], p[p.Upper():high])
				copied = true
			}
			copy(p[at:], m.old[r.from:r.to])
		}
	}
}

// pageTruncateLinePointerArray is PageTruncateLinePointerArray
// (storage/page/bufpage.c): it drops unused line pointers from the end of
// their array, but always leaves one. Items stay where they are.
func pageTruncateLinePointerArray(p page.Page) error {
	if err := checkBounds(p); err != nil {
		return err
	}
	dropUnused(p, 1)
	free := false
	for n := 1; n <= p.NumItems() && !free; n++ {
		free = p.ItemID(n).Flags() == page.LPUnused
	}
	setFreeLines(p, free)
	return nil
}
