package page

import (
	"fmt"

	"redoubt/internal/pg"
)

// The visibility map (access/heap/visibilitymap.c): two bits a heap block, in
// everything behind the page header.
const (
	VMBlocksPerPage = (pg.BlockSize - HeaderSize) * 4 // heap blocks a map page covers (HEAPBLOCKS_PER_PAGE)
	VMAllVisible    = 0x01                            // VISIBILITYMAP_ALL_VISIBLE
	VMAllFrozen     = 0x02                            // VISIBILITYMAP_ALL_FROZEN
)

// VMBits is the two bits that a page of the visibility map holds for a heap
// block, which must be on the page: the caller passes heap block modulo VMBlocksPerPage.
func (p Page) VMBits(i int) uint8 {
	if i < 0 || i >= VMBlocksPerPage || len(p) != pg.BlockSize {
		return 0
	}
	return p[HeaderSize+i/4] >> (i % 4 * 2) & 3
}

// vmSpan names the heap blocks, counted on this page of the map, of one byte.
func vmSpan(at int) string {
	first := (at - HeaderSize) * 4
	return fmt.Sprintf("%d-%d of this map page", first, first+3)
}
