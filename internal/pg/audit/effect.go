package audit

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// xlogFPI is XLOG_FPI (catalog/pg_control.h).
const xlogFPI = 0xB0

// gistBuildLSN is GistBuildLSN (access/gist.h).
const gistBuildLSN pg.LSN = 1

// fresh reports whether the image is of a page that was made in memory and
// carries no LSN of its own: 0, or 1 after a sorted GiST build.
func (s *Block) fresh(r *wal.Record, b *wal.BlockRef, img pg.LSN) bool {
	switch img {
	case 0:
		return r.Rmgr == pg.RmgrGin && r.Op() == wal.GinSplit ||
			r.Rmgr == pg.RmgrHash && r.Op() == wal.HashSqueezePage && b.ID == 2 ||
			r.Rmgr == pg.RmgrGeneric
	case gistBuildLSN:
		return r.Major <= 16 && s.setter.Rmgr == pg.RmgrXLOG && s.setter.Info&0xF0 == xlogFPI
	}
	return false
}
