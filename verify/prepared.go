package verify

import (
	"encoding/binary"
	"hash/crc32"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// basePrepared reads the state files of transactions that were prepared when
// the base was taken, and may end long after: their ids with those of their
// subtransactions. ok is false if a file could not be read.
//
// Source: access/transam/twophase.c, ReadTwoPhaseFile.
func basePrepared(files [][]byte, major int) (xids map[pg.XID]bool, ok bool) {
	const (
		prepare = 0x10 // XLOG_XACT_PREPARE
		crcSize = 4
	)
	xids, ok = make(map[pg.XID]bool), true
	for _, f := range files {
		n := len(f) - crcSize
		if n < 0 || crc32.Checksum(f[:n], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(f[n:]) {
			ok = false
			continue
		}
		p, known, err := wal.DecodePrepare(&wal.Record{Rmgr: pg.RmgrTransaction, Info: prepare, Major: major, Main: f[:n]})
		if err != nil || !known {
			ok = false
			continue
		}
		xids[p.XID] = true
		for _, sub := range p.SubXIDs {
			xids[sub] = true
		}
	}
	return xids, ok
}

// mayBePrepared says that a transaction without an end may outlive a restart:
// it was prepared, in the span or before the base.
func (r *run) mayBePrepared(xid pg.XID) bool {
	afterBase := int32(uint32(xid)-uint32(r.baseControl.CheckPoint.NextXID)) >= 0
	return r.ra.Prepared(xid) || !afterBase && (!r.preparedKnown || r.prepared[xid])
}
