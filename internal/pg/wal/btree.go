package wal

import (
	"fmt"

	"redoubt/internal/pg"
)

// Operations of resource manager Btree (access/nbtxlog.h).
const (
	BtreeInsertLeaf       = 0x00
	BtreeInsertUpper      = 0x10
	BtreeInsertMeta       = 0x20
	BtreeSplitL           = 0x30
	BtreeSplitR           = 0x40
	BtreeInsertPost       = 0x50
	BtreeDedup            = 0x60
	BtreeDelete           = 0x70
	BtreeUnlinkPage       = 0x80
	BtreeUnlinkPageMeta   = 0x90
	BtreeNewroot          = 0xA0
	BtreeMarkPageHalfdead = 0xB0
	BtreeVacuum           = 0xC0
	BtreeReusePage        = 0xD0
	BtreeMetaCleanup      = 0xE0
)

// bodyError says that a record's body is not what its operation asks for.
func (r *Record) bodyError(format string, args ...any) error {
	return fmt.Errorf("%s %s record of %d bytes main data: %s",
		r.Rmgr, OpName(r.Rmgr, r.Info, r.Major), len(r.Main), fmt.Sprintf(format, args...))
}

// mainOf reads main data of exactly n bytes.
func (r *Record) mainOf(n int) (cursor, error) {
	if len(r.Main) != n {
		return cursor{}, r.bodyError("want %d", n)
	}
	return newCursor(r.Main), nil
}

// DecodeBtreeInsert decodes xl_btree_insert: the new item's offset number.
func DecodeBtreeInsert(r *Record) (offset int, err error) {
	c, err := r.mainOf(2)
	return int(c.u16()), err
}

// BtreeSplit is xl_btree_split.
type BtreeSplit struct {
	Level         uint32
	FirstRight    int // first of the old page's items that goes to the right page
	NewItem       int // the new item's offset number
	PostingOffset int // where the posting list before the new item is split, 0 if it is not
}

// DecodeBtreeSplit decodes SPLIT_L and SPLIT_R.
func DecodeBtreeSplit(r *Record) (BtreeSplit, error) {
	c, err := r.mainOf(10)
	return BtreeSplit{Level: c.u32(), FirstRight: int(c.u16()), NewItem: int(c.u16()), PostingOffset: int(c.u16())}, err
}

// BtreeInterval is BTDedupInterval: Items items from offset number Base on
// become one posting list.
type BtreeInterval struct{ Base, Items int }

// BtreeIntervals is an array of intervals as it stands in the record.
type BtreeIntervals []byte

// Len is the number of intervals.
func (v BtreeIntervals) Len() int { return len(v) / 4 }

// At is interval i, zero beyond the end.
func (v BtreeIntervals) At(i int) BtreeInterval {
	if i < 0 || i >= v.Len() {
		return BtreeInterval{}
	}
	c := newCursor(v[i*4:])
	return BtreeInterval{Base: int(c.u16()), Items: int(c.u16())}
}

// DecodeBtreeDedup decodes DEDUP with the data of its block.
func DecodeBtreeDedup(r *Record, b *BlockRef) (BtreeIntervals, error) {
	c, err := r.mainOf(2)
	if err != nil {
		return nil, err
	}
	if n := int(c.u16()); n*4 != len(b.Data) {
		return nil, r.bodyError("%d intervals in %d bytes", n, len(b.Data))
	}
	return BtreeIntervals(b.Data), nil
}

// BtreeDeletion is the common part of VACUUM and DELETE: items to delete, and
// posting lists that lose some of their heap TIDs.
type BtreeDeletion struct {
	Deleted Offsets
	Updated Offsets
	updates cursor
}

// NextUpdate returns, for the next of Updated, the positions in its posting
// list that are deleted; ok is false if the data ends early.
func (d *BtreeDeletion) NextUpdate() (positions Offsets, ok bool) {
	n := int(d.updates.u16())
	positions = Offsets(d.updates.bytes(2 * n))
	return positions, d.updates.err() == nil
}

// Unread is the number of bytes behind the updates that NextUpdate returned.
func (d *BtreeDeletion) Unread() int { return d.updates.remaining() }

// DecodeBtreeDeletion decodes VACUUM and DELETE (xl_btree_vacuum,
// xl_btree_delete; since 16 the latter says whether it is a catalog's).
func DecodeBtreeDeletion(r *Record, b *BlockRef) (BtreeDeletion, error) {
	size, skip := 4, 0
	if r.Op() == BtreeDelete {
		size, skip = 8, 4
		if r.Major >= 16 {
			size = 9
		}
	}
	c, err := r.mainOf(size)
	if err != nil {
		return BtreeDeletion{}, err
	}
	c.skip(skip)
	deleted, updated := int(c.u16()), int(c.u16())
	data := newCursor(b.Data)
	d := BtreeDeletion{Deleted: data.offsets(deleted), Updated: data.offsets(updated)}
	if data.err() != nil {
		return BtreeDeletion{}, r.bodyError("%d deletions and %d updates in %d bytes", deleted, updated, len(b.Data))
	}
	d.updates = newCursor(data.rest())
	return d, nil
}

// BtreeHalfdead is xl_btree_mark_page_halfdead.
type BtreeHalfdead struct {
	ParentOffset                 int // of the downlink removed from the parent
	Leaf, Left, Right, TopParent pg.BlockNumber
}

// DecodeBtreeHalfdead decodes MARK_PAGE_HALFDEAD.
func DecodeBtreeHalfdead(r *Record) (BtreeHalfdead, error) {
	c, err := r.mainOf(20)
	h := BtreeHalfdead{ParentOffset: int(c.u16())}
	c.align(4)
	h.Leaf, h.Left = pg.BlockNumber(c.u32()), pg.BlockNumber(c.u32())
	h.Right, h.TopParent = pg.BlockNumber(c.u32()), pg.BlockNumber(c.u32())
	return h, err
}

// BtreeUnlink is xl_btree_unlink_page.
type BtreeUnlink struct {
	Left, Right                        pg.BlockNumber // siblings of the page deleted
	Level                              uint32
	SafeXID                            uint64 // full transaction id
	LeafLeft, LeafRight, LeafTopParent pg.BlockNumber
}

// DecodeBtreeUnlink decodes UNLINK_PAGE and UNLINK_PAGE_META.
func DecodeBtreeUnlink(r *Record) (BtreeUnlink, error) {
	c, err := r.mainOf(36)
	u := BtreeUnlink{Left: pg.BlockNumber(c.u32()), Right: pg.BlockNumber(c.u32()), Level: c.u32()}
	c.align(8)
	u.SafeXID = c.u64()
	u.LeafLeft, u.LeafRight = pg.BlockNumber(c.u32()), pg.BlockNumber(c.u32())
	u.LeafTopParent = pg.BlockNumber(c.u32())
	return u, err
}

// DecodeBtreeNewroot decodes xl_btree_newroot: the level of the new root.
func DecodeBtreeNewroot(r *Record) (level uint32, err error) {
	c, err := r.mainOf(8)
	c.skip(4)
	return c.u32(), err
}

// BtreeMeta is xl_btree_metadata, the data of a metapage's block reference.
type BtreeMeta struct {
	Version                          uint32
	Root, Level, FastRoot, FastLevel uint32
	LastCleanupNumDelPages           uint32
	AllEqualImage                    bool
}

// DecodeBtreeMeta decodes the block data of a metapage.
func DecodeBtreeMeta(r *Record, b *BlockRef) (BtreeMeta, error) {
	const size = 28 // six words, a bool, padding
	if len(b.Data) != size {
		return BtreeMeta{}, r.bodyError("metapage data of %d bytes, want %d", len(b.Data), size)
	}
	c := newCursor(b.Data)
	return BtreeMeta{Version: c.u32(), Root: c.u32(), Level: c.u32(), FastRoot: c.u32(), FastLevel: c.u32(),
		LastCleanupNumDelPages: c.u32(), AllEqualImage: c.u8() != 0}, nil
}
