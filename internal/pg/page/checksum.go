package page

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// The checksum is 32 FNV-1a-like sums that run side by side: sum i eats every
// 32nd 32-bit word, starting with word i; they are folded together with xor.
const (
	checksumLanes = 32
	checksumRow   = 4 * checksumLanes // bytes that one round of all lanes eats
	checksumPrime = 16777619
)

// checksumSeeds are the lanes' initial values (checksumBaseOffsets).
var checksumSeeds = [checksumLanes]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A,
	0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA,
	0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE,
	0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
	0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

// mixChecksum is one step of one lane.
func mixChecksum(sum, word uint32) uint32 {
	sum ^= word
	return sum*checksumPrime ^ sum>>17
}

// ComputeChecksum is the checksum the page must carry when it is block number
// block of its fork (counted in the fork, not in the 1 GiB file). The stored
// checksum does not count. A page of another length than pg.BlockSize has
// none: 0, which no page carries.
//
// Source: storage/checksum_impl.h, pg_checksum_page.
func (p Page) ComputeChecksum(block pg.BlockNumber) uint16 {
	if len(p) != pg.BlockSize {
		return 0
	}
	b := (*[pg.BlockSize]byte)(p)
	var sum uint32
	for lane := 0; lane < checksumLanes; lane += 4 {
		sum ^= checksumFour(b, lane)
	}
	return uint16((sum^uint32(block))%65535 + 1)
}

// checksumFour runs four neighbouring lanes over the page, few enough to
// live in registers, and folds them.
func checksumFour(b *[pg.BlockSize]byte, lane int) uint32 {
	s0, s1, s2, s3 := checksumSeeds[lane], checksumSeeds[lane+1], checksumSeeds[lane+2], checksumSeeds[lane+3]
	at := 4 * lane
	if lane == 0 { // word 2 holds pd_checksum in its low half, which counts as zero
		row := b[:16]
		s0 = mixChecksum(s0, binary.LittleEndian.Uint32(row))
		s1 = mixChecksum(s1, binary.LittleEndian.Uint32(row[4:]))
		s2 = mixChecksum(s2, binary.LittleEndian.Uint32(row[8:])&^0xFFFF)
		s3 = mixChecksum(s3, binary.LittleEndian.Uint32(row[12:]))
		at += checksumRow
	}
	for ; at <= pg.BlockSize-16; at += checksumRow {
		row := b[at : at+16 : at+16]
		s0 = mixChecksum(s0, binary.LittleEndian.Uint32(row[0:]))
		s1 = mixChecksum(s1, binary.LittleEndian.Uint32(row[4:]))
		s2 = mixChecksum(s2, binary.LittleEndian.Uint32(row[8:]))
		s3 = mixChecksum(s3, binary.LittleEndian.Uint32(row[12:]))
	}
	for range 2 { // two rounds of zeroes at the end
		s0, s1, s2, s3 = mixChecksum(s0, 0), mixChecksum(s1, 0), mixChecksum(s2, 0), mixChecksum(s3, 0)
	}
	return s0 ^ s1 ^ s2 ^ s3
}

// ChecksumOK reports whether the page carries the checksum of that block of
// its fork, or is all zeros, which PostgreSQL accepts too (PageIsVerified).
// It says nothing on a cluster without data checksums.
func (p Page) ChecksumOK(block pg.BlockNumber) bool {
	if len(p) != pg.BlockSize {
		return false
	}
	if p.IsNew() {
		return p.IsZero()
	}
	return p.Checksum() == p.ComputeChecksum(block)
}
