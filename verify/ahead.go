package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

// lookAhead replays the WAL behind the span for all but pages: which relations
// there are and how long, relation maps, SLRUs.
func (r *run) lookAhead(ctx context.Context, span pg.Range) (*native.Engine, *native.Result, error) {
	cfg := r.Native
	cfg.Workers, cfg.Memory, cfg.Progress = 1, min(r.Native.Memory, 256<<20), nil
	cfg.Filter = func(pg.RelFork, pg.BlockNumber) bool { return false }
	e := native.New(cfg, r.WAL, native.Span{Range: span, TLI: r.official.TLI})
	res, err := r.replayAhead(ctx, e)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("replay WAL %s: %w", span, err), e.Close())
	}
	return e, res, nil
}

func (r *run) replayAhead(ctx context.Context, e *native.Engine) (*native.Result, error) {
	if _, err := e.Scan(ctx); err != nil {
		return nil, err
	}
	for _, f := range r.ra.Forks() {
		if err := e.EndRelation(datadir.RelFile{RelFork: f.RelFork}, int64(f.Size)*pg.BlockSize); err != nil {
			return nil, err
		}
	}
	for _, k := range r.ra.RelMaps() {
		if err := e.File(r.relMapPath(k), r.ra.RelMap(k.Spc, k.DB)); err != nil {
			return nil, err
		}
	}
	if err := r.slrusAhead(ctx, e); err != nil {
		return nil, err
	}
	e.SetBase(nativeBase(r.baseControl))
	return e.Replay(ctx)
}

// slrusAhead gives an engine the SLRU pages of the span's end that its WAL touches.
func (r *run) slrusAhead(ctx context.Context, e *native.Engine) error {
	want := make(map[pg.SLRUPage]*slruPair)
	for p := range r.index.slrus {
		_, counts := r.baseSLRU(p)
		if e.TouchedSLRU(p) && counts && r.moving.slruBase[p] == nil && !r.ra.SLRUTruncated(p) {
			if _, _, ok, err := r.ra.SLRUPage(p, make([]byte, pg.BlockSize)); err != nil || ok {
				if err != nil {
					return err
				}
				continue
			}
			if b, err := r.xactsOfBase(p); err != nil {
				return err
			} else if b != nil {
				r.moving.slruBase[p] = b
				continue
			}
			want[p] = &slruPair{page: p}
		}
	}
	if len(want) > 0 {
		if err := r.Base.Walk(ctx, slruReader(want)); err != nil {
			return fmt.Errorf("read SLRU pages of the base again: %w", err)
		}
		for p, pair := range want {
			r.moving.slruBase[p] = pair.base
		}
	}
	return r.giveSLRUs(e)
}

func (r *run) xactsOfBase(p pg.SLRUPage) ([]byte, error) {
	at, ok := r.xacts.at[p.Page]
	if p.SLRU != pg.XactSLRU || !ok {
		return nil, nil
	}
	return r.xacts.spool.get(at)
}

func (r *run) giveSLRUs(e *native.Engine) error {
	give := func(p pg.SLRUPage, b []byte) error {
		if b == nil || !e.TouchedSLRU(p) {
			return nil
		}
		return e.SLRU(p, b)
	}
	for p, b := range r.moving.slruBase {
		if err := give(p, bytes.Clone(b)); err != nil {
			return err
		}
	}
	for slru := range pg.SLRU(pg.NumSLRUs) {
		for _, n := range r.ra.SLRUPages(slru) {
			p := pg.SLRUPage{SLRU: slru, Page: n}
			b, _, _, err := r.ra.SLRUPage(p, make([]byte, pg.BlockSize))
			if err != nil {
				return err
			}
			if err := give(p, bytes.Clone(b)); err != nil {
				return err
			}
		}
	}
	return nil
}

// aheadXact is a page of pg_xact at the end of what is known of a moving side;
// known is false where the WAL behind the span does not write it.
func (r *run) aheadXact(n uint32, buf []byte) (b []byte, known bool, err error) {
	if r.moving == nil || r.moving.ahead == nil {
		return nil, false, nil
	}
	b, _, known, err = r.moving.ahead.SLRUPage(pg.SLRUPage{SLRU: pg.XactSLRU, Page: n}, buf)
	return b, known, err
}

// stateOfSize is a fork's size after replay, compare.NoFile if there is none.
func stateOfSize(res *native.Result, f pg.RelFork) int64 {
	fork, ok := res.Fork(f)
	if !ok {
		return compare.NoFile
	}
	return int64(fork.Size)
}
