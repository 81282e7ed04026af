package verify

import (
	"context"
	"errors"
	"fmt"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/replay/native"
	"redoubt/replay/redo"
)

// confirm asks the second engine about every critical discrepancy, and adds
// what only the comparison of the engines found. With Options.Confirm a
// server replays now, if it has not already and there is something to confirm.
func (r *run) confirm(ctx context.Context) error {
	if r.Engine == EngineServer || r.Engine != EngineBoth && (!r.Confirm || r.out.DiscrepancyCounts.Critical == 0) {
		return nil
	}
	if r.Engine != EngineBoth {
		if err := r.callWitness(ctx); err != nil {
			return err
		}
	}
	j := &judge{run: r, mismatch: make(map[pg.Block]mismatch)}
	for _, m := range r.tally.mismatches {
		j.mismatch[m.Block] = m
	}
	for i := range r.found {
		if d := &r.found[i]; d.Severity == finding.Critical {
			if err := j.discrepancy(ctx, d); err != nil {
				return err
			}
		}
	}
	for _, b := range sortedBlocks(r.disputed) {
		if err := j.dispute(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// callWitness has servers replay what is to be confirmed. Where one cannot,
// the discrepancies stay and the reason is told.
func (r *run) callWitness(ctx context.Context) error {
	err := r.callBase(ctx)
	if err == nil {
		err = r.callOfficial(ctx)
	}
	var why *inconclusive
	if !errors.As(err, &why) {
		return err
	}
	errors.As(err, &r.stopped)
	r.unwitnessed = append(r.unwitnessed, why.reason+"; the discrepancies are unconfirmed")
	return nil
}

// judge gives the second engine's opinion.
type judge struct {
	*run
	mismatch map[pg.Block]mismatch
	own, buf [pg.BlockSize]byte
}

// discrepancy asks about one finding.
func (j *judge) discrepancy(ctx context.Context, d *finding.Discrepancy) error {
	switch {
	case d.ConfirmedBy != "" || d.Kind == finding.WrongRedo && j.Engine == EngineBoth && d.ReplayedLSN == nil && d.LastRecord == nil:
		return nil // it is the comparison of the engines that says so
	case j.witness.base == nil:
		j.sameRecord(d)
		return nil
	case d.Relation != nil && d.Block != nil:
		return j.block(ctx, d)
	case d.Relation != nil:
		j.size(d)
		return nil
	case d.Block != nil:
		return j.slru(d)
	}
	j.relMap(d)
	return nil
}

// sameRecord blames the WAL where both engines fail on one record.
func (j *judge) sameRecord(d *finding.Discrepancy) {
	if j.stopped == nil || j.stopped.at == 0 {
		return
	}
	image := d.Kind == finding.WrongRedo && d.LastRecord != nil && d.LastRecord.LSN == j.stopped.at
	if image || j.failedAt(d) == j.stopped.at {
		d.ConfirmedBy, d.Blame = EngineServer, finding.BlameWAL
		d.Explanation = joinSentences(d.Explanation, fmt.Sprintf("PostgreSQL %s fails on the same record: the record, or the page it is for, is wrong.", j.out.Witness.Version))
	}
}

// failedAt is the record that the native engine could not redo on the block, 0 if there is none.
func (j *judge) failedAt(d *finding.Discrepancy) pg.LSN {
	b, ok := blockOf(d)
	if !ok {
		return 0
	}
	p, err := j.ra.Page(b.RelFork, b.Number, j.buf[:])
	var failed *redo.Error
	if err != nil || !errors.As(p.Failed, &failed) {
		return 0
	}
	return failed.LSN
}

func blockOf(d *finding.Discrepancy) (pg.Block, bool) {
	if d.Relation == nil || d.Block == nil {
		return pg.Block{}, false
	}
	rel := pg.RelFileLocator{Spc: d.Relation.Tablespace, DB: d.Relation.Database, Rel: d.Relation.RelFileNode}
	return pg.Block{RelFork: pg.RelFork{RelFileLocator: rel, Fork: d.Relation.Fork}, Number: pg.BlockNumber(*d.Block)}, true
}

// block asks about a block: do the engines agree on the replayed page, and on
// what the official side's own WAL made of its page?
func (j *judge) block(ctx context.Context, d *finding.Discrepancy) error {
	b, _ := blockOf(d)
	if d.Blame == finding.BlameBase && j.mismatch[b].Block != b {
		return nil // a fact about the base, which no engine can confirm
	}
	theirs, there, err := j.server(b)
	if err != nil {
		return err
	}
	fork, _ := j.ra.Fork(b.RelFork)
	same, known := !there && b.Number >= fork.Size, true
	if there {
		if same, known, err = j.agree(fork, b.Number, theirs, j.own[:], j.buf[:]); err != nil {
			return err
		}
	}
	sameOfficial, err := j.agreeOfficial(b)
	if err != nil {
		return err
	}
	if d.Kind == finding.WrongRedo { // by an image in the WAL, which the server holds its pages against, too
		d.ConfirmedBy, d.Blame = EngineServer, finding.BlameEngine
		d.Explanation = joinSentences(d.Explanation, fmt.Sprintf("PostgreSQL %s reproduces the image: the native engine is wrong.", j.out.Witness.Version))
		return nil
	}
	j.count(same && sameOfficial)
	if !known {
		return nil
	}
	if same && sameOfficial {
		j.agreed(d)
		return nil
	}
	match, err := j.serverMatches(b, theirs, there)
	if err != nil {
		return err
	}
	j.split(d, match)
	return j.firstSplit(ctx, d, b)
}

// count notes a comparison that the whole comparison of engine both did not count already.
func (j *judge) count(same bool) {
	if j.Engine == EngineBoth {
		return
	}
	j.out.Witness.BlocksCompared++
	if !same {
		j.out.Witness.Differing++
	}
}

// server is the server's version of a block.
func (j *judge) server(b pg.Block) (p []byte, there bool, err error) {
	p = make([]byte, pg.BlockSize)
	there, err = j.witness.base.Page(b, p)
	return p, there, err
}

// agreeOfficial says whether both engines make the same of an online official
// side's page by its own WAL.
func (j *judge) agreeOfficial(b pg.Block) (bool, error) {
	p, err := j.rb.Page(b.RelFork, b.Number, j.own[:])
	if err != nil || p.Bytes == nil || p.Tainted || j.witness.official == nil {
		return true, err
	}
	there, err := j.witness.official.Page(b, j.buf[:])
	return there && sameAsServer(b.Fork, p, j.buf[:]), err
}

// serverMatches says whether the server's replayed page is the official one,
// after its own WAL by the server, but for what may differ.
func (j *judge) serverMatches(b pg.Block, theirs []byte, there bool) (bool, error) {
	m, ok := j.mismatch[b]
	if !ok || !there {
		return false, nil
	}
	official, err := j.spool.get(m.official)
	if err != nil {
		return false, err
	}
	if j.witness.official != nil && j.b.Touched(b.RelFork, b.Number) {
		official = make([]byte, pg.BlockSize)
		if ok, err := j.witness.official.Page(b, official); err != nil || !ok {
			return false, err
		}
	}
	res := compare.Pages(compare.Input{
		Block: b, Major: j.out.Postgres.Major, Official: official, Replayed: theirs, Checksums: m.checksum,
		Touched: m.touched, VMMayLackBits: j.vmMayLackBits(b.RelFork), Terse: true,
	})
	return res.Equal || res.Benign(), nil
}

// agreed: two engines against one. What is known of base and WAL stays.
func (j *judge) agreed(d *finding.Discrepancy) {
	d.ConfirmedBy = EngineServer
	if d.Blame != finding.BlameBase && d.Blame != finding.BlameWAL {
		d.Blame = finding.BlameOfficial
	}
	d.Explanation = joinSentences(d.Explanation, fmt.Sprintf("PostgreSQL %s replayed the same WAL to the same page as the native engine.", j.out.Witness.Version))
}

// split: the engines differ. match says that the server stands with the official side.
func (j *judge) split(d *finding.Discrepancy, match bool) {
	d.ConfirmedBy = ""
	if match {
		d.Kind, d.Blame = finding.WrongRedo, finding.BlameEngine
		d.Explanation = fmt.Sprintf("PostgreSQL %s replayed the same WAL to the official page; the native engine made another: it is the engine that is wrong.", j.out.Witness.Version)
		return
	}
	d.Blame = finding.BlameUnknown
	d.Explanation = joinSentences(d.Explanation, fmt.Sprintf("PostgreSQL %s replayed the same WAL to a third page: official side, native engine and server all differ.", j.out.Witness.Version))
}

// dispute is a block on which the engines differ. If the native engine's is
// the official page, the server stands alone.
func (j *judge) dispute(ctx context.Context, b pg.Block) error {
	if _, ok := j.mismatch[b]; ok {
		return nil // the discrepancy says it
	}
	d := j.describe(mismatch{Block: b}, compare.Result{Kind: finding.WrongRedo, Severity: finding.Critical, Blame: finding.BlameEngine, Explanation: fmt.Sprintf(
		"After the same WAL the native engine's page and that of PostgreSQL %s differ; the official page agrees with the native engine.", j.out.Witness.Version)}, zeroPage)
	p, err := j.ra.Page(b.RelFork, b.Number, j.own[:])
	if err != nil {
		return err
	}
	if p.Last.LSN != 0 {
		d.LastRecord = j.recordRef(p.Last)
	}
	if err := j.firstSplit(ctx, &d, b); err != nil {
		return err
	}
	j.add(d)
	return nil
}

// size asks about the length of a fork.
func (j *judge) size(d *finding.Discrepancy) {
	rel := pg.RelFileLocator{Spc: d.Relation.Tablespace, DB: d.Relation.Database, Rel: d.Relation.RelFileNode}
	f := pg.RelFork{RelFileLocator: rel, Fork: d.Relation.Fork}
	fork, ok := j.ra.Fork(f)
	theirs, there := j.witness.inv.Forks[f]
	same := ok == there && (!ok || fork.Size == theirs)
	official, okOfficial := j.rb.Fork(f)
	switch {
	case same:
		j.agreed(d)
	case okOfficial == there && (!there || official.Size == theirs):
		j.split(d, true)
	default:
		j.split(d, false)
	}
}

// slru asks about an SLRU page.
func (j *judge) slru(d *finding.Discrepancy) error {
	p, ok := slruOf(d)
	if !ok {
		return nil
	}
	there, err := j.witness.base.SLRUPage(p, j.buf[:])
	if err != nil {
		return err
	}
	own, _, touched, err := j.ra.SLRUPage(p, j.own[:])
	if err != nil {
		return err
	}
	h, inBase := j.baseSLRU(p)
	same := false
	switch {
	case touched && there:
		in := compare.SLRUInput{Page: p, Official: j.buf[:], Replayed: own,
			NextMulti: j.witness.base.Control.CheckPoint.NextMulti, NextOffset: j.witness.base.Control.CheckPoint.NextMultiOffset}
		res := compare.SLRUPages(in)
		same = res.Equal || res.Severity == finding.Benign
	case !touched && inBase && there:
		same = xxhashOf(j.buf[:]) == h
	case !touched && !inBase:
		same = !there || j.buf == [pg.BlockSize]byte{}
	}
	if same {
		j.agreed(d)
	} else {
		j.split(d, false)
	}
	return nil
}

// relMap asks about a relation map.
func (j *judge) relMap(d *finding.Discrepancy) {
	for k, theirs := range j.witness.inv.Maps {
		if key := native.RelMapKey(k); j.relMapPath(key) == d.File {
			if string(theirs) == string(j.ra.RelMap(k.Spc, k.DB)) {
				j.agreed(d)
			} else {
				j.split(d, string(theirs) == string(j.rb.RelMap(k.Spc, k.DB)))
			}
		}
	}
}
