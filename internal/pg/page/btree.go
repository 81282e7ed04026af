package page

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// BtreeSpecialSize is sizeof(BTPageOpaqueData) in bytes.
const BtreeSpecialSize = 16

// Bits of btpo_flags (access/nbtree.h).
const (
	BtreeLeaf            = 0x0001
	BtreeRoot            = 0x0002
	BtreeDeleted         = 0x0004
	BtreeMeta            = 0x0008
	BtreeHalfDead        = 0x0010
	BtreeSplitEnd        = 0x0020
	BtreeHasGarbage      = 0x0040
	BtreeIncompleteSplit = 0x0080
	BtreeHasFullXID      = 0x0100
	BtreeValidFlags      = 0x01FF
)

// BtreeMagic is BTREE_MAGIC, the first word of a metapage's contents.
const BtreeMagic = 0x053162

// BtreeSpecial is the special area of a btree page (BTPageOpaqueData); it
// aliases its page:
//
//	btpo_prev u32 | btpo_next u32 | btpo_level u32 | btpo_flags u16 | btpo_cycleid u16
type BtreeSpecial []byte

// BtreeSpecial is the page's special area, if it has the size of a btree's.
func (p Page) BtreeSpecial() (s BtreeSpecial, ok bool) {
	if p.SpecialSize() != BtreeSpecialSize {
		return nil, false
	}
	return BtreeSpecial(p[pg.BlockSize-BtreeSpecialSize:]), true
}

// Prev is btpo_prev, the left sibling; 0 if there is none.
func (s BtreeSpecial) Prev() pg.BlockNumber { return pg.BlockNumber(binary.LittleEndian.Uint32(s[0:])) }

// SetPrev stores btpo_prev.
func (s BtreeSpecial) SetPrev(b pg.BlockNumber) { binary.LittleEndian.PutUint32(s[0:], uint32(b)) }

// Next is btpo_next, the right sibling; 0 if there is none.
func (s BtreeSpecial) Next() pg.BlockNumber { return pg.BlockNumber(binary.LittleEndian.Uint32(s[4:])) }

// SetNext stores btpo_next.
func (s BtreeSpecial) SetNext(b pg.BlockNumber) { binary.LittleEndian.PutUint32(s[4:], uint32(b)) }

// Level is btpo_level, 0 on leaves.
func (s BtreeSpecial) Level() uint32 { return binary.LittleEndian.Uint32(s[8:]) }

// SetLevel stores btpo_level.
func (s BtreeSpecial) SetLevel(l uint32) { binary.LittleEndian.PutUint32(s[8:], l) }

// Flags is btpo_flags.
func (s BtreeSpecial) Flags() uint16 { return binary.LittleEndian.Uint16(s[12:]) }

// SetFlags stores btpo_flags.
func (s BtreeSpecial) SetFlags(f uint16) { binary.LittleEndian.PutUint16(s[12:], f) }

// CycleID is btpo_cycleid.
func (s BtreeSpecial) CycleID() uint16 { return binary.LittleEndian.Uint16(s[14:]) }

// SetCycleID stores btpo_cycleid.
func (s BtreeSpecial) SetCycleID(c uint16) { binary.LittleEndian.PutUint16(s[14:], c) }

// BtreeMetaPage is what a btree's block 0 says (BTMetaPageData).
type BtreeMetaPage struct {
	Magic, Version         uint32
	Root                   pg.BlockNumber
	Level                  uint32
	FastRoot               pg.BlockNumber
	FastLevel              uint32
	LastCleanupNumDelPages uint32
	AllEqualImage          bool
}

// btreeMetaSize is the offset behind btm_allequalimage; between
// btm_last_cleanup_num_delpages and it lie 4 bytes of padding and a float8.
const btreeMetaSize = 41

// BtreeMeta decodes a btree's metapage; ok is false if the page is none.
func (p Page) BtreeMeta() (m BtreeMetaPage, ok bool) {
	s, ok := p.BtreeSpecial()
	if !ok || s.Flags()&BtreeMeta == 0 {
		return m, false
	}
	b := p[HeaderSize : HeaderSize+btreeMetaSize]
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	m = BtreeMetaPage{
		Magic: word(0), Version: word(1),
		Root: pg.BlockNumber(word(2)), Level: word(3),
		FastRoot: pg.BlockNumber(word(4)), FastLevel: word(5),
		LastCleanupNumDelPages: word(6),
		AllEqualImage:          b[btreeMetaSize-1] != 0,
	}
	return m, m.Magic == BtreeMagic
}
