package verify

import (
	"bytes"

	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// chase holds one page of a moving side against the versions that its block
// has from the span's end on. The page is accounted for if a version is the same that no
// record follows which must be on disk.
type chase struct {
	*run
	p        *pending
	work     *workspace
	official page.Page
	start    []byte // at the span's end, nil if it is not known or there is none
	history  []compare.Touch
	mayHint  bool // a record may have set the LSN, or not
	last     []byte
	stop     []byte // the version that the page must have at least
	stopAt   pg.LSN // where the record behind it starts, or the page's own LSN
	versions int
	matched  bool
	gone     bool
	blank    bool // it was cut off, and no record since must be on disk
	unknown  bool
	hidden   bool // the block's versions are not known at the end
	seq      *sequenceClaim
	vm       *mapRange
}

func (r *run) newChase(p *pending, work *workspace) (c *chase, err error) {
	c = &chase{run: r, p: p, work: work, stopAt: max(p.lsn, p.redo)}
	b, err := r.spool.get(p.official)
	if err != nil {
		return nil, err
	}
	c.official = b
	if p.Fork == pg.VMFork && b != nil {
		c.vm = &mapRange{official: b, lacks: r.vmMayLackBits(p.RelFork)}
	}
	if err := c.begin(); err != nil {
		return nil, err
	}
	if c.start != nil {
		c.see(c.start, lsnOf(c.start), true)
	}
	return c, nil
}

// begin finds the block's page at the span's end.
func (c *chase) begin() error {
	f, ok := c.ra.Fork(c.p.RelFork)
	if !ok || c.p.Number >= f.Size {
		return nil
	}
	var buf [pg.BlockSize]byte
	held, err := c.ra.Page(c.p.RelFork, c.p.Number, buf[:])
	switch {
	case err != nil:
		return err
	case held.Bytes != nil:
		c.start = append([]byte(nil), held.Bytes...)
		if len(held.Hints) > 0 {
			c.history, c.mayHint = hintHistory(held), true
		}
		c.unknown = held.Tainted || held.Failed != nil || held.Invalid != 0
	case c.p.Number >= f.BaseBlocks:
		c.start = zeroPage
	default:
		c.start, err = c.spool.get(c.p.base)
		return err
	}
	return nil
}

// version takes the block after one more record.
func (c *chase) version(v *native.Version) error {
	must := v.LSN < c.p.redo
	if v.Gone {
		// If it comes again, it is zeros on disk until it is written.
		c.gone, c.blank, c.last = true, true, nil
		c.matched = c.matched && !must
		return nil
	}
	c.gone = false
	if must && v.SetsLSN && !v.MaySetLSN {
		c.blank = false
	}
	if c.matched && must && v.SetsLSN && !v.MaySetLSN && !v.OnlyHints() {
		c.matched, c.seq = false, nil // a checkpoint has put the record's change on disk, and it is not there
	}
	if v.SetsLSN {
		c.history = append(c.history, compare.Touch{End: v.End, MaySetLSN: v.MaySetLSN})
		c.mayHint = c.mayHint || v.MaySetLSN
	}
	if v.Page == nil {
		c.hidden = c.hidden || !v.OnlyHints()
		return nil
	}
	c.versions++
	c.hidden = false
	c.see(v.Page, v.End, v.LSN < c.stopAt)
	return nil
}

// see looks at a version; due says that the page must be of it or later.
func (c *chase) see(p page.Page, end pg.LSN, due bool) {
	if due {
		c.stop = append(c.stop[:0], p...)
	}
	if c.vm != nil {
		c.vm.see(p, end, due)
	}
	if !c.matched && c.official != nil {
		c.matched = c.is(p)
	}
}

// is says whether the page is a version, under the rules of compare.
func (c *chase) is(p page.Page) bool {
	if c.official.LSN() != p.LSN() && c.official.LSN() > 1 && !c.mayHint {
		return false
	}
	res := compare.Pages(compare.Input{
		Block: c.p.Block, Major: c.out.Postgres.Major, Official: c.official, Replayed: p, Checksums: c.p.checksum && !c.p.memory,
		Touched: true, VMMayLackBits: c.vmMayLackBits(c.p.RelFork), Terse: true, XactState: c.work.xacts.state,
		History: c.history, HistoryKnown: true, BaseLSN: lsnOf(c.start),
	})
	if !res.Equal && !res.Benign() {
		return false
	}
	if inc := res.SeqIncrement; inc != 0 && inc != usualIncrement {
		c.seq = &sequenceClaim{increment: inc, mismatch: mismatch{Block: c.p.Block, official: c.p.official, touched: true, checksum: c.p.checksum}}
		var err error
		if c.seq.replayed, err = c.spool.put(p); err != nil {
			c.work.xacts.err = err
		}
	}
	return true
}

// judge says what became of the block in this round.
func (c *chase) judge() error {
	p := c.p
	p.outcome = c.outcome()
	if c.seq != nil && p.outcome == accounted {
		c.tally.sequences = append(c.tally.sequences, *c.seq)
	}
	if p.outcome != unaccounted {
		return nil
	}
	var err error
	p.touched = c.a.Touched(p.RelFork, p.Number) || c.versions > 0
	if !p.touched {
		p.stop = -1 // the base's page
		return nil
	}
	p.stop, err = c.spool.put(c.stopPage())
	p.stopLSN = c.stopAt
	return err
}

func (c *chase) stopPage() []byte {
	if len(c.stop) == 0 {
		return nil
	}
	return c.stop
}

func (c *chase) outcome() outcome {
	m := c.moving
	_, copied := m.ahead.CopiedDatabase(c.p.Spc, c.p.DB)
	switch {
	case c.official == nil:
		return notThere // if it should be, the fork's size says so
	case c.blank && bytes.Equal(c.official, zeroPage):
		return accounted
	case c.matched, c.vm != nil && c.vm.fits() && (!c.p.checksum || c.official.ChecksumOK(c.p.Number)):
		return accounted
	case c.p.lsn > m.end && c.p.lsn <= m.reached:
		return tooNew
	case copied:
		return byCopy
	case c.hidden, c.unknown:
		return noRedo
	case c.versions == 0 && c.start == nil && (c.gone || !c.inSpan()):
		return nobodys
	}
	return unaccounted
}

// inSpan says whether the block is there at the span's end.
func (c *chase) inSpan() bool {
	f, ok := c.ra.Fork(c.p.RelFork)
	return ok && c.p.Number < f.Size
}

// mapRange is between which two sets of bits a page of the visibility map may
// be: a heap record's backend clears bits before it writes the record, so that
// a page may lack bits that records behind its LSN clear, in no order; and
// it never has a bit that a record before its LSN, or before the last
// checkpoint, has cleared. The replayed map may lack bits, where lacks says so.
type mapRange struct {
	official page.Page
	upper    []byte // all that may be set
	lower    []byte // all that must be
	last     []byte
	found    bool // a version has the page's LSN
	lacks    bool // official bits that replay has not say nothing
}

func (m *mapRange) see(p page.Page, end pg.LSN, due bool) {
	same := p.LSN() == m.official.LSN() || m.lacks && end == m.official.LSN()
	if due && !same {
		m.found = false // it is older than it may be
	}
	switch {
	case same && (due || !m.found):
		m.found = true
		m.upper = append(m.upper[:0], p...)
		if m.lower == nil {
			m.lower = append([]byte(nil), p...)
		}
		m.clear(m.lower, p)
	case m.found:
		m.clear(m.lower, p)
	}
	m.last = append(m.last[:0], p...)
}

// clear takes from set the bits that the version before had and p has not.
func (m *mapRange) clear(set []byte, p page.Page) {
	if len(m.last) != pg.BlockSize {
		return
	}
	for i := page.HeaderSize; i < pg.BlockSize; i++ {
		set[i] &^= m.last[i] &^ p[i]
	}
}

func (m *mapRange) fits() bool {
	if !m.found || m.official.Check() != nil {
		return false
	}
	return mask.VMSubset(m.lower, m.official) && (m.lacks || mask.VMSubset(m.official, m.upper))
}
