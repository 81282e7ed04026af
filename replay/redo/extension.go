package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Extension is what an extension's own resource manager (ids 128 to 255, since
// PostgreSQL 15) does to pages. Without one, the blocks that its records
// change are tainted, and reports say by which resource manager.
type Extension struct {
	// Redo does to p what rec does to the block of ref, one of rec.Blocks, and
	// says whether it changed the page: only then the page gets the record's
	// LSN. Apply has done the rest: it is called neither for a page that the
	// record's image restored, nor for one that has the change already, and
	// the page is all zeros where the record is to build it (WILL_INIT). It may
	// depend on its arguments only, never on other blocks, and must check all
	// it reads, for records and pages may hold anything. An error tells why
	// the record does not fit the page.
	Redo func(rec *wal.Record, ref *wal.BlockRef, p page.Page) (changed bool, err error)

	// Mask clears, in place, what a consistency image and the page after redo
	// need not have in common (rm_mask); LSN and checksum are cleared already.
	// Without it images of wal_consistency_checking are not compared.
	Mask func(p page.Page, block pg.BlockNumber)
}

// Extensions are the extensions whose redo is known, by the id that each of
// them registers with PostgreSQL (RegisterCustomRmgr). Ids below 128 don't count.
type Extensions map[pg.RmgrID]Extension

// redo redoes a block reference of an extension's record.
func (e Extensions) redo(c *call) error {
	x := e[c.rec.Rmgr]
	if x.Redo == nil {
		return ErrUnsupported
	}
	changed, err := x.Redo(c.rec, c.ref, c.page)
	if err != nil {
		return c.fail(err)
	}
	c.unchanged = !changed && !c.ref.WillInit
	return nil
}
