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

// xactLookup answers questions about transactions from copies of the pages
// asked for last. It is for one goroutine.
type xactLookup struct {
	r     *run
	pages [xactLookupPages]struct {
		n     uint32
		bytes []byte // nil: the page is not at hand
		read  bool   // page n was looked up
	}
	err error // the first that was met
}

// xactLookupPages are 2 million transactions and 512 KiB.
const xactLookupPages = 64

func (x *xactLookup) state(xid pg.XID) compare.XactState {
	n := uint32(xid / xactsPerPage)
	p := &x.pages[n%xactLookupPages]
	if !p.read || p.n != n {
		b, err := x.r.xactPage(n)
		if err != nil && x.err == nil {
			x.err = err
		}
		p.n, p.bytes, p.read = n, b, true
	}
	if p.bytes == nil {
		return compare.XactNotKnown
	}
	return xactStateOf(p.bytes[xid%xactsPerPage/4], xid)
}

// xactPage is a page of the replayed pg_xact, nil if it is not at hand.
func (r *run) xactPage(n uint32) ([]byte, error) {
	buf := make([]byte, pg.BlockSize)
	if b, known, err := r.aheadXact(n, buf); err != nil || known {
		return b, err
	}
	p := pg.SLRUPage{SLRU: pg.XactSLRU, Page: n}
	b, _, known, err := r.ra.SLRUPage(p, buf)
	switch at, ok := r.xacts.at[n]; {
	case err != nil || known:
		return b, err
	case !ok || r.ra.SLRUTruncated(p) || r.ra.SLRURemoved(pg.XactSLRU):
		return nil, nil
	default:
		return r.xacts.spool.get(at)
	}
}

// xactState says how a transaction ended by the replayed pg_xact.
func (r *run) xactState(xid pg.XID) (compare.XactState, error) {
	x := xactLookup{r: r}
	return x.state(xid), x.err
}

// xactStates is xactState for many questions in a row.
func (r *run) xactStates() func(pg.XID) (compare.XactState, error) {
	x := &xactLookup{r: r}
	return func(xid pg.XID) (compare.XactState, error) { return x.state(xid), x.err }
}
