package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

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

// MaySetLSN reports whether the primary may or may not have stored the
// record's LSN in the blocks it references: hint bits are set under a shared
// lock, so that two records can be logged and one LSN survive
// (MarkBufferDirtyHint, storage/buffer/bufmgr.c).
func MaySetLSN(rec *wal.Record) bool {
	return rec.Rmgr == pg.RmgrXLOG && rec.Op() == xlogFPIForHint
}
