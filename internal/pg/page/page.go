// Package page reads PostgreSQL's 8 KiB data pages: header, checksum, line
// pointers, heap tuples, index special areas (storage/bufpage.h,
// storage/itemid.h, access/htup_details.h, storage/checksum_impl.h).
//
//	pd_lsn u64 | pd_checksum u16 | pd_flags u16 | pd_lower u16 | pd_upper u16 |
//	pd_special u16 | pd_pagesize_version u16 | pd_prune_xid u32 | line pointers …
//	… hole … | items | special area
//
// Content is untrusted: accessors never read outside of the page.
package page

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// HeaderSize is SizeOfPageHeaderData in bytes; line pointers follow.
const HeaderSize = 24

// ItemIDSize is the size of a line pointer in bytes.
const ItemIDSize = 4

// LayoutVersion is PG_PAGE_LAYOUT_VERSION.
const LayoutVersion = 4

// Bits of pd_flags.
const (
	HasFreeLines = 0x0001 // PD_HAS_FREE_LINES
	PageFull     = 0x0002 // PD_PAGE_FULL
	AllVisible   = 0x0004 // PD_ALL_VISIBLE
	ValidFlags   = 0x0007 // PD_VALID_FLAG_BITS
)

// Page is one page; its length is pg.BlockSize.
type Page []byte

// LSN is pd_lsn: the end of the last record that changed the page.
func (p Page) LSN() pg.LSN {
	return pg.LSN(binary.LittleEndian.Uint32(p[0:]))<<32 | pg.LSN(binary.LittleEndian.Uint32(p[4:]))
}

// SetLSN is PageSetLSN.
func (p Page) SetLSN(l pg.LSN) {
	binary.LittleEndian.PutUint32(p[0:], uint32(l>>32))
	binary.LittleEndian.PutUint32(p[4:], uint32(l))
}

// Checksum is pd_checksum as stored, 0 if there is none.
func (p Page) Checksum() uint16 { return binary.LittleEndian.Uint16(p[8:]) }

// SetChecksum stores pd_checksum.
func (p Page) SetChecksum(c uint16) { binary.LittleEndian.PutUint16(p[8:], c) }

// Flags is pd_flags.
func (p Page) Flags() uint16 { return binary.LittleEndian.Uint16(p[10:]) }

// SetFlags stores pd_flags.
func (p Page) SetFlags(f uint16) { binary.LittleEndian.PutUint16(p[10:], f) }

// Lower is pd_lower: the end of the line pointers.
func (p Page) Lower() int { return int(binary.LittleEndian.Uint16(p[12:])) }

// SetLower stores pd_lower.
func (p Page) SetLower(n int) { binary.LittleEndian.PutUint16(p[12:], uint16(n)) }

// Upper is pd_upper: the start of the items.
func (p Page) Upper() int { return int(binary.LittleEndian.Uint16(p[14:])) }

// SetUpper stores pd_upper.
func (p Page) SetUpper(n int) { binary.LittleEndian.PutUint16(p[14:], uint16(n)) }

// Special is pd_special: the start of the special area.
func (p Page) Special() int { return int(binary.LittleEndian.Uint16(p[16:])) }

// SetSpecial stores pd_special.
func (p Page) SetSpecial(n int) { binary.LittleEndian.PutUint16(p[16:], uint16(n)) }

// PageSizeVersion is pd_pagesize_version: page size | layout version.
func (p Page) PageSizeVersion() uint16 { return binary.LittleEndian.Uint16(p[18:]) }

// SetPageSizeVersion stores pd_pagesize_version.
func (p Page) SetPageSizeVersion(v uint16) { binary.LittleEndian.PutUint16(p[18:], v) }

// PruneXID is pd_prune_xid.
func (p Page) PruneXID() pg.XID { return pg.XID(binary.LittleEndian.Uint32(p[20:])) }

// SetPruneXID stores pd_prune_xid.
func (p Page) SetPruneXID(x pg.XID) { binary.LittleEndian.PutUint32(p[20:], uint32(x)) }

// IsNew is PageIsNew: pd_upper is zero.
func (p Page) IsNew() bool { return p.Upper() == 0 }

// SpecialSize is the size of the special area in bytes, 0 if pd_special is out of range.
func (p Page) SpecialSize() int {
	if s := p.Special(); s >= HeaderSize && s <= pg.BlockSize {
		return pg.BlockSize - s
	}
	return 0
}

// NumItems is PageGetMaxOffsetNumber: the number of line pointers, bounded by the page.
func (p Page) NumItems() int {
	l := min(p.Lower(), pg.BlockSize)
	if l <= HeaderSize {
		return 0
	}
	return (l - HeaderSize) / ItemIDSize
}

// Line pointer states (ItemIdData.lp_flags).
const (
	LPUnused   = 0
	LPNormal   = 1
	LPRedirect = 2
	LPDead     = 3
)

// ItemID is a line pointer: lp_off 15 bits, lp_flags 2 bits, lp_len 15 bits.
type ItemID uint32

// MakeItemID packs a line pointer.
func MakeItemID(off, flags, length int) ItemID {
	return ItemID(uint32(off)&0x7fff | uint32(flags)&3<<15 | uint32(length)&0x7fff<<17)
}

// Offset is lp_off, bytes from the start of the page; of a redirect, the offset number it points to.
func (i ItemID) Offset() int { return int(i & 0x7fff) }

// At is the line pointer with another offset.
func (i ItemID) At(off int) ItemID { return i&^0x7fff | ItemID(off&0x7fff) }

// Flags is lp_flags.
func (i ItemID) Flags() int { return int(i >> 15 & 3) }

// Len is lp_len in bytes.
func (i ItemID) Len() int { return int(i >> 17) }

// HasStorage is ItemIdHasStorage.
func (i ItemID) HasStorage() bool { return i.Len() != 0 }

// ItemID is the line pointer of offset number n, which counts from 1; zero if
// n is outside of 1..NumItems.
func (p Page) ItemID(n int) ItemID {
	if n < 1 || n > p.NumItems() {
		return 0
	}
	return ItemID(binary.LittleEndian.Uint32(p[HeaderSize+(n-1)*ItemIDSize:]))
}

// SetItemID stores the line pointer of offset number n, which must fit on the
// page; it does not move pd_lower. It reports false, and writes nothing, if n does not fit.
func (p Page) SetItemID(n int, id ItemID) bool {
	at := HeaderSize + (n-1)*ItemIDSize
	if n < 1 || at+ItemIDSize > pg.BlockSize {
		return false
	}
	binary.LittleEndian.PutUint32(p[at:], uint32(id))
	return true
}

// Item is the bytes of offset number n, nil if it has no storage or lies
// outside of the page.
func (p Page) Item(n int) []byte {
	id := p.ItemID(n)
	if id.Len() == 0 || id.Offset() < HeaderSize || id.Offset()+id.Len() > pg.BlockSize {
		return nil
	}
	return p[id.Offset() : id.Offset()+id.Len() : id.Offset()+id.Len()]
}
