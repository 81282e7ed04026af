package wal

import "redoubt/internal/pg"

// Operations of resource manager Gin (access/ginxlog.h).
const (
	GinCreatePTree        = 0x10
	GinInsert             = 0x20
	GinSplit              = 0x30
	GinVacuumPage         = 0x40
	GinDeletePage         = 0x50
	GinUpdateMetaPage     = 0x60
	GinInsertListPage     = 0x70
	GinDeleteListPages    = 0x80
	GinVacuumDataLeafPage = 0x90
)

// Bits of ginxlogInsert and ginxlogSplit.
const (
	ginInsertIsData = 0x01
	ginInsertIsLeaf = 0x02
	ginSplitRoot    = 0x04
)

// GinMetaSize is sizeof(GinMetaPageData) in bytes.
const GinMetaSize = 56

// DecodeGinCreatePTree decodes ginxlogCreatePostingTree: the compressed
// posting lists of a new posting tree's root.
func DecodeGinCreatePTree(r *Record) ([]byte, error) {
	c := newCursor(r.Main)
	size := c.u32()
	lists := c.rest()
	if c.err() != nil || uint64(size) != uint64(len(lists)) {
		return nil, r.bodyError("posting lists of %d bytes", size)
	}
	return lists, nil
}

// GinInsertion is ginxlogInsert. Its payload is the data of block 0 and depends
// on the kind of tree and page.
type GinInsertion struct {
	Data, Leaf bool           // posting tree, not entry tree; leaf page
	RightChild pg.BlockNumber // of an inner page: right half of the child whose split is completed
}

// DecodeGinInsert decodes the main data of INSERT.
func DecodeGinInsert(r *Record) (GinInsertion, error) {
	c := newCursor(r.Main)
	flags := c.u16()
	i := GinInsertion{Data: flags&ginInsertIsData != 0, Leaf: flags&ginInsertIsLeaf != 0}
	if !i.Leaf {
		c.skip(4) // left child
		i.RightChild = c.blockID()
	}
	if c.err() != nil || c.remaining() > 0 {
		return i, r.bodyError("flags %#x", flags)
	}
	return i, nil
}

// blockID reads a BlockIdData: the high half first.
func (c *cursor) blockID() pg.BlockNumber {
	hi, lo := c.u16(), c.u16()
	return pg.BlockNumber(hi)<<16 | pg.BlockNumber(lo)
}

// GinEntry is ginxlogInsertEntry.
type GinEntry struct {
	Offset  int
	Replace bool   // the tuple at Offset is deleted first
	Tuple   []byte // aliases the record
}

// DecodeGinEntry decodes the block data of an INSERT into the entry tree.
func DecodeGinEntry(r *Record, b *BlockRef) (GinEntry, error) {
	c := newCursor(b.Data)
	e := GinEntry{Offset: int(c.u16()), Replace: c.u8() != 0}
	c.align(2)
	e.Tuple = c.rest()
	if c.err() != nil {
		return e, r.bodyError("block data of %d bytes", len(b.Data))
	}
	return e, nil
}

// DecodeGinDownlink decodes ginxlogInsertDataInternal, the block data of an
// INSERT into an inner page of a posting tree: where, and the PostingItem.
func DecodeGinDownlink(r *Record, b *BlockRef) (offset int, item []byte, err error) {
	const size = 2 + 10
	c := newCursor(b.Data)
	offset, item = int(c.u16()), c.rest()
	if len(b.Data) != size {
		return 0, nil, r.bodyError("block data of %d bytes, want %d", len(b.Data), size)
	}
	return offset, item, nil
}

// GinAction is what happens to one segment of a posting tree's leaf.
type GinAction struct {
	Segment int // number of the segment, counted on the page before
	Kind    uint8
	List    []byte // GinSegmentInsert, GinSegmentReplace: the whole new segment
	Items   []byte // GinSegmentAdd: heap TIDs, six bytes each
}

// Kinds of GinAction.
const (
	GinSegmentDelete  = 1
	GinSegmentInsert  = 2
	GinSegmentReplace = 3
	GinSegmentAdd     = 4
)

// GinActions is ginxlogRecompressDataLeaf: changes of segments, in order.
type GinActions struct {
	count int
	c     cursor
	r     *Record
}

// DecodeGinActions decodes the block data of an INSERT into a posting tree's
// leaf and of VACUUM_DATA_LEAF_PAGE.
func DecodeGinActions(r *Record, b *BlockRef) (GinActions, error) {
	a := GinActions{c: newCursor(b.Data), r: r}
	a.count = int(a.c.u16())
	if !a.c.fits(uint32(a.count), 2) {
		return a, r.bodyError("%d actions in block data of %d bytes", a.count, len(b.Data))
	}
	return a, nil
}

// Next reads one action; ok is false behind the last one.
func (a *GinActions) Next() (action GinAction, ok bool, err error) {
	if a.count == 0 {
		if n := a.c.remaining(); n != 0 {
			return action, false, a.r.bodyError("%d bytes of block data behind the last action", n)
		}
		return action, false, nil
	}
	a.count--
	action = GinAction{Segment: int(a.c.u8()), Kind: a.c.u8()}
	switch action.Kind {
	case GinSegmentInsert, GinSegmentReplace:
		action.List = a.c.ginList()
	case GinSegmentAdd:
		action.Items = a.c.bytes(6 * int(a.c.u16()))
	case GinSegmentDelete:
	default:
		return action, false, a.r.bodyError("action %d on a segment", action.Kind)
	}
	if a.c.err() != nil {
		return action, false, a.r.bodyError("block data ends within an action")
	}
	return action, true, nil
}

// ginList reads a GinPostingList: first item, number of bytes, bytes, padding.
func (c *cursor) ginList() []byte {
	size := GinListSize(c.buf[min(c.pos, len(c.buf)):])
	if size == 0 {
		c.bad = true
	}
	return c.bytes(size)
}

// GinListSize is SizeOfGinPostingList: the size in bytes of the segment that b
// begins with, padding included; 0 if b is too short for its head.
func GinListSize(b []byte) int {
	const head = 8
	if len(b) < head {
		return 0
	}
	n := int(b[6]) | int(b[7])<<8
	return head + (n+1)&^1
}

// GinDeletion is ginxlogDeletePage.
type GinDeletion struct {
	ParentOffset int // of the downlink
	RightLink    pg.BlockNumber
	DeleteXID    pg.XID
}

// DecodeGinDeletePage decodes DELETE_PAGE.
func DecodeGinDeletePage(r *Record) (GinDeletion, error) {
	c, err := r.mainOf(12)
	d := GinDeletion{ParentOffset: int(c.u16())}
	c.align(4)
	d.RightLink, d.DeleteXID = pg.BlockNumber(c.u32()), pg.XID(c.u32())
	return d, err
}

// GinMetaUpdate is ginxlogUpdateMeta.
type GinMetaUpdate struct {
	Meta         []byte // GinMetaPageData
	PrevTail     pg.BlockNumber
	NewRightLink pg.BlockNumber
	Tuples       int // inserted into the tail page, block 1; if none, and PrevTail is valid, that is relinked
}

// DecodeGinUpdateMeta decodes UPDATE_META_PAGE.
func DecodeGinUpdateMeta(r *Record) (GinMetaUpdate, error) {
	c, err := r.mainOf(88)
	c.skip(12) // locator
	c.align(8)
	u := GinMetaUpdate{Meta: c.bytes(GinMetaSize), PrevTail: pg.BlockNumber(c.u32()), NewRightLink: pg.BlockNumber(c.u32())}
	n := int32(c.u32())
	if err == nil && n < 0 {
		err = r.bodyError("%d tuples", n)
	}
	u.Tuples = int(n)
	return u, err
}

// DecodeGinInsertListPage decodes INSERT_LISTPAGE: the page's right link and
// how many tuples the block data has.
func DecodeGinInsertListPage(r *Record) (right pg.BlockNumber, tuples int, err error) {
	c, err := r.mainOf(8)
	right = pg.BlockNumber(c.u32())
	n := int32(c.u32())
	if err == nil && n < 0 {
		err = r.bodyError("%d tuples", n)
	}
	return right, int(n), err
}

// DecodeGinDeleteListPages decodes DELETE_LISTPAGE: the new GinMetaPageData and
// how many pages, blocks 1 and up, are deleted.
func DecodeGinDeleteListPages(r *Record) (meta []byte, pages int, err error) {
	c, err := r.mainOf(64)
	meta = c.bytes(GinMetaSize)
	n := int32(c.u32())
	if err == nil && (n < 0 || n > maxBlockID) {
		err = r.bodyError("%d pages", n)
	}
	return meta, int(n), err
}

// GinSplitFlags is what DecodeGinSplit finds out.
type GinSplitFlags struct {
	Leaf bool // otherwise block 3, if any, is the child whose split is completed
	Root bool // block 2 is the root
}

// DecodeGinSplit decodes ginxlogSplit, whose pages are full-page images.
func DecodeGinSplit(r *Record) (GinSplitFlags, error) {
	c, err := r.mainOf(28)
	c.skip(24) // locator, right link, children
	flags := c.u16()
	return GinSplitFlags{Leaf: flags&ginInsertIsLeaf != 0, Root: flags&ginSplitRoot != 0}, err
}
