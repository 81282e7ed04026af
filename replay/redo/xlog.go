package redo

import "redoubt/internal/pg"

// Operations of resource manager XLOG that reference blocks (catalog/pg_control.h).
const (
	xlogFPIForHint = 0xA0
)

// redoXLOG sees only block references without an applicable image. An
// FPI_FOR_HINT may come without one (15 and later) and then changes nothing;
// an FPI always carries its image.
//
// Source: access/transam/xlog.c, xlog_redo.
func redoXLOG(c *call) error {
	if c.rec.Op() == xlogFPIForHint {
		c.unchanged = true
		return nil
	}
	return c.errorf("record of %s references a block without an image", pg.RmgrXLOG)
}
