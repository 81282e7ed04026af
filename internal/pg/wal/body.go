package wal

import (
	"fmt"
	"time"

	"redoubt/internal/pg"
)

// Timestamp is PostgreSQL's TimestampTz: microseconds since 2000-01-01 UTC.
type Timestamp int64

// postgresEpoch is 2000-01-01 in Unix seconds.
const postgresEpoch = 946684800

// Time converts to Go's time, in UTC.
func (t Timestamp) Time() time.Time {
	return time.Unix(postgresEpoch+int64(t)/1e6, int64(t)%1e6*1000).UTC()
}

// is reports whether the record is operation op of resource manager rmgr. An
// operation that the resource manager does not have is an error, so that no
// caller takes it for one without effect.
func (r *Record) is(rmgr pg.RmgrID, op uint8) (bool, error) {
	if r.Rmgr != rmgr {
		return false, nil
	}
	if !KnownOp(r.Rmgr, r.Info, r.Major) {
		return false, r.dialect("operation 0x%02X is none of this resource manager", r.Op())
	}
	return r.Op() == op, nil
}

// CheckOp says whether the record's operation is one that its resource manager
// has, which of an extension's only the extension knows; the error is a
// *DialectError.
func (r *Record) CheckOp() error {
	if r.Rmgr.Custom() && !r.IsNeon() {
		return nil
	}
	_, err := r.is(r.Rmgr, r.Op())
	return err
}

// wantEnd says whether the cursor, over the record's main data, read it all
// and not beyond.
func (r *Record) wantEnd(c *cursor) error {
	if err := c.err(); err != nil {
		return r.dialect("main data of %d bytes: %v", len(r.Main), err)
	}
	if c.remaining() > 0 {
		return r.dialect("main data has %d bytes, %d more than its parts", len(r.Main), c.remaining())
	}
	return nil
}

// slruPage reads an SLRU page number: int32 up to 16, int64 since 17.
func (c *cursor) slruPage(r *Record) (uint32, error) {
	page := uint64(0)
	if r.Major < 17 {
		page = uint64(c.u32())
	} else {
		page = c.u64()
	}
	if page > 1<<31-1 {
		return 0, r.dialect("SLRU page %d does not exist", page)
	}
	return uint32(page), nil
}

// locator reads a RelFileLocator.
func (c *cursor) locator() pg.RelFileLocator {
	return pg.RelFileLocator{Spc: pg.OID(c.u32()), DB: pg.OID(c.u32()), Rel: pg.OID(c.u32())}
}

// count reads an int32 that says how many items of size bytes follow.
func (c *cursor) count(size int) int {
	n := c.u32()
	if !c.fits(n, size) {
		return 0
	}
	return int(n)
}

// xids reads n transaction ids.
func (c *cursor) xids(n int) []pg.XID {
	if n == 0 || !c.fits(uint32(n), 4) {
		return nil
	}
	xids := make([]pg.XID, n)
	for i := range xids {
		xids[i] = pg.XID(c.u32())
	}
	return xids
}

// locators reads n relations.
func (c *cursor) locators(n int) []pg.RelFileLocator {
	if n == 0 || !c.fits(uint32(n), 12) {
		return nil
	}
	rels := make([]pg.RelFileLocator, n)
	for i := range rels {
		rels[i] = c.locator()
	}
	return rels
}

// KnownOp reports whether the resource manager has the operation in that
// major. Of extensions' resource managers no operation is known.
func KnownOp(r pg.RmgrID, info uint8, major int) bool {
	return opName(r, info, major) != ""
}

// String is the record as pg_waldump names it: "Heap HOT_UPDATE at 0/14AEC08".
func (r *Record) String() string {
	return fmt.Sprintf("%s %s at %s", r.Rmgr, OpName(r.Rmgr, r.Info, r.Major), r.LSN)
}
