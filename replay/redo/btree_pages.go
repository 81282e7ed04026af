package redo

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// blockOf is the block number of another block reference, 0 (P_NONE) if there is none.
func (c *call) blockOf(id uint8) pg.BlockNumber {
	if b := c.rec.Block(id); b != nil {
		return b.Number
	}
	return 0
}

// btSplit redoes a page split: the left page is rebuilt from itself and the
// record, the right one from the record.
func (c *call) btSplit(newOnLeft bool) error {
	s, err := wal.DecodeBtreeSplit(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	leaf := uint16(0)
	if s.Level == 0 {
		leaf = btLeaf
	}
	switch c.ref.ID {
	case 0:
		return c.btSplitLeft(&s, newOnLeft, leaf)
	case 1:
		c.btInit(c.blockOf(0), c.blockOf(2), s.Level, leaf)
		return c.btRestoreItems(c.ref.Data)
	case 2:
		return c.setSibling(btPrev, c.blockOf(1))
	case 3:
		return c.btClearIncompleteSplit()
	}
	return c.unexpected()
}

// leftParts is what the record holds for the left page.
type leftParts struct {
	item    []byte // new item, nil if it goes to the right page
	list    []byte // replaces the item before the new one, if a posting list is split
	highKey []byte
}

func (c *call) btLeftParts(s *wal.BtreeSplit, newOnLeft bool) (p leftParts, err error) {
	data := c.ref.Data
	take := func() ([]byte, error) {
		size := maxAlign(tupleSize(data))
		if size < indexTupleHeader || size > len(data) {
			return nil, c.errorf("item of %d bytes in %d bytes of block data", size, len(data))
		}
		item := data[:size]
		data = data[size:]
		return item, nil
	}
	if newOnLeft || s.PostingOffset != 0 {
		if p.item, err = take(); err != nil {
			return p, err
		}
	}
	if s.PostingOffset != 0 {
		if p.item, p.list, err = c.splitPosting(p.item, s.NewItem-1, s.PostingOffset); err != nil {
			return p, err
		}
		p.list = p.list[:min(len(p.list), maxAlign(tupleSize(p.list)))]
	}
	p.highKey, err = take()
	if err == nil && len(data) != 0 {
		err = c.errorf("%d bytes of block data behind the high key", len(data))
	}
	return p, err
}

func (c *call) btSplitLeft(s *wal.BtreeSplit, newOnLeft bool, leaf uint16) error {
	o, err := c.btOpaque()
	if err != nil {
		return err
	}
	parts, err := c.btLeftParts(s, newOnLeft)
	if err != nil {
		return err
	}
	if err := c.btCheckSplit(s, newOnLeft, o.firstData(), parts.list != nil); err != nil {
		return err
	}
	var buf [pg.BlockSize]byte
	left := c.emptyCopy(&buf)
	next := 1
	add := func(item []byte) error {
		next++
		return c.add(left, item, next-1)
	}
	if err := add(parts.highKey); err != nil {
		return err
	}
	insert := func(off int) error {
		if newOnLeft && off == s.NewItem {
			return add(parts.item)
		}
		return nil
	}
	for off := o.firstData(); off < s.FirstRight; off++ {
		item := c.page.Item(off)
		if parts.list != nil && off == s.NewItem-1 {
			item = parts.list
		} else if err := insert(off); err != nil {
			return err
		}
		if err := add(item); err != nil {
			return err
		}
	}
	if err := insert(s.FirstRight); err != nil {
		return err
	}
	copy(c.page, left)
	o.setFlags(btIncompleteSplit | leaf)
	o.setU32(btNext, uint32(c.blockOf(1)))
	o.clearCycleID()
	return nil
}

// btCheckSplit says whether all of a split's items have their place on the
// left page, so that none gets lost.
func (c *call) btCheckSplit(s *wal.BtreeSplit, newOnLeft bool, first int, list bool) error {
	switch items := c.page.NumItems(); {
	case s.FirstRight < first || s.FirstRight > items+1:
		return c.errorf("first right item %d of items %d to %d", s.FirstRight, first, items)
	case newOnLeft && (s.NewItem < first || s.NewItem > s.FirstRight):
		return c.errorf("new left item %d of items %d to %d", s.NewItem, first, s.FirstRight)
	case list && (s.NewItem-1 < first || s.NewItem > s.FirstRight):
		return c.errorf("posting list %d of left items %d to %d", s.NewItem-1, first, s.FirstRight-1)
	}
	return nil
}

// emptyCopy makes of buf a page without items and with this page's special
// area (PageGetTempPageCopySpecial).
func (c *call) emptyCopy(buf *[pg.BlockSize]byte) page.Page {
	p := page.Page(buf[:])
	pageInit(p, opaqueSize)
	copy(p[p.Special():], c.page[p.Special():])
	return p
}

// btDedup merges runs of items with equal keys into posting lists.
func (c *call) btDedup() error {
	intervals, err := wal.DecodeBtreeDedup(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.btOpaque()
	if err != nil {
		return err
	}
	var buf [pg.BlockSize]byte
	var tuple tupleBuffer
	merged := c.emptyCopy(&buf)
	first := o.firstData()
	if first > 1 {
		if err := c.add(merged, c.page.Item(btHighKey), btHighKey); err != nil {
			return err
		}
	}
	next, done := first, 0
	for off := first; off <= c.page.NumItems(); next++ {
		group := 1
		if v := intervals.At(done); v.Base == off && done < intervals.Len() {
			group = v.Items
			done++
		}
		item, err := c.mergeItems(off, group, &tuple)
		if err != nil {
			return err
		}
		if err := c.add(merged, item, next); err != nil {
			return err
		}
		off += group
	}
	if done != intervals.Len() {
		return c.errorf("%d of %d intervals do not fit the page", intervals.Len()-done, intervals.Len())
	}
	copy(c.page, merged)
	o.setFlags(o.flags() &^ btHasGarbage)
	return nil
}

// mergeItems makes one item of the group items from offset number off on, in
// buf if there are several.
func (c *call) mergeItems(off, group int, buf *tupleBuffer) ([]byte, error) {
	if group < 1 || off+group-1 > c.page.NumItems() {
		return nil, c.errorf("interval of %d items from offset number %d on a page of %d", group, off, c.page.NumItems())
	}
	base, err := c.parseTuple(c.page.Item(off))
	if err != nil {
		return nil, err
	}
	if group == 1 {
		return c.page.Item(off)[:tupleSize(c.page.Item(off))], nil
	}
	merged := append(append(buf[:0], base.key...), base.tids...)
	for i := 1; i < group; i++ {
		t, err := c.parseTuple(c.page.Item(off + i))
		if err != nil {
			return nil, err
		}
		if len(merged)+len(t.tids) > maxTupleOnPage {
			return nil, c.errorf("posting list of more than %d bytes", maxTupleOnPage-len(base.key))
		}
		merged = append(merged, t.tids...)
	}
	return formTuple(merged, len(base.key)), nil
}

// btDelete redoes VACUUM and DELETE.
func (c *call) btDelete() error {
	d, err := wal.DecodeBtreeDeletion(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.btOpaque()
	if err != nil {
		return err
	}
	for i := range d.Updated.Len() {
		positions, ok := d.NextUpdate()
		if !ok {
			return c.errorf("block data ends in update %d of %d", i, d.Updated.Len())
		}
		if err := c.shrinkPosting(int(d.Updated.At(i)), positions); err != nil {
			return err
		}
	}
	if n := d.Unread(); n != 0 {
		return c.errorf("%d bytes of block data behind %d updates", n, d.Updated.Len())
	}
	if d.Deleted.Len() > 0 {
		if err := pageIndexMultiDelete(c.page, d.Deleted); err != nil {
			return c.errorf("delete %d items: %v", d.Deleted.Len(), err)
		}
	}
	o.setFlags(o.flags() &^ btHasGarbage)
	if c.rec.Op() == wal.BtreeVacuum && c.rec.Major >= 18 {
		o.clearCycleID()
	}
	return nil
}

// shrinkPosting takes heap TIDs out of a posting list, given their positions
// in ascending order (_bt_update_posting, access/nbtree/nbtdedup.c).
func (c *call) shrinkPosting(off int, positions wal.Offsets) error {
	t, err := c.parseTuple(c.page.Item(off))
	if err != nil {
		return err
	}
	var buf tupleBuffer
	left := buf[:0]
	left = append(left, t.key...)
	next := 0
	for i := range len(t.tids) / tidSize {
		if next < positions.Len() && int(positions.At(next)) == i {
			next++
			continue
		}
		left = append(left, t.tids[i*tidSize:(i+1)*tidSize]...)
	}
	if !t.posting || next != positions.Len() || len(left) == len(t.key) {
		return c.errorf("delete %d of %d heap TIDs of the item at offset number %d", positions.Len(), len(t.tids)/tidSize, off)
	}
	if err := pageIndexTupleOverwrite(c.page, off, formTuple(left, len(t.key))); err != nil {
		return c.errorf("shrink the posting list at offset number %d: %v", off, err)
	}
	return nil
}

// btMarkHalfdead redoes the first step of deleting a page.
func (c *call) btMarkHalfdead() error {
	h, err := wal.DecodeBtreeHalfdead(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		c.btInit(h.Left, h.Right, 0, btHalfDead|btLeaf)
		return c.addTopParent(h.TopParent)
	case 1:
		return c.removeDownlink(h.ParentOffset)
	}
	return c.unexpected()
}

// addTopParent adds the dummy high key of a half-dead page: no attributes, and
// the top parent's block in t_tid.
func (c *call) addTopParent(b pg.BlockNumber) error {
	var t [indexTupleHeader]byte
	setTIDBlock(t[:], uint32(b))
	binary.LittleEndian.PutUint16(t[tupleInfoAt:], indexTupleHeader|tupleAltTID)
	return c.add(c.page, t[:], btHighKey)
}

// removeDownlink points the downlink at off to the next child and removes the next downlink.
func (c *call) removeDownlink(off int) error {
	if _, err := c.btOpaque(); err != nil {
		return err
	}
	here, next := c.page.Item(off), c.page.Item(off+1)
	if len(here) < indexTupleHeader || len(next) < indexTupleHeader {
		return c.errorf("no downlinks at offset numbers %d and %d", off, off+1)
	}
	setTIDBlock(here, tidBlock(next))
	if err := pageIndexTupleDelete(c.page, off+1); err != nil {
		return c.errorf("delete the downlink at offset number %d: %v", off+1, err)
	}
	return nil
}

// btUnlink redoes the second step of deleting a page.
func (c *call) btUnlink() error {
	u, err := wal.DecodeBtreeUnlink(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	switch c.ref.ID {
	case 0:
		flags := uint16(btDeleted | btHasFullXID)
		if u.Level == 0 {
			flags |= btLeaf
		}
		c.btInit(u.Left, u.Right, u.Level, flags)
		binary.LittleEndian.PutUint64(c.page[page.HeaderSize:], u.SafeXID)
		c.page.SetLower(page.HeaderSize + btDeletedSize)
		return nil
	case 1:
		return c.setSibling(btNext, u.Right)
	case 2:
		return c.setSibling(btPrev, u.Left)
	case 3:
		c.btInit(u.LeafLeft, u.LeafRight, 0, btHalfDead|btLeaf)
		return c.addTopParent(u.LeafTopParent)
	case 4:
		return c.btMetaPage()
	}
	return c.unexpected()
}
