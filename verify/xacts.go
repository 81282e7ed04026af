package verify

import (
	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// baseXacts keeps the base's pg_xact, on disk, so that hint bits can be held
// against it and catalog rows told from dead ones.
type baseXacts struct {
	spool *spool
	at    map[uint32]int64 // page to place
}

// keep takes the pages of a segment.
func (x *baseXacts) keep(c datadir.PathInfo, content []byte) error {
	if x == nil || c.SLRU != pg.XactSLRU {
		return nil
	}
	for i := 0; i+pg.BlockSize <= len(content); i += pg.BlockSize {
		at, err := x.spool.put(content[i : i+pg.BlockSize])
		if err != nil {
			return err
		}
		x.at[c.First+uint32(i/pg.BlockSize)] = at
	}
	return nil
}

// base says how a transaction had ended when the base was taken.
func (x *baseXacts) base(xid pg.XID) (compare.XactState, error) {
	at, ok := x.at[uint32(xid/xactsPerPage)]
	if !ok {
		return compare.XactNotKnown, nil
	}
	b, err := x.spool.byteAt(at, int64(xid%xactsPerPage/4))
	return xactStateOf(b, xid), err
}

// xactsPerPage is CLOG_XACTS_PER_PAGE: two bits each.
const xactsPerPage = pg.BlockSize * 4

// xactStateOf reads two bits (access/clog.h). Sub-committed is a state on the
// way to committed, which only the parent decides.
func xactStateOf(b byte, xid pg.XID) compare.XactState {
	switch b >> (xid % 4 * 2) & 3 {
	case 0:
		return compare.XactUnknown
	case 1:
		return compare.XactCommitted
	case 2:
		return compare.XactAborted
	}
	return compare.XactNotKnown
}

// xactState says how a transaction ended by the replayed pg_xact: the base's
// page where redo did not write it.
func (r *run) xactState(xid pg.XID) (compare.XactState, error) {
	var buf [pg.BlockSize]byte
	p := pg.SLRUPage{SLRU: pg.XactSLRU, Page: uint32(xid / xactsPerPage)}
	b, _, known, err := r.ra.SLRUPage(p, buf[:])
	switch {
	case err != nil:
		return compare.XactNotKnown, err
	case known:
		return xactStateOf(b[xid%xactsPerPage/4], xid), nil
	case r.ra.SLRUTruncated(p) || r.ra.SLRURemoved(pg.XactSLRU):
		return compare.XactNotKnown, nil
	}
	return r.xacts.base(xid)
}
