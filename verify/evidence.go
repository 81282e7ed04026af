package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/native"
)

// evidence is all that is known of some blocks that differ.
type evidence struct {
	known     bool // history, owners and places were looked up
	base      map[pg.Block][]byte
	history   map[pg.Block]*blockHistory
	owners    map[pg.LSN]native.EndedBy   // records that end at the official pages' LSNs
	parted    map[pg.Block]divergence     // where official and replayed history part
	elsewhere map[pg.Block]pg.Block       // blocks whose page lies in another block's place
	liars     map[pg.Block]pg.BlockNumber // visibility map pages, and a heap block that contradicts each
}

// explainBatch gathers the evidence on a batch of blocks and judges each.
func (r *run) explainBatch(ctx context.Context, mm []mismatch) error {
	r.progress("explain differences", 0, int64(len(mm)))
	ev, err := r.gather(ctx, mm)
	if err != nil {
		return err
	}
	for _, m := range mm {
		if r.wrongRedo[m.Block] {
			continue // what differs at the end follows from it
		}
		if err := r.explainBlock(m, ev); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) gather(ctx context.Context, mm []mismatch) (*evidence, error) {
	ev := &evidence{known: len(r.found) < r.listLimit(), base: make(map[pg.Block][]byte)} // past the list's end only the severity counts
	blocks := make([]pg.Block, 0, len(mm))
	for _, m := range mm {
		blocks = append(blocks, m.Block)
	}
	err := r.Base.Fetch(ctx, blocks, func(b pg.Block, p []byte) error {
		ev.base[b] = slices.Clone(p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read blocks of the base again: %w", err)
	}
	if !ev.known {
		return ev, nil
	}
	if ev.history, err = r.follow(ctx, mm, ev.base); err != nil {
		return nil, err
	}
	if err := r.findOwners(ctx, mm, ev); err != nil {
		return nil, err
	}
	if err := r.traces(ctx, mm, ev); err != nil {
		return nil, err
	}
	if ev.elsewhere, err = r.findElsewhere(mm); err != nil {
		return nil, err
	}
	if r.moving != nil {
		return ev, nil // a heap page and its map are not of one moment there
	}
	return ev, r.checkMaps(ctx, mm, ev)
}

// findOwners looks up which records end at the LSNs of official pages that no
// record of their own block accounts for.
func (r *run) findOwners(ctx context.Context, mm []mismatch, ev *evidence) (err error) {
	lsns := make(map[pg.LSN]bool)
	for _, m := range mm {
		official, err := r.spool.get(m.official)
		if err != nil {
			return err
		}
		lsn := page.Page(official).LSN()
		own := slices.ContainsFunc(ev.history[m.Block].touches, func(t native.Touch) bool { return t.End == lsn })
		if lsn > r.out.Span.From && lsn <= r.historySpan().To && !own {
			lsns[lsn] = true
		}
	}
	if len(lsns) == 0 {
		return nil
	}
	if ev.owners, err = native.Ends(ctx, r.WAL, r.historySpan(), lsns); err != nil {
		return r.walError("look for the records that official pages name", err)
	}
	return nil
}

func (r *run) explainBlock(m mismatch, ev *evidence) error {
	official, err := r.spool.get(m.official)
	if err != nil {
		return err
	}
	replayed, err := r.spool.get(m.replayed)
	if err != nil {
		return err
	}
	if replayed == nil {
		replayed = ev.base[m.Block]
	}
	in := compare.Input{
		Block: m.Block, Major: r.out.Postgres.Major, Official: official, Replayed: replayed, Checksums: m.checksum,
		Touched: m.touched, VMMayLackBits: r.vmMayLackBits(m.RelFork), SeqIncrement: r.increments[m.RelFileLocator],
	}
	xacts := xactLookup{r: r}
	in.XactState = xacts.state
	if err := r.addHistory(&in, m, ev); err != nil {
		return err
	}
	res := compare.Pages(in)
	if xacts.err != nil {
		return xacts.err
	}
	if len(res.Claims) > 0 {
		heap := pg.RelFork{RelFileLocator: m.RelFileLocator}
		r.tally.claims[heap] = append(r.tally.claims[heap], res.Claims...)
	}
	d := r.describe(m, res, official)
	ev.blameMap(m.Block, &d)
	if err := r.addEvidence(m, in.BaseBad, &d); err != nil {
		return err
	}
	if r.moving != nil {
		d.Explanation = joinSentences(d.Explanation, r.moving.words[m.Block])
	}
	if d.Kind == "" {
		return nil // equal after all, and nothing else speaks against it
	}
	if ev.known {
		ev.addDivergence(m.Block, &d)
		r.addPages(&d, m, official, replayed)
		r.addRecords(&d, ev.history[m.Block])
	}
	r.add(d)
	return nil
}

// addHistory adds what is known of a block besides its two pages.
func (r *run) addHistory(in *compare.Input, m mismatch, ev *evidence) error {
	in.Span = r.historySpan()
	if h := ev.history[m.Block]; h != nil {
		h.feed(in)
	}
	base := ev.base[m.Block]
	if len(in.Official) == pg.BlockSize {
		lsn := page.Page(in.Official).LSN()
		if e, ok := ev.owners[lsn]; ok {
			in.LSNOwner = &compare.LSNOwner{Record: e.Rmgr.String() + " " + e.OpName(in.Major), At: e.LSN}
			if len(e.Blocks) > 0 {
				in.LSNOwner.Named, in.LSNOwner.Block = true, e.Blocks[0]
			}
		} else if ev.known && lsn > r.out.Span.From && lsn <= r.historySpan().To {
			in.LSNOwner = &compare.LSNOwner{} // looked up, and none ends there
		}
	}
	if e, ok := ev.elsewhere[m.Block]; ok {
		in.Elsewhere = &e
	}
	if len(base) != pg.BlockSize {
		return nil
	}
	in.BaseLSN = page.Page(base).LSN()
	bad, err := r.baseBad(m, base)
	in.BaseBad = bad
	return err
}

// baseBad says that redo built on a page of the base that fails its checksum.
// An online base may have torn pages, which the WAL replaces whole.
func (r *run) baseBad(m mismatch, base page.Page) (bool, error) {
	if !m.touched || !r.baseSums() || base.ChecksumOK(m.Number) {
		return false, nil
	}
	var buf [pg.BlockSize]byte
	p, err := r.ra.Page(m.RelFork, m.Number, buf[:])
	return err == nil && p.Touched && !p.Whole, err
}

// addEvidence adds what redo met on the block, on either side.
func (r *run) addEvidence(m mismatch, baseBad bool, d *finding.Discrepancy) error {
	var buf [pg.BlockSize]byte
	for _, side := range []struct {
		page  func(pg.RelFork, pg.BlockNumber, []byte) (native.Page, error)
		name  string
		blame finding.Blame
		bad   bool
	}{{r.replayedPage, "base", finding.BlameBase, baseBad}, {r.officialPage, "official side", finding.BlameOfficial, false}} {
		p, err := side.page(m.RelFork, m.Number, buf[:])
		if err != nil {
			return err
		}
		kind, blame, why := finding.Kind(""), side.blame, ""
		switch {
		case p.Failed != nil:
			kind = finding.Unexplained
			blame, why = failure(p.Failed, side.name, side.blame, side.bad)
		case p.Invalid != 0:
			kind, why = finding.ZeroedPage, fmt.Sprintf("The record at %s changes this block, but the %s has no such page, or all zeros.", p.Invalid, side.name)
		case p.Future != 0:
			kind, why = finding.PhantomWrite, fmt.Sprintf("The %s's page was already newer than the record at %s that changes it.", side.name, p.Future)
		default:
			continue
		}
		if d.Kind == "" || d.Severity == finding.Benign || p.Failed != nil {
			d.Kind = kind
		}
		d.Severity, d.Blame = finding.Critical, blame
		d.FirstDivergentReason = "redo could not follow the block, so that its versions are not known"
		d.Explanation = joinSentences(d.Explanation, why)
	}
	return nil
}

// failure says whom a record that could not be redone speaks against.
func failure(err error, side string, blame finding.Blame, bad bool) (finding.Blame, string) {
	switch {
	case errors.Is(err, wal.ErrDialect):
		return finding.BlameWAL, fmt.Sprintf("A record of the WAL makes no sense, although its CRC is right (%v): it is not the one that the server wrote.", err)
	case bad:
		return blame, fmt.Sprintf("A record could not be redone on the %s's page, which fails its checksum (%v).", side, err)
	}
	return finding.BlameUnknown, fmt.Sprintf("A record could not be redone on the %s's page (%v): page, WAL or engine is wrong.", side, err)
}
