package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of the pages of a posting tree (access/ginblock.h): behind the page
// header the right bound, six bytes and padding, then the data: on inner pages
// PostingItems (child block, key), on leaves compressed posting lists, called
// segments. pd_lower is the end of the data.
const (
	ginDataStart   = page.HeaderSize + 8
	ginDataEnd     = pg.BlockSize - ginSpecialSize
	ginDataMax     = ginDataEnd - ginDataStart // GinDataPageMaxDataSize
	ginPostingItem = 10                        // sizeof(PostingItem)
)

// ginSetData replaces the data of a posting tree's page. Bytes behind it stay.
func (c *call) ginSetData(data []byte) {
	copy(c.page[ginDataStart:ginDataEnd], data)
	c.page.SetLower(ginDataStart + len(data))
}

// ginCreateTree redoes the root of a new posting tree.
func (c *call) ginCreateTree() error {
	lists, err := wal.DecodeGinCreatePTree(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if len(lists) > ginDataMax {
		return c.errorf("posting lists of %d bytes, a page holds %d", len(lists), ginDataMax)
	}
	if _, err := c.ginInit(ginData | ginLeaf | ginCompressed); err != nil {
		return err
	}
	c.ginSetData(lists)
	return nil
}

// ginItems finds the PostingItems of an inner page: those it has, and the room
// for all it could have.
func (c *call) ginItems() (o ginOpaque, n int, room []byte, err error) {
	if o, err = c.ginPage(ginData|ginLeaf, ginData); err != nil {
		return nil, 0, nil, err
	}
	if n = o.maxOff(); n*ginPostingItem > ginDataMax {
		return nil, 0, nil, c.errorf("%d posting items, a page holds %d", n, ginDataMax/ginPostingItem)
	}
	return o, n, c.page[ginDataStart:ginDataEnd], nil
}

// ginInsertDownlink redoes an insertion into an inner page of a posting tree:
// the item at the place gets the right half of the split child, the new item
// before it has the left half.
func (c *call) ginInsertDownlink(right pg.BlockNumber) error {
	off, item, err := wal.DecodeGinDownlink(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, n, items, err := c.ginItems()
	switch {
	case err != nil:
		return err
	case off < 1 || off > n:
		return c.errorf("posting item %d of %d", off, n)
	case (n+1)*ginPostingItem > ginDataMax:
		return c.errorf("no room for one more than %d posting items", n)
	}
	at, end := (off-1)*ginPostingItem, n*ginPostingItem
	setTIDBlock(items[at:], uint32(right))
	copy(items[at+ginPostingItem:], items[at:end])
	copy(items[at:], item)
	o.setMaxOff(n + 1)
	c.page.SetLower(ginDataStart + end + ginPostingItem)
	return nil
}

// ginRemoveDownlink takes a PostingItem out of an inner page
// (GinPageDeletePostingItem).
func (c *call) ginRemoveDownlink(off int) error {
	o, n, items, err := c.ginItems()
	switch {
	case err != nil:
		return err
	case off < 1 || off > n:
		return c.errorf("delete posting item %d of %d", off, n)
	}
	at, end := (off-1)*ginPostingItem, n*ginPostingItem
	copy(items[at:], items[at+ginPostingItem:end])
	o.setMaxOff(n - 1)
	c.page.SetLower(ginDataStart + end - ginPostingItem)
	return nil
}

// ginSegments reads a leaf's segments one after the other and writes those
// that are to be its segments now.
type ginSegments struct {
	c    *call
	left []byte // segments not yet read
	next int    // number of the first of them
	n    int    // bytes written
	out  [ginDataMax]byte
}

// take reads one segment.
func (s *ginSegments) take() ([]byte, error) {
	size := wal.GinListSize(s.left)
	if size == 0 || size > len(s.left) {
		return nil, s.c.errorf("segment %d of %d bytes, %d bytes are left on the page", s.next, size, len(s.left))
	}
	seg := s.left[:size]
	s.left = s.left[size:]
	s.next++
	return seg, nil
}

// put writes segments.
func (s *ginSegments) put(b []byte) error {
	if len(b) > len(s.out)-s.n {
		return s.c.errorf("segments of %d bytes, a page holds %d", s.n+len(b), ginDataMax)
	}
	s.n += copy(s.out[s.n:], b)
	return nil
}

// apply does one action.
func (s *ginSegments) apply(a *wal.GinAction) error {
	if a.Segment < s.next {
		return s.c.errorf("action on segment %d behind segment %d", a.Segment, s.next)
	}
	for s.next < a.Segment {
		seg, err := s.take()
		if err == nil {
			err = s.put(seg)
		}
		if err != nil {
			return err
		}
	}
	if a.Kind == wal.GinSegmentInsert {
		return s.put(a.List)
	}
	old, err := s.take()
	if err != nil {
		return err
	}
	switch a.Kind {
	case wal.GinSegmentReplace:
		return s.put(a.List)
	case wal.GinSegmentAdd:
		merged, err := addToPostingList(old, a.Items)
		if err != nil {
			return s.c.errorf("add %d items to segment %d: %v", len(a.Items)/tidSize, a.Segment, err)
		}
		return s.put(merged)
	}
	return nil // GinSegmentDelete
}

// ginRecompress redoes changes of the segments of a leaf (ginRedoRecompress).
func (c *call) ginRecompress() error {
	actions, err := wal.DecodeGinActions(c.rec, c.ref)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.ginPage(ginData|ginLeaf, ginData|ginLeaf)
	if err != nil {
		return err
	}
	if err := c.ginCompressPage(o); err != nil {
		return err
	}
	end := c.page.Lower()
	if end < ginDataStart || end > ginDataEnd {
		return c.errorf("the posting lists end at %d", end)
	}
	s := ginSegments{c: c, left: c.page[ginDataStart:end]}
	for {
		a, ok, err := actions.Next()
		if err != nil {
			return c.errorf("%v", err)
		}
		if !ok {
			break
		}
		if err := s.apply(&a); err != nil {
			return err
		}
	}
	if err := s.put(s.left); err != nil {
		return err
	}
	c.ginSetData(s.out[:s.n])
	return nil
}

// ginCompressPage turns a leaf with uncompressed heap TIDs, as PostgreSQL
// before 9.4 wrote them, into one with a single segment.
func (c *call) ginCompressPage(o ginOpaque) error {
	if o.flags()&ginCompressed != 0 {
		return nil
	}
	n := o.maxOff()
	if n*tidSize > ginDataMax {
		return c.errorf("%d heap TIDs, a page holds %d", n, ginDataMax/tidSize)
	}
	var list []byte
	if n > 0 {
		var err error
		if list, err = compressTIDs(c.page[ginDataStart : ginDataStart+n*tidSize]); err != nil {
			return c.errorf("compress %d heap TIDs: %v", n, err)
		}
	}
	c.ginSetData(list)
	o.add(ginCompressed)
	o.setMaxOff(0)
	return nil
}
