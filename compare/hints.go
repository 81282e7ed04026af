package compare

import (
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// contradiction finds a heap tuple whose hint bits can't be right, though the
// pages are equal without hints: one side says that a transaction committed
// and the other that it did not, or the official side's hint is not what its
// pg_xact says. Such a bit makes a row appear or vanish. It returns "" if
// there is none.
func (c *pair) contradiction() string {
	if c.kind != page.KindHeap {
		return ""
	}
	for n := 1; n <= c.o.NumItems(); n++ {
		to, ok := c.o.HeapTuple(n)
		tr, ok2 := c.r.HeapTuple(n)
		if !ok || !ok2 || to.Infomask() == tr.Infomask() {
			continue
		}
		if why := c.xminContradiction(to, tr); why != "" {
			return fmt.Sprintf("Tuple %d: %s.", n, why)
		}
		if why := c.xmaxContradiction(to, tr); why != "" {
			return fmt.Sprintf("Tuple %d: %s.", n, why)
		}
	}
	return ""
}

// HintsFit reports whether no hint bit of a heap page says of a transaction
// what state contradicts. It serves pages whose normal form is right already.
func HintsFit(p page.Page, state func(pg.XID) XactState) bool {
	for n := 1; n <= p.NumItems(); n++ {
		t, ok := p.HeapTuple(n)
		if !ok {
			continue
		}
		mask := t.Infomask()
		if !fits(t.Xmin(), hint(mask, page.HeapXminCommitted, page.HeapXminInvalid), state) {
			return false
		}
		if mask&page.HeapXmaxIsMulti == 0 && !t.XmaxLockedOnly() &&
			!fits(t.Xmax(), hint(mask, page.HeapXmaxCommitted, page.HeapXmaxInvalid), state) {
			return false
		}
	}
	return true
}

// fits says whether a hint h about a transaction may be right.
func fits(xid pg.XID, h XactState, state func(pg.XID) XactState) bool {
	return h == XactUnknown || xid < firstNormalXID || fitsState(h, state(xid))
}

// fitsState says whether a hint h may be right where pg_xact says s: a
// transaction that a crash ended has no status.
func fitsState(h, s XactState) bool {
	return s == h || s == XactNotKnown || s == XactUnknown && h == XactAborted
}

// hint is what a pair of hint bits says.
func hint(mask, committed, invalid uint16) XactState {
	switch mask & (committed | invalid) {
	case committed:
		return XactCommitted
	case invalid:
		return XactAborted
	}
	return XactUnknown // none; or both, which means something else
}

// xminContradiction compares the hints about the inserting transaction.
func (c *pair) xminContradiction(o, r page.HeapTuple) string {
	ho := hint(o.Infomask(), page.HeapXminCommitted, page.HeapXminInvalid)
	hr := hint(r.Infomask(), page.HeapXminCommitted, page.HeapXminInvalid)
	return c.opposed("xmin", o.Xmin(), ho, hr)
}

// xmaxContradiction compares the hints about the deleting transaction. They
// say nothing about its end if it only locked (HEAP_XMAX_INVALID then means
// that the lock is gone) or is a multixact.
func (c *pair) xmaxContradiction(o, r page.HeapTuple) string {
	if o.XmaxLockedOnly() || o.Infomask()&page.HeapXmaxIsMulti != 0 {
		return ""
	}
	ho := hint(o.Infomask(), page.HeapXmaxCommitted, page.HeapXmaxInvalid)
	hr := hint(r.Infomask(), page.HeapXmaxCommitted, page.HeapXmaxInvalid)
	return c.opposed("xmax", o.Xmax(), ho, hr)
}

// firstNormalXID is FirstNormalTransactionId: those below never abort and are
// not in pg_xact.
const firstNormalXID = 3

// opposed says how the official hint ho about a transaction contradicts the
// replayed one, or pg_xact.
func (c *pair) opposed(field string, xid pg.XID, ho, hr XactState) string {
	if ho == XactUnknown || ho == hr || xid < firstNormalXID {
		return ""
	}
	if hr != XactUnknown {
		return fmt.Sprintf("the official hint bits say that its %s %d %s, the replayed ones that it %s", field, xid, ho, hr)
	}
	if c.in.XactState == nil {
		return ""
	}
	s := c.in.XactState(xid)
	if fitsState(ho, s) {
		return ""
	}
	return fmt.Sprintf("the official hint bits say that its %s %d %s, but by pg_xact it %s", field, xid, ho, s)
}

// String is a verb: "committed".
func (s XactState) String() string {
	switch s {
	case XactCommitted:
		return "committed"
	case XactAborted:
		return "aborted"
	}
	return "did not end"
}
