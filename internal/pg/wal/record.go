package wal

import "redoubt/internal/pg"

// Record is one decoded WAL record. Main, Blocks[i].Data and image bytes
// alias the memory the Reader got from its page source (or a buffer of their
// own when the record crosses pages); they are never written to again, so a
// Record may be kept as long as its reader's chunks may.
// Source: access/xlogrecord.h, access/xlogreader.h (DecodedXLogRecord).
type Record struct {
	LSN    pg.LSN // of the record's first byte
	End    pg.LSN // EndRecPtr: what redo stores as page LSN
	Prev   pg.LSN // xl_prev
	Length uint32 // xl_tot_len, bytes
	XID    pg.XID // xl_xid, 0 for many records
	TopXID pg.XID // top-level xid, 0 if absent (block id 252)
	TLI    pg.TLI // of the page the record starts on
	Rmgr   pg.RmgrID
	Info   uint8  // whole xl_info; the low four bits are XLR_INFO_MASK
	Origin uint16 // replication origin, 0 if absent (block id 253)
	Major  int    // PostgreSQL major version of the WAL, from the page magic
	// Dialect is that of the WAL, as Config.Dialect says; a record has none of its own.
	Dialect Dialect
	Main    []byte // main data
	Blocks  []BlockRef
	// sound: CheckDialect has found the record to be in the format of its dialect,
	// so that CheckHeap, which all who read it ask, need not look again.
	sound bool
}

// Op is the part of Info that belongs to the resource manager (xl_info & 0xF0).
func (r *Record) Op() uint8 { return r.Info & 0xF0 }

// SpecialRelUpdate is XLR_SPECIAL_REL_UPDATE: the record changes relations in
// ways its block references don't show.
func (r *Record) SpecialRelUpdate() bool { return r.Info&0x01 != 0 }

// Block finds a block reference by its id (0 to 32), nil if there is none.
func (r *Record) Block(id uint8) *BlockRef {
	for i := range r.Blocks {
		if r.Blocks[i].ID == id {
			return &r.Blocks[i]
		}
	}
	return nil
}

// BlockRef is one block reference of a record (XLogRecordBlockHeader).
type BlockRef struct {
	pg.Block
	ID       uint8
	WillInit bool   // BKPBLOCK_WILL_INIT: redo starts from an empty page
	HasData  bool   // BKPBLOCK_HAS_DATA
	HasImage bool   // BKPBLOCK_HAS_IMAGE: Image is valid
	Data     []byte // block data; offsets inside are aligned relative to its start
	Image    Image
}

// Compression is the method a full-page image is compressed with.
type Compression uint8

// The methods (wal_compression); lz4 and zstd since 15.
const (
	NoCompression Compression = iota
	PGLZ
	LZ4
	Zstd
)

// Image is a full-page image, its hole cut out and perhaps compressed
// (XLogRecordBlockImageHeader).
type Image struct {
	Bytes       []byte // as stored
	HoleOffset  uint16
	HoleLength  uint16
	Compression Compression
	Apply       bool // BKPIMAGE_APPLY: redo restores it; without, it only proves (wal_consistency_checking)
}
