package redo

import (
	"encoding/binary"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// opaque16 is the special area of a btree, hash or GiST page: 16 bytes, with
// flags at byte 12 and, but for btrees, a word at the end that says whose it is.
type opaque16 []byte

const (
	opaqueSize   = 16
	opaqueFlags  = 12
	opaquePageID = 14
	invalidBlock = uint32(pg.InvalidBlock)
)

// opaqueOf is the special area of a page that is known to have one of 16 bytes.
func opaqueOf(p page.Page) opaque16 { return opaque16(p[pg.BlockSize-opaqueSize:]) }

func (o opaque16) u32(at int) uint32       { return binary.LittleEndian.Uint32(o[at:]) }
func (o opaque16) setU32(at int, v uint32) { binary.LittleEndian.PutUint32(o[at:], v) }
func (o opaque16) flags() uint16           { return binary.LittleEndian.Uint16(o[opaqueFlags:]) }
func (o opaque16) setFlags(f uint16)       { binary.LittleEndian.PutUint16(o[opaqueFlags:], f) }
func (o opaque16) pageID() uint16          { return binary.LittleEndian.Uint16(o[opaquePageID:]) }
func (o opaque16) setPageID(id uint16)     { binary.LittleEndian.PutUint16(o[opaquePageID:], id) }

// opaque finds the special area of a page that must say that it is am's.
func (c *call) opaque(id uint16, am string) (opaque16, error) {
	if c.page.Special() != pg.BlockSize-opaqueSize {
		return nil, c.errorf("the page's special area starts at %d: not a %s page", c.page.Special(), am)
	}
	o := opaqueOf(c.page)
	if o.pageID() != id {
		return nil, c.errorf("the page's identification is 0x%04X: not a %s page", o.pageID(), am)
	}
	return o, nil
}

// unexpected is the error of a block reference that the operation has not.
func (c *call) unexpected() error { return c.errorf("unexpected block reference %d", c.ref.ID) }

// blockWord is the block data of a reference that has one uint32.
func (c *call) blockWord() (uint32, error) {
	if len(c.ref.Data) != 4 {
		return 0, c.errorf("block data of %d bytes, want 4", len(c.ref.Data))
	}
	return binary.LittleEndian.Uint32(c.ref.Data), nil
}

// deleteItems is pageIndexMultiDelete with an error that names the call.
func (c *call) deleteItems(offsets wal.Offsets) error {
	if err := pageIndexMultiDelete(c.page, offsets); err != nil {
		return c.errorf("delete %d items: %v", offsets.Len(), err)
	}
	return nil
}

var errItemOutside = errors.New("the item lies outside of the page's items")

// storedItem checks that offset number n exists and that its item, rounded up
// to 8 bytes, lies between pd_upper and pd_special.
func storedItem(p page.Page, n int) (off, size int, err error) {
	if err := checkBounds(p); err != nil {
		return 0, 0, err
	}
	if n < 1 || n > p.NumItems() {
		return 0, 0, fmt.Errorf("offset number %d is not in 1 to %d", n, p.NumItems())
	}
	id := p.ItemID(n)
	off, size = id.Offset(), maxAlign(id.Len())
	if off < p.Upper() || off+size > p.Special() || off%8 != 0 {
		return 0, 0, errItemOutside
	}
	return off, size, nil
}

// shiftItems moves the items between pd_upper and end by delta bytes, and the
// line pointers of those that start before limit.
func shiftItems(p page.Page, end, limit, delta int) {
	upper := p.Upper()
	copy(p[upper+delta:end+delta], p[upper:end])
	p.SetUpper(upper + delta)
	for n := 1; n <= p.NumItems(); n++ {
		if id := p.ItemID(n); id.HasStorage() && id.Offset() < limit {
			p.SetItemID(n, page.MakeItemID(id.Offset()+delta, id.Flags(), id.Len()))
		}
	}
}

// pageIndexTupleDelete is PageIndexTupleDelete (storage/page/bufpage.c): it
// takes out one item and its line pointer and closes both gaps.
func pageIndexTupleDelete(p page.Page, n int) error {
	off, size, err := storedItem(p, n)
	if err != nil {
		return err
	}
	at := page.HeaderSize + (n-1)*page.ItemIDSize
	copy(p[at:], p[at+page.ItemIDSize:p.Lower()])
	p.SetLower(p.Lower() - page.ItemIDSize)
	shiftItems(p, off, off+1, size)
	return nil
}

// pageIndexMultiDelete is PageIndexMultiDelete (storage/page/bufpage.c) for
// offset numbers in ascending order. One or two items are taken out one by
// one, from the last; more make PostgreSQL rebuild the page, which leaves the
// items in the order of their line pointers.
func pageIndexMultiDelete(p page.Page, offsets wal.Offsets) error {
	n := offsets.Len()
	if n <= 2 {
		for i := n - 1; i >= 0; i-- {
			if err := pageIndexTupleDelete(p, int(offsets.At(i))); err != nil {
				return err
			}
		}
		return nil
	}
	if err := checkItems(p); err != nil {
		return err
	}
	kept, next := 0, 0
	for item := 1; item <= p.NumItems(); item++ {
		if next < n && int(offsets.At(next)) == item {
			next++
			continue
		}
		kept++
		p.SetItemID(kept, p.ItemID(item))
	}
	if next != n {
		return errors.New("the offset numbers to delete are not ascending or not on the page")
	}
	p.SetLower(page.HeaderSize + kept*page.ItemIDSize)
	_, err := compactItems(p)
	return err
}

// pageIndexTupleOverwrite is PageIndexTupleOverwrite (storage/page/bufpage.c):
// a new item takes the place of an old one, the items before it move.
func pageIndexTupleOverwrite(p page.Page, n int, item []byte) error {
	off, size, err := storedItem(p, n)
	if err != nil {
		return err
	}
	delta := size - maxAlign(len(item))
	if p.Upper()+delta < p.Lower() || off+delta+len(item) > pg.BlockSize {
		return errItemNoRoom
	}
	if delta != 0 {
		shiftItems(p, off, off+1, delta)
	}
	p.SetItemID(n, page.MakeItemID(off+delta, p.ItemID(n).Flags(), len(item)))
	copy(p[off+delta:], item)
	return nil
}

// pageIndexTupleDeleteNoCompact is PageIndexTupleDeleteNoCompact
// (storage/page/bufpage.c): it takes out one item, whose line pointer becomes
// unused or, if it is the last one, goes too.
func pageIndexTupleDeleteNoCompact(p page.Page, n int) error {
	off, size, err := storedItem(p, n)
	if err != nil {
		return err
	}
	if n < p.NumItems() {
		p.SetItemID(n, 0)
	} else {
		p.SetLower(p.Lower() - page.ItemIDSize)
	}
	shiftItems(p, off, off+1, size)
	return nil
}
