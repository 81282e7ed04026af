package wal

import "redoubt/internal/pg"

// twophaseMagic is TWOPHASE_MAGIC (access/transam/twophase.c).
const twophaseMagic = 0x57F94534

// Prepare is a record of PREPARE TRANSACTION: the state file of a prepared
// transaction (xl_xact_prepare, access/xact.h).
type Prepare struct {
	XID        pg.XID
	DB         pg.OID
	Time       Timestamp // of the preparation
	Owner      pg.OID    // role
	GID        string
	SubXIDs    []pg.XID
	CommitRels []pg.RelFileLocator // dropped if it commits
	AbortRels  []pg.RelFileLocator // dropped if it aborts
	OriginLSN  pg.LSN
	OriginTime Timestamp
	State      []byte // what resource managers keep, aliases the record
}

// DecodePrepare decodes a PREPARE; false for other records. Each part of it
// begins at a multiple of 8 bytes.
//
// Source: access/rmgrdesc/xactdesc.c, ParsePrepareRecord;
// access/transam/twophase.c, StartPrepare and EndPrepare.
func DecodePrepare(r *Record) (Prepare, bool, error) {
	if r.Rmgr != pg.RmgrTransaction || r.Info&xactOpMask != xactPrepare {
		_, err := r.is(pg.RmgrTransaction, 0)
		return Prepare{}, false, err
	}
	c := newCursor(r.Main)
	magic, length := c.u32(), c.u32()
	if c.err() == nil && (magic != twophaseMagic || uint64(length) != uint64(len(r.Main))+4) {
		return Prepare{}, false, r.dialect("magic %08X and length %d of the state do not fit its %d bytes", magic, length, len(r.Main))
	}
	p := Prepare{XID: pg.XID(c.u32()), DB: pg.OID(c.u32()), Time: Timestamp(c.u64()), Owner: pg.OID(c.u32())}
	subs, commits, aborts := c.u32(), c.u32(), c.u32()
	commitStats, abortStats := uint32(0), uint32(0)
	if r.Major >= 15 {
		commitStats, abortStats = c.u32(), c.u32()
	}
	invals := c.u32()
	c.skip(2) // initfileinval, padding
	gid := int(c.u16())
	p.OriginLSN, p.OriginTime = pg.LSN(c.u64()), Timestamp(c.u64())
	c.align(8)
	p.GID = gidString(c.bytes(gid))
	c.align(8)
	p.SubXIDs = c.xids(c.bounded(subs, 4))
	c.align(8)
	p.CommitRels = c.locators(c.bounded(commits, 12))
	c.align(8)
	p.AbortRels = c.locators(c.bounded(aborts, 12))
	c.align(8)
	size := sizeOfStatsItem(r.Major)
	c.skip(c.bounded(commitStats, size) * size)
	c.align(8)
	c.skip(c.bounded(abortStats, size) * size)
	c.align(8)
	c.skip(c.bounded(invals, sizeOfInval) * sizeOfInval)
	p.State = c.rest()
	if err := r.wantEnd(&c); err != nil {
		return Prepare{}, false, err
	}
	return p, true, nil
}

// bounded is n, or 0 with a sticky error if n items of size bytes do not remain.
func (c *cursor) bounded(n uint32, size int) int {
	if !c.fits(n, size) {
		return 0
	}
	return int(n)
}

// gidString cuts the zero byte that ends a transaction's name.
func gidString(b []byte) string {
	if len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return string(b)
}
