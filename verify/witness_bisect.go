package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

// maxBisectRuns is how many servers one verification starts to find the
// records at which the engines part.
const maxBisectRuns = 10

// firstSplit finds the record of a block after which the engines' pages differ
// for good: both replay up to a record in the middle of the block's history,
// until one is found before which they agree and after which they do not.
// Where that is not possible the discrepancy says why.
func (r *run) firstSplit(ctx context.Context, d *finding.Discrepancy, b pg.Block) error {
	history, err := native.History(ctx, r.WAL, r.out.Span, map[pg.Block]bool{b: true})
	if err != nil {
		return r.walError("read the history of a block on which the engines differ", err)
	}
	touches := history[b]
	first := slices.IndexFunc(touches, func(t native.Touch) bool { return t.End > r.consistentAt })
	absent := func(format string, args ...any) error {
		d.FirstDivergentLSN, d.FirstDivergentReason = nil, fmt.Sprintf(format, args...)
		return nil
	}
	if first < 0 {
		return absent("no record touches the block after the base is consistent, and no engine can be stopped before")
	}
	lo, hi := first-1, len(touches)-1 // at hi they differ
	for hi > lo {
		if r.witness.runs >= maxBisectRuns {
			return absent("the engines part after one of the %d records that touch the block from %s on; %d servers were started to find it", hi-lo, touches[lo+1].LSN, r.witness.runs)
		}
		mid := (lo + hi) / 2
		if hi-lo == 1 {
			if lo < first {
				break // before the first record nothing differs, if the base is consistent there
			}
			mid = lo
		}
		same, err := r.sameUpTo(ctx, b, touches[mid].LSN+1)
		var stopped *inconclusive
		if errors.As(err, &stopped) {
			return absent("the engines could not be stopped within the span: %s", stopped.reason)
		}
		if err != nil {
			return err
		}
		if same && mid == lo {
			break
		}
		if same {
			lo = mid
		} else {
			hi = mid
		}
	}
	d.FirstDivergentLSN, d.FirstDivergentReason = &touches[hi].LSN, ""
	t := touches[hi]
	d.LastRecord = r.recordRef(t.RecordRef)
	d.Explanation = joinSentences(d.Explanation, fmt.Sprintf("The engines part at the record at %s (%s %s).", t.LSN, t.Rmgr, t.OpName(r.out.Postgres.Major)))
	return nil
}

// sameUpTo says whether both engines make the same page of a block with the
// records that start before to.
func (r *run) sameUpTo(ctx context.Context, b pg.Block, to pg.LSN) (bool, error) {
	r.witness.runs++
	span := pg.Range{From: r.out.Span.From, To: to}
	res, err := r.serve(ctx, r.Base, span)
	if res, err = r.served("the base up to "+to.String(), res, err); err != nil {
		return false, err
	}
	defer func() { _ = res.Close() }() // a directory that stays is swept by the next server
	theirs := make([]byte, pg.BlockSize)
	there, err := res.Page(b, theirs)
	if err != nil {
		return false, err
	}
	ours, err := r.nativeUpTo(ctx, b, span)
	if err != nil || !there || ours == nil {
		return !there && ours == nil, err
	}
	return samePage(b.Fork, ours, theirs), nil
}

// nativeUpTo is a block after a part of the span by the native engine alone,
// nil if there is no such block.
func (r *run) nativeUpTo(ctx context.Context, b pg.Block, span pg.Range) (_ []byte, err error) {
	cfg := r.Native
	cfg.Progress = nil
	cfg.Filter = func(f pg.RelFork, n pg.BlockNumber) bool { return f == b.RelFork && n == b.Number }
	e := native.New(cfg, r.WAL, native.Span{Range: span, TLI: r.base.TLI, Clean: r.clean})
	defer func() { err = errors.Join(err, e.Close()) }()
	if _, err := e.Scan(ctx); err != nil {
		return nil, r.walError("read WAL", err)
	}
	var base []byte
	file := datadir.RelFile{RelFork: b.RelFork, Segment: uint32(b.Number / pg.BlocksPerFile)}
	err = r.Base.Fetch(ctx, []pg.Block{b}, func(_ pg.Block, p []byte) error {
		base = slices.Clone(p)
		return e.Blocks(file, b.Number, p)
	})
	if err != nil {
		return nil, fmt.Errorf("read a block of the base again: %w", err)
	}
	if fi := r.index.forks[b.RelFork]; fi != nil {
		file.Segment = 0
		if err := e.EndRelation(file, int64(fi.size)*pg.BlockSize); err != nil {
			return nil, err
		}
	}
	e.SetBase(nativeBase(r.baseControl))
	res, err := e.Replay(ctx)
	if err != nil {
		return nil, r.walError("replay WAL", err)
	}
	p, err := res.Page(b.RelFork, b.Number, make([]byte, pg.BlockSize))
	if err != nil {
		return nil, err
	}
	f, ok := res.Fork(b.RelFork)
	switch {
	case !ok || b.Number >= f.Size:
		return nil, nil
	case p.Bytes != nil:
		return slices.Clone(p.Bytes), nil
	case b.Number < f.BaseBlocks:
		return base, nil
	}
	return zeroPage, nil
}
