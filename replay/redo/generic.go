package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// redoGeneric redoes one block of a Generic record: bytes are replaced, and
// then the hole is cleared, of which the record says nothing.
//
// Source: access/transam/generic_xlog.c, generic_redo.
func redoGeneric(c *call) error {
	regions := wal.DecodeGeneric(c.ref)
	for {
		at, bytes, ok, err := regions.Next()
		if err != nil {
			return c.errorf("changed regions in %d bytes of block data: %v", len(c.ref.Data), err)
		}
		if !ok {
			break
		}
		if at+len(bytes) > pg.BlockSize {
			return c.errorf("changed region of %d bytes at %d", len(bytes), at)
		}
		copy(c.page[at:], bytes)
	}
	if err := checkBounds(c.page); err != nil {
		return c.errorf("%v", err)
	}
	clear(c.page[c.page.Lower():c.page.Upper()])
	return nil
}
