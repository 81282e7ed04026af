package pgtest

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// SegmentHead is the first page of a segment as PostgreSQL 15 writes it: a
// long page header, and no record behind it.
// Source: XLogLongPageHeaderData in access/xlog_internal.h.
func SegmentHead(tli pg.TLI, n pg.SegmentNo, size int64, sysid uint64) []byte {
	const (
		pageSize = 8192   // XLOG_BLCKSZ
		magic    = 0xD110 // XLOG_PAGE_MAGIC of 15
		long     = 0x0002 // XLP_LONG_HEADER
	)
	b := make([]byte, pageSize)
	le := binary.LittleEndian
	le.PutUint16(b, magic)
	le.PutUint16(b[2:], long)
	le.PutUint32(b[4:], uint32(tli))
	le.PutUint64(b[8:], uint64(n.Start(size)))
	le.PutUint64(b[24:], sysid)
	le.PutUint32(b[32:], uint32(size))
	le.PutUint32(b[36:], pageSize)
	return b
}
