package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// compareOfficial streams the official side and compares it with the replayed
// one; an online backup's own WAL is replayed over it before its last blocks
// are compared.
func (r *run) compareOfficial(ctx context.Context) error {
	cfg := r.Native
	cfg.Filter = r.wanted
	own := pg.Range{From: r.official.Redo, To: r.out.Span.To}
	r.b = native.New(cfg, r.WAL, native.Span{Range: own, TLI: r.official.TLI, Clean: !r.official.Online})
	if _, err := r.b.Scan(ctx); err != nil {
		return r.walError(fmt.Sprintf("read WAL %s of the official side", own), err)
	}
	side, err := r.walkOfficial(ctx)
	if err != nil {
		return err
	}
	c := side.control
	if c == nil {
		return inputErrorf("the official side %s has no %s: it is not a whole data directory", r.Official.Name(), datadir.ControlPath)
	}
	if err := r.controlFits(c, r.Official.Name()); err != nil {
		return err
	}
	r.officialCtl = c
	if !c.Checksums() {
		r.tally.forgetChecksums()
	}
	r.b.SetBase(nativeBase(c))
	if r.rb, err = r.b.Replay(ctx); err != nil {
		return r.walError(fmt.Sprintf("replay WAL %s over the official side", own), err)
	}
	if err := r.serveOfficial(ctx); err != nil {
		return err
	}
	if err := errors.Join(side.replayed(), r.reread(ctx)); err != nil {
		return err
	}
	if err := r.relations(ctx, side); err != nil {
		return err
	}
	return r.slrus(ctx, side)
}

// officialSide visits the official side's files.
type officialSide struct {
	*run
	pool      *pool
	control   *datadir.Control
	checksums bool
	slrus     map[pg.SLRUPage][]byte // pages that the walk could not say are equal
	seenSLRU  map[pg.SLRUPage]bool
	tails     map[pg.RelFork]int // bytes behind the last whole page
}

func (r *run) walkOfficial(ctx context.Context) (*officialSide, error) {
	p := newPool(ctx, r.Native.Workers)
	s := &officialSide{
		run: r, pool: p, checksums: r.baseControl.Checksums() && !r.official.Unsummed,
		slrus: make(map[pg.SLRUPage][]byte), seenSLRU: make(map[pg.SLRUPage]bool), tails: make(map[pg.RelFork]int),
	}
	err := r.readOfficial(p.ctx, lending{tee{r.b, s, &counter{run: r, stage: "compare"}}, p})
	if poolErr := p.wait(); poolErr != nil {
		err = poolErr
	}
	if err != nil {
		return nil, fmt.Errorf("read official side: %w", err)
	}
	return s, nil
}

// Blocks compares a run of pages in the background.
func (s *officialSide) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if !compared(f) {
		return nil
	}
	fork, redo := f.RelFork, pg.LSN(0)
	if s.moving != nil {
		redo = s.moving.note(fork, first)
	}
	return s.pool.submit(pages, func(w *workspace) error {
		c := s.newComparison(fork, s.checksums, w)
		c.redo = redo
		pages := w.pages
		for i := 0; i < len(pages); i += pg.BlockSize {
			b := first + pg.BlockNumber(i/pg.BlockSize)
			if s.b.Touched(fork, b) {
				continue // after its own WAL
			}
			if err := c.block(b, pages[i:i+pg.BlockSize]); err != nil {
				return err
			}
		}
		s.tally.merge(c)
		return nil
	})
}

// EndRelation counts what is not compared and notes torn files.
func (s *officialSide) EndRelation(f datadir.RelFile, size int64) error {
	switch {
	case f.Temp:
		s.tally.skipped["temporary"]++
	case f.Fork == pg.FSMFork:
		if f.Segment == 0 {
			s.tally.skipped["fsm"]++
		}
	case size%pg.BlockSize != 0 && !s.run.official.Online:
		s.tails[f.RelFork] = int(size % pg.BlockSize)
	}
	return nil
}

// replayed compares the blocks that the official side's own WAL touched.
func (s *officialSide) replayed() error {
	buf, work := make([]byte, pg.BlockSize), &workspace{}
	for _, f := range s.rb.Forks() {
		c := s.newComparison(f.RelFork, false, work)
		err := s.rb.EachTouched(f.RelFork, func(b pg.BlockNumber) error {
			if b >= f.Size {
				return nil
			}
			p, err := s.officialPage(f.RelFork, b, buf)
			if err != nil {
				return err
			}
			return c.own(b, p)
		})
		if err != nil {
			return err
		}
		// Blocks that its own WAL added and that are left out by choice are in no file.
		for b := f.BaseBlocks; b < f.Size && s.wanted != nil; b++ {
			if !s.wanted(f.RelFork, b) {
				c.part.skipped++
			}
		}
		s.tally.merge(c)
	}
	return nil
}

// comparison compares blocks of one fork.
type comparison struct {
	*run
	fork      pg.RelFork
	checksums bool
	work      *workspace
	part      forkTally
	found     []mismatch
	sequences []sequenceClaim
	claims    []pg.BlockNumber
	redo      pg.LSN     // of a moving side: all changes before are on the pages
	memory    bool       // of a moving side: the pages are those in its memory
	pended    []*pending // of a moving side
}

// newComparison is for one goroutine.
func (r *run) newComparison(f pg.RelFork, checksums bool, work *workspace) *comparison {
	work.xacts.r = r
	return &comparison{run: r, fork: f, checksums: checksums, work: work}
}

// own looks at a block of the official side after its own WAL.
func (c *comparison) own(b pg.BlockNumber, p native.Page) error {
	switch {
	case p.Tainted:
		c.part.taint(p.TaintedBy, 1)
		return nil
	case p.Invalid != 0, p.Failed != nil:
		c.part.compared++
		return c.differs(b, p.Bytes, nil, true)
	case p.Whole:
		c.part.overwritten++
		return nil
	}
	return c.block(b, p.Bytes)
}

// block compares one official page with what replay made of it.
func (c *comparison) block(b pg.BlockNumber, official []byte) error {
	f, ok := c.replayedFork(c.fork)
	if !ok || b >= f.Size {
		if !compare.Blank(official, c.fork) {
			if c.moving != nil {
				return c.pend(b, official, false, false)
			}
			c.part.beyond++
		}
		if b == 0 && compare.BloomInit(official, c.fork, c.out.Postgres.Major) && c.sound(b, official) {
			c.part.bloomInit = true
		}
		return nil
	}
	if c.wanted != nil && !c.wanted(c.fork, b) {
		c.part.skipped++
		return nil
	}
	if at, ok := c.ra.CopiedDatabase(c.fork.Spc, c.fork.DB); ok && c.base.Online && at < c.consistentAt {
		c.part.unverifiable++
		return nil
	}
	p, err := c.replayedPage(c.fork, b, c.work.page[:])
	if err != nil {
		return err
	}
	switch {
	case p.Tainted:
		c.part.taint(p.TaintedBy, 1)
		return nil
	case p.Bytes != nil:
		return c.held(b, c.unstamped(official, p.Bytes), p)
	case b >= f.BaseBlocks:
		return c.held(b, official, native.Page{Bytes: zeroPage, Touched: true})
	}
	return c.untouched(b, official)
}

// unstamped is an official page of a visibility map with the replayed one's
// LSN, where its own says nothing but that it is not from after the span.
func (c *comparison) unstamped(official, replayed page.Page) page.Page {
	if !c.run.official.MapsStamped || c.fork.Fork != pg.VMFork || c.late(official) || official.Check() != nil || replayed.IsNew() || official.IsNew() {
		return official
	}
	out := slices.Clone(official)
	out.SetLSN(replayed.LSN())
	return out
}

// untouched compares by the hash of the normal form.
func (c *comparison) untouched(b pg.BlockNumber, official []byte) error {
	c.part.compared++
	c.part.untouched++
	want, ok := c.index.hash(c.fork, b)
	if ok && normalHash(official, c.fork.Fork, b, c.work.normal[:]) == want && c.sound(b, official) && c.hintsFit(official) {
		return c.work.xacts.err
	}
	return c.differs(b, official, nil, false)
}

// sound says whether a page that has the right content is also stored right:
// its checksum fits and its LSN is not from after the span.
func (c *comparison) sound(b pg.BlockNumber, official page.Page) bool {
	return !c.late(official) && (!c.checksums || official.ChecksumOK(b))
}

// hintsFit says whether the hint bits of a heap page, which the normal form
// leaves out, agree with pg_xact.
func (c *comparison) hintsFit(p page.Page) bool {
	return page.KindOf(p, c.fork.Fork) != page.KindHeap || compare.HintsFit(p, c.work.xacts.state)
}

// late says that a page claims to be from after the span.
func (c *comparison) late(official page.Page) bool { return official.LSN() > c.out.Span.To }

// held compares a page that redo made, or that was kept for it.
func (c *comparison) held(b pg.BlockNumber, official []byte, p native.Page) error {
	c.part.compared++
	if !p.Touched {
		c.part.untouched++
	}
	broken := p.Invalid != 0 || p.Failed != nil || p.Future != 0
	if !broken {
		in := compare.Input{
			Block: pg.Block{RelFork: c.fork, Number: b}, Major: c.out.Postgres.Major,
			Official: official, Replayed: p.Bytes, Checksums: c.checksums, Touched: p.Touched,
			VMMayLackBits: c.vmMayLackBits(c.fork), Terse: true, XactState: c.work.xacts.state,
		}
		if len(p.Hints) > 0 { // the whole history from its first LSN on
			in.History, in.HistoryKnown = hintHistory(p), true
		}
		res := compare.Pages(in)
		if c.work.xacts.err != nil {
			return c.work.xacts.err
		}
		if (res.Equal || res.Benign()) && !c.late(official) { // Pages has looked at the checksum
			if !res.Equal {
				c.part.benign++
			}
			c.claims = append(c.claims, res.Claims...)
			return c.claim(b, official, p, res.SeqIncrement)
		}
	}
	return c.differs(b, official, p.Bytes, p.Touched)
}

// hintHistory is the last record that set the page's LSN and those after it that may have.
func hintHistory(p native.Page) []compare.Touch {
	out := []compare.Touch{{End: p.Hints[0]}}
	for _, end := range p.Hints[1:] {
		out = append(out, compare.Touch{End: end, MaySetLSN: true})
	}
	return out
}

// vmMayLackBits says for which visibility maps replay may know less than the
// primary. A base that is replay's own, a snapshot or a standby's, has lost the
// bits of databases that were made page by page, however long ago.
func (r *run) vmMayLackBits(f pg.RelFork) bool {
	if f.Fork == pg.VMFork && r.moving != nil && r.moving.ahead != nil && r.moving.ahead.WALLoggedDatabase(f.Spc, f.DB) {
		return true
	}
	return f.Fork == pg.VMFork && (r.ra.WALLoggedDatabase(f.Spc, f.DB) || r.base.FromStandby || r.base.Online && !r.baseControl.CheckPoint.FullPageWrites)
}

func (c *comparison) differs(b pg.BlockNumber, official, replayed []byte, touched bool) error {
	if c.moving != nil {
		return c.pend(b, official, true, !touched)
	}
	m, err := c.mismatch(b, official, replayed, touched)
	if err == nil {
		c.found = append(c.found, m)
	}
	return err
}

// mismatch puts two pages away.
func (c *comparison) mismatch(b pg.BlockNumber, official, replayed []byte, touched bool) (mismatch, error) {
	o, err := c.spool.put(official)
	if err != nil {
		return mismatch{}, err
	}
	p, err := c.spool.put(replayed)
	return mismatch{
		Block: pg.Block{RelFork: c.fork, Number: b}, official: o, replayed: p, touched: touched, checksum: c.checksums,
	}, err
}

var zeroPage = make([]byte, pg.BlockSize)
