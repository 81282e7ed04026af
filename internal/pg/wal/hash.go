package wal

import (
	"math"

	"redoubt/internal/pg"
)

// Operations of resource manager Hash (access/hash_xlog.h, XLOG_HASH_*).
const (
	HashInitMetaPage     = 0x00
	HashInitBitmapPage   = 0x10
	HashInsert           = 0x20
	HashAddOvflPage      = 0x30
	HashSplitAllocate    = 0x40
	HashSplitPage        = 0x50
	HashSplitComplete    = 0x60
	HashMovePageContents = 0x70
	HashSqueezePage      = 0x80
	HashDelete           = 0x90
	HashSplitCleanup     = 0xA0
	HashUpdateMetaPage   = 0xB0
	HashVacuumOnePage    = 0xC0
)

// Bits of xl_hash_split_allocate_page.flags: what the metapage's data holds.
const (
	HashSplitMasks      = 0x01 // XLH_SPLIT_META_UPDATE_MASKS
	HashSplitSplitpoint = 0x02 // XLH_SPLIT_META_UPDATE_SPLITPOINT
)

// HashMetaInit is xl_hash_init_meta_page.
type HashMetaInit struct {
	Tuples     float64 // expected
	ProcID     pg.OID  // of the hash function
	FillFactor uint16  // tuples per bucket
}

// DecodeHashMetaInit decodes INIT_META_PAGE.
func DecodeHashMetaInit(r *Record) (HashMetaInit, error) {
	c, err := r.mainOf(14)
	return HashMetaInit{Tuples: math.Float64frombits(c.u64()), ProcID: pg.OID(c.u32()), FillFactor: c.u16()}, err
}

// DecodeHashBitmapInit decodes INIT_BITMAP_PAGE: the size of a bitmap in bytes.
func DecodeHashBitmapInit(r *Record) (size int, err error) {
	c, err := r.mainOf(2)
	return int(c.u16()), err
}

// DecodeHashInsert decodes INSERT: the new item's offset number.
func DecodeHashInsert(r *Record) (offset int, err error) {
	c, err := r.mainOf(2)
	return int(c.u16()), err
}

// HashOverflow is xl_hash_add_ovfl_page.
type HashOverflow struct {
	BitmapSize  int  // bytes
	BitmapFound bool // the page was free in a bitmap: it does not extend the index
}

// DecodeHashOverflow decodes ADD_OVFL_PAGE.
func DecodeHashOverflow(r *Record) (HashOverflow, error) {
	c, err := r.mainOf(3)
	return HashOverflow{BitmapSize: int(c.u16()), BitmapFound: c.u8() != 0}, err
}

// HashSplit is xl_hash_split_allocate_page and, without NewBucket and Flags,
// xl_hash_split_complete.
type HashSplit struct {
	NewBucket        uint32
	OldFlag, NewFlag uint16 // hasho_flag of the two buckets
	Flags            uint8
}

// DecodeHashSplit decodes SPLIT_ALLOCATE_PAGE and SPLIT_COMPLETE.
func DecodeHashSplit(r *Record) (HashSplit, error) {
	if r.Op() == HashSplitComplete {
		c, err := r.mainOf(4)
		return HashSplit{OldFlag: c.u16(), NewFlag: c.u16()}, err
	}
	c, err := r.mainOf(9)
	s := HashSplit{NewBucket: c.u32(), OldFlag: c.u16(), NewFlag: c.u16(), Flags: c.u8()}
	if err == nil && s.Flags&^(HashSplitMasks|HashSplitSplitpoint) != 0 {
		err = r.bodyError("flags 0x%02X are unknown", s.Flags)
	}
	return s, err
}

// HashMove is xl_hash_move_page_contents and xl_hash_squeeze_page, of which
// the former has only Tuples and ToPrimary.
type HashMove struct {
	Prev, Next pg.BlockNumber // neighbours of the overflow page that is freed
	Tuples     int            // moved to block reference 1
	ToPrimary  bool           // that is the primary bucket page
	ToPrevious bool           // that is the page before the freed one
}

// DecodeHashMove decodes MOVE_PAGE_CONTENTS and SQUEEZE_PAGE.
func DecodeHashMove(r *Record) (HashMove, error) {
	if r.Op() == HashMovePageContents {
		c, err := r.mainOf(3)
		return HashMove{Tuples: int(c.u16()), ToPrimary: c.u8() != 0}, err
	}
	c, err := r.mainOf(12)
	return HashMove{Prev: pg.BlockNumber(c.u32()), Next: pg.BlockNumber(c.u32()), Tuples: int(c.u16()),
		ToPrimary: c.u8() != 0, ToPrevious: c.u8() != 0}, err
}

// DecodeHashMoved splits the data of block reference 1 into the offset numbers
// of n items and the items, one after the other, each rounded up to 8 bytes.
func DecodeHashMoved(r *Record, b *BlockRef, n int) (at Offsets, items []byte, err error) {
	c := newCursor(b.Data)
	at = c.offsets(n)
	items = c.rest()
	if c.err() != nil || n == 0 && len(items) > 0 {
		return nil, nil, r.bodyError("%d items in %d bytes", n, len(b.Data))
	}
	return at, items, nil
}

// DecodeHashDelete decodes DELETE (xl_hash_delete): whether the page has no
// more dead tuples. Which items go is block data.
func DecodeHashDelete(r *Record) (clearDead bool, err error) {
	c, err := r.mainOf(2)
	return c.u8() != 0, err
}

// DecodeHashTuples decodes UPDATE_META_PAGE: the number of tuples.
func DecodeHashTuples(r *Record) (float64, error) {
	c, err := r.mainOf(8)
	return math.Float64frombits(c.u64()), err
}

// DecodeHashVacuum decodes VACUUM_ONE_PAGE (xl_hash_vacuum_one_page): the
// items to delete. Up to 15 their number is an int, since 16 a uint16 and a
// flag; they follow at byte 8 in all versions.
func DecodeHashVacuum(r *Record) (Offsets, error) {
	c := newCursor(r.Main)
	c.skip(4)
	n := uint32(0)
	if r.Major < 16 {
		n = c.u32()
	} else {
		n = uint32(c.u16())
		c.skip(2) // isCatalogRel, padding
	}
	if c.err() != nil || uint64(n)*2 != uint64(c.remaining()) {
		return nil, r.bodyError("%d items", n)
	}
	return Offsets(c.rest()), nil
}

// DecodeOffsets takes block data for an array of offset numbers.
func DecodeOffsets(r *Record, b *BlockRef) (Offsets, error) {
	if len(b.Data)%2 != 0 {
		return nil, r.bodyError("offset numbers in %d bytes", len(b.Data))
	}
	return Offsets(b.Data), nil
}
