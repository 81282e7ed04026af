package wal

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// LSNEffect is what a record does to the page LSN of a block it references.
type LSNEffect uint8

// The effects.
const (
	SetsLSN   LSNEffect = iota // the page's LSN is the record's End afterwards
	MaySetLSN                  // it is, or it is what it was
	LeavesLSN                  // it is what it was
)

const xlogFPIForHint = 0xA0 // XLOG_FPI_FOR_HINT (catalog/pg_control.h)

// OnlyHints reports whether a record is FPI_FOR_HINT: it changes nothing but
// hints.
func OnlyHints(rmgr pg.RmgrID, info uint8) bool {
	return rmgr == pg.RmgrXLOG && info&0xF0 == xlogFPIForHint
}

// LSNEffect says what the record did to the LSN of a block that it
// references, on the server that wrote it or on one that replayed it.
func (r *Record) LSNEffect(b *BlockRef) LSNEffect {
	switch r.Rmgr {
	case pg.RmgrXLOG:
		if OnlyHints(r.Rmgr, r.Info) {
			// Hints are set under a shared lock: of two that are logged at once,
			// either LSN may survive (MarkBufferDirtyHint, bufmgr.c).
			return MaySetLSN
		}
	case pg.RmgrHeap, pg.RmgrHeap2:
		return r.heapLSNEffect(b)
	case pg.RmgrHash:
		return r.hashLSNEffect(b)
	}
	if r.Rmgr.Custom() {
		return MaySetLSN
	}
	return SetsLSN
}

// heapLSNEffect: whether VISIBLE stores its LSN in the heap page depends on
// data checksums and wal_log_hints of the server, be it the one that writes or
// the one that replays (visibilitymap_set, heap_xlog_visible); records that
// clear bits of a registered map store theirs only where a bit was set.
func (r *Record) heapLSNEffect(b *BlockRef) LSNEffect {
	visible := r.Rmgr == pg.RmgrHeap2 && r.HeapOp() == OpHeap2Visible
	if visible == (b.Fork == pg.VMFork) {
		return SetsLSN
	}
	return MaySetLSN
}

// hashLSNEffect: some records reference a bucket's primary page just for its
// cleanup lock, and SQUEEZE since 17 the write buffer though nothing is moved;
// where that carries an image, replaying it does set the LSN
// (access/hash/hash.c, hashovfl.c).
func (r *Record) hashLSNEffect(b *BlockRef) LSNEffect {
	switch r.Op() {
	case HashMovePageContents, HashDelete:
		if b.ID == 0 {
			return LeavesLSN
		}
	case HashSqueezePage:
		const ntups, prevIsWrite, size = 8, 11, 12 // xl_hash_squeeze_page
		switch {
		case b.ID == 0:
			return LeavesLSN
		case b.ID == 1 && r.Major >= 17 && len(r.Main) >= size &&
			binary.LittleEndian.Uint16(r.Main[ntups:]) == 0 && r.Main[prevIsWrite] == 0:
			if b.HasImage && b.Image.Apply {
				return MaySetLSN
			}
			return LeavesLSN
		}
	}
	return SetsLSN
}
