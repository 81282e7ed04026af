package wal

import (
	"bytes"

	"redoubt/internal/pg"
)

// Operations of resource manager Transaction and the bit that says that xinfo
// follows the time (access/xact.h).
const (
	xactOpMask         = 0x70
	xactCommit         = 0x00
	xactPrepare        = 0x10
	xactAbort          = 0x20
	xactCommitPrepared = 0x30
	xactAbortPrepared  = 0x40
	xactHasInfo        = 0x80
)

// Bits of xinfo (XACT_XINFO_*).
const (
	xinfoDBInfo       = 1 << 0
	xinfoSubxacts     = 1 << 1
	xinfoRels         = 1 << 2
	xinfoInvals       = 1 << 3
	xinfoTwophase     = 1 << 4
	xinfoOrigin       = 1 << 5
	xinfoAELocks      = 1 << 6
	xinfoGID          = 1 << 7
	xinfoDroppedStats = 1 << 8 // 15 and later
	xinfoCompletion   = 7 << 29
	xinfoKnown        = 1<<9 - 1 | xinfoCompletion
)

// sizeOfInval is sizeof(SharedInvalidationMessage).
const sizeOfInval = 16

// Xact is a record that ends a transaction: COMMIT, ABORT or their PREPARED
// variants (xl_xact_commit, xl_xact_abort, access/xact.h).
type Xact struct {
	Commit   bool
	Prepared bool      // COMMIT_PREPARED, ABORT_PREPARED
	XID      pg.XID    // of the transaction that ends, also for the PREPARED variants
	Time     Timestamp // xact_time
	DB       pg.OID    // 0 if the record does not say
	Spc      pg.OID    // the database's default tablespace, likewise

	SubXIDs       []pg.XID
	DroppedRels   []pg.RelFileLocator // all their forks go
	DroppedStats  int                 // statistics entries dropped
	Invalidations int                 // messages in the record
	GID           string              // of a prepared transaction, if logged

	OriginID   uint16 // replication origin of the record, 0 if none
	HasOrigin  bool   // OriginLSN and OriginTime are valid
	OriginLSN  pg.LSN
	OriginTime Timestamp
}

// DecodeXact decodes a record that ends a transaction; false for other
// records. Slices are copies, nothing aliases the record.
//
// Source: access/rmgrdesc/xactdesc.c, ParseCommitRecord and ParseAbortRecord.
func DecodeXact(r *Record) (Xact, bool, error) {
	if r.Rmgr != pg.RmgrTransaction {
		return Xact{}, false, nil
	}
	x := Xact{XID: r.XID, OriginID: r.Origin}
	switch r.Info & xactOpMask {
	case xactCommit:
		x.Commit = true
	case xactAbort:
	case xactCommitPrepared:
		x.Commit, x.Prepared = true, true
	case xactAbortPrepared:
		x.Prepared = true
	default:
		_, err := r.is(pg.RmgrTransaction, 0)
		return Xact{}, false, err
	}
	c := newCursor(r.Main)
	x.Time = Timestamp(c.u64())
	xinfo := uint32(0)
	if r.Info&xactHasInfo != 0 {
		xinfo = c.u32()
	}
	if unknown := xinfo &^ xinfoKnown; unknown != 0 || r.Major < 15 && xinfo&xinfoDroppedStats != 0 {
		return Xact{}, false, r.dialect("xinfo %08X has unknown bits", xinfo)
	}
	if x.Prepared != (xinfo&xinfoTwophase != 0) {
		return Xact{}, false, r.dialect("xinfo %08X does not fit the operation", xinfo)
	}
	x.parts(r, &c, xinfo)
	if err := r.wantEnd(&c); err != nil {
		return Xact{}, false, err
	}
	return x, true, nil
}

// parts reads the parts that xinfo announces, in their order.
func (x *Xact) parts(r *Record, c *cursor, xinfo uint32) {
	if xinfo&xinfoDBInfo != 0 {
		x.DB, x.Spc = pg.OID(c.u32()), pg.OID(c.u32())
	}
	if xinfo&xinfoSubxacts != 0 {
		x.SubXIDs = c.xids(c.count(4))
	}
	if xinfo&xinfoRels != 0 {
		x.DroppedRels = c.locators(c.count(12))
	}
	if xinfo&xinfoDroppedStats != 0 {
		size := sizeOfStatsItem(r.Major)
		x.DroppedStats = c.count(size)
		c.skip(x.DroppedStats * size)
	}
	if xinfo&xinfoInvals != 0 && x.Commit {
		x.Invalidations = c.count(sizeOfInval)
		c.skip(x.Invalidations * sizeOfInval)
	}
	if xinfo&xinfoTwophase != 0 {
		x.XID = pg.XID(c.u32())
		if xinfo&xinfoGID != 0 {
			x.GID = c.cString()
		}
	}
	if xinfo&xinfoOrigin != 0 {
		x.HasOrigin = true
		x.OriginLSN, x.OriginTime = pg.LSN(c.u64()), Timestamp(c.u64())
	}
}

// sizeOfStatsItem is sizeof(xl_xact_stats_item): the object's id has 64 bits since 18.
func sizeOfStatsItem(major int) int {
	if major < 18 {
		return 12
	}
	return 16
}

// cString reads up to and including a zero byte, which must be there.
func (c *cursor) cString() string {
	n := bytes.IndexByte(c.buf[c.pos:], 0)
	if c.bad || n < 0 {
		c.bad = true
		return ""
	}
	s := string(c.bytes(n))
	c.skip(1)
	return s
}
