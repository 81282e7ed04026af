package native

import (
	"maps"
	"math/bits"
	"slices"

	"redoubt/internal/pg"
)

const chunkBlocks = 4096

// blockSet is a set of block numbers, sparse by chunk, so that one absurd
// block number costs 512 bytes and not half a gigabyte.
type blockSet struct {
	chunks map[uint32]*[chunkBlocks / 64]uint64
	n      int64
}

// add reports whether b was not in the set before.
func (s *blockSet) add(b pg.BlockNumber) bool {
	if s.chunks == nil {
		s.chunks = make(map[uint32]*[chunkBlocks / 64]uint64)
	}
	c := s.chunks[uint32(b)/chunkBlocks]
	if c == nil {
		c = new([chunkBlocks / 64]uint64)
		s.chunks[uint32(b)/chunkBlocks] = c
	}
	i, bit := uint32(b)%chunkBlocks/64, uint64(1)<<(b%64)
	if c[i]&bit != 0 {
		return false
	}
	c[i] |= bit
	s.n++
	return true
}

func (s *blockSet) has(b pg.BlockNumber) bool {
	if s == nil {
		return false
	}
	c := s.chunks[uint32(b)/chunkBlocks]
	return c != nil && c[uint32(b)%chunkBlocks/64]&(1<<(b%64)) != 0
}

// each calls fn for every block of the set, ascending.
func (s *blockSet) each(fn func(pg.BlockNumber)) {
	for _, n := range slices.Sorted(maps.Keys(s.chunks)) {
		for i, word := range s.chunks[n] {
			for ; word != 0; word &= word - 1 {
				fn(pg.BlockNumber(n*chunkBlocks + uint32(64*i+bits.TrailingZeros64(word))))
			}
		}
	}
}
