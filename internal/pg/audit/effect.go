package audit

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// effect is what a record does to the LSN of a block it references.
type effect uint8

const (
	sets effect = iota
	maySet
	leaves
)

// Operations with rules of their own (xl_info & 0xF0).
const (
	xlogFPIForHint = 0xA0 // XLOG_FPI_FOR_HINT (catalog/pg_control.h)
	xlogFPI        = 0xB0 // XLOG_FPI
	heap2Visible   = 0x40 // XLOG_HEAP2_VISIBLE (access/heapam_xlog.h)
	hashMove       = 0x70 // XLOG_HASH_MOVE_PAGE_CONTENTS (access/hash_xlog.h)
	hashSqueeze    = 0x80 // XLOG_HASH_SQUEEZE_PAGE
	hashDelete     = 0x90 // XLOG_HASH_DELETE
	ginSplit       = 0x30 // XLOG_GIN_SPLIT (access/ginxlog.h)
)

func effectOn(r *wal.Record, b *wal.BlockRef) effect {
	switch r.Rmgr {
	case pg.RmgrXLOG:
		if r.Op() == xlogFPIForHint {
			// Hints are set under a shared lock: of two that are logged at once,
			// either LSN may survive (MarkBufferDirtyHint, bufmgr.c).
			return maySet
		}
	case pg.RmgrHeap, pg.RmgrHeap2:
		return heapEffect(r, b)
	case pg.RmgrHash:
		return hashEffect(r, b)
	}
	if r.Rmgr.Custom() {
		return maySet
	}
	return sets
}

// heapEffect: whether VISIBLE stores its LSN in the heap page depends on data
// checksums and wal_log_hints (visibilitymap_set); records that clear bits of
// a registered map store theirs only where a bit was set.
func heapEffect(r *wal.Record, b *wal.BlockRef) effect {
	visible := r.Rmgr == pg.RmgrHeap2 && r.Op() == heap2Visible
	if visible == (b.Fork == pg.VMFork) {
		return sets
	}
	return maySet
}

// hashEffect: some records reference a bucket's primary page just for its
// cleanup lock, and SQUEEZE since 17 the write buffer though nothing is moved
// (access/hash/hash.c, hashovfl.c).
func hashEffect(r *wal.Record, b *wal.BlockRef) effect {
	switch r.Op() {
	case hashMove, hashDelete:
		if b.ID == 0 {
			return leaves
		}
	case hashSqueeze:
		const ntups, prevIsWrite, size = 8, 11, 12 // xl_hash_squeeze_page
		switch {
		case b.ID == 0:
			return leaves
		case b.ID == 1 && r.Major >= 17 && len(r.Main) >= size &&
			binary.LittleEndian.Uint16(r.Main[ntups:]) == 0 && r.Main[prevIsWrite] == 0:
			return leaves
		}
	}
	return sets
}

// gistBuildLSN is GistBuildLSN (access/gist.h).
const gistBuildLSN pg.LSN = 1

// fresh reports whether the image is of a page that was made in memory and
// carries no LSN of its own: 0, or 1 after a sorted GiST build.
func (s *Block) fresh(r *wal.Record, b *wal.BlockRef, img pg.LSN) bool {
	switch img {
	case 0:
		return r.Rmgr == pg.RmgrGin && r.Op() == ginSplit ||
			r.Rmgr == pg.RmgrHash && r.Op() == hashSqueeze && b.ID == 2 ||
			r.Rmgr == pg.RmgrGeneric
	case gistBuildLSN:
		return r.Major <= 16 && s.setter.Rmgr == pg.RmgrXLOG && s.setter.Info&0xF0 == xlogFPI
	}
	return false
}
