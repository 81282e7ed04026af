package wal

import "redoubt/internal/pg"

// Operations of resource manager Gist (access/gistxlog.h, XLOG_GIST_*).
const (
	GistPageUpdate = 0x00
	GistDelete     = 0x10
	GistPageReuse  = 0x20 // references no block
	GistPageSplit  = 0x30
	GistPageDelete = 0x60
	GistAssignLSN  = 0x70 // references no block
)

// GistUpdate is gistxlogPageUpdate with the data of its page.
type GistUpdate struct {
	Delete Offsets
	Insert int    // number of new tuples
	Tuples []byte // one after the other
}

// DecodeGistUpdate decodes PAGE_UPDATE.
func DecodeGistUpdate(r *Record, b *BlockRef) (GistUpdate, error) {
	c, err := r.mainOf(4)
	if err != nil {
		return GistUpdate{}, err
	}
	del, ins := int(c.u16()), int(c.u16())
	data := newCursor(b.Data)
	u := GistUpdate{Delete: data.offsets(del), Insert: ins, Tuples: data.rest()}
	if data.err() != nil {
		return GistUpdate{}, r.bodyError("%d deletions in %d bytes", del, len(b.Data))
	}
	return u, nil
}

// DecodeGistDelete decodes DELETE (gistxlogDelete): the items to delete. Up
// to 15 they follow at byte 6, since 16, with isCatalogRel, at byte 8.
func DecodeGistDelete(r *Record) (Offsets, error) {
	c := newCursor(r.Main)
	c.skip(4)
	n := int(c.u16())
	if r.Major >= 16 {
		c.skip(2)
	}
	if c.err() != nil || 2*n != c.remaining() {
		return nil, r.bodyError("%d items", n)
	}
	return Offsets(c.rest()), nil
}

// GistSplit is gistxlogPageSplit.
type GistSplit struct {
	RightLink       pg.BlockNumber // of the page before the split
	NSN             uint64         // of the page before the split
	Leaf            bool
	Pages           int // block references 1 to Pages
	MarkFollowRight bool
}

// DecodeGistSplit decodes PAGE_SPLIT.
func DecodeGistSplit(r *Record) (GistSplit, error) {
	c, err := r.mainOf(24)
	s := GistSplit{RightLink: pg.BlockNumber(c.u32())}
	c.align(8)
	s.NSN, s.Leaf = c.u64(), c.u8() != 0
	c.align(2)
	s.Pages, s.MarkFollowRight = int(c.u16()), c.u8() != 0
	return s, err
}

// DecodeGistSplitPage decodes the data of one page of a split: the number of
// its tuples and the tuples, one after the other.
func DecodeGistSplitPage(r *Record, b *BlockRef) (n uint32, tuples []byte, err error) {
	c := newCursor(b.Data)
	n = c.u32()
	tuples = c.rest()
	if c.err() != nil {
		return 0, nil, r.bodyError("%d bytes for a page of the split", len(b.Data))
	}
	return n, tuples, nil
}

// GistPageDeletion is gistxlogPageDelete.
type GistPageDeletion struct {
	XID      uint64 // full transaction id
	Downlink int    // offset number on the parent
}

// DecodeGistPageDeletion decodes PAGE_DELETE.
func DecodeGistPageDeletion(r *Record) (GistPageDeletion, error) {
	c, err := r.mainOf(10)
	return GistPageDeletion{XID: c.u64(), Downlink: int(c.u16())}, err
}
