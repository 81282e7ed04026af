package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// redoXLOG sees only block references without an applicable image. An
// FPI_FOR_HINT may come without one (15 and later) and then changes nothing;
// an FPI always carries its image.
//
// Source: access/transam/xlog.c, xlog_redo.
func redoXLOG(c *call) error {
	if wal.OnlyHints(c.rec.Rmgr, c.rec.Info) {
		c.unchanged = true
		return nil
	}
	return c.errorf("record of %s references a block without an image", pg.RmgrXLOG)
}
