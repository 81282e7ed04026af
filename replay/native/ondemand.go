package native

import (
	"context"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// ReplayOnDemand replays a span without a Scan before it: a page of the base
// is read from pages when the first record comes that builds on it. The
// Engine has been shown the base's sizes and small files as a datadir.Visitor,
// and SetBase was called. Config.Filter must be nil, for only a Scan knows
// which blocks besides the wanted ones copies of databases are made from.
//
// What it learned of the WAL comes back even with an error; the errors are
// those of Scan and of Replay. Touched and EachTouched know the blocks then
// that are still there.
func (e *Engine) ReplayOnDemand(ctx context.Context, pages replay.BasePages) (*Scanned, *Result, error) {
	if e.cfg.DetectDialect {
		found, err := FindDialect(ctx, e.src, e.span.Range)
		if err != nil {
			return &Scanned{Dialect: e.dialect}, nil, err
		}
		e.dialect = found
	}
	out := &Scanned{Dialect: e.dialect}
	st := &stream{src: e.src, span: e.span.Range, dialect: e.dialect, seen: e.cfg.Progress, kept: true}
	res, err := e.replayOnDemand(ctx, pages, out.learning(st.each), st.recycle)
	e.describe(out, st)
	return out, res, err
}

// replayOnDemand is ReplayOnDemand of what read hands it.
func (e *Engine) replayOnDemand(ctx context.Context, pages replay.BasePages, read feed, recycle func(*batch)) (*Result, error) {
	e.pages = pages
	e.share(e.cfg.Memory) // no records are kept
	for s := range pg.SLRU(pg.NumSLRUs) {
		e.relation(slruFork(s)).baseBlocks = pg.InvalidBlock // how many the base has nobody says
	}
	res, err := e.replay(ctx, read, recycle)
	e.noteTouched()
	return res, err
}

// learning is a feed of which s learns what Scan does.
func (s *Scanned) learning(read feed) feed {
	return func(ctx context.Context, fn func(*batch) error) error {
		return read(ctx, func(b *batch) error {
			for i := range b.recs {
				if err := s.learn(&b.recs[i]); err != nil {
					return fmt.Errorf("read %s record at %s: %w", b.recs[i].Rmgr, b.recs[i].LSN, err)
				}
			}
			return fn(b)
		})
	}
}

func (s *Scanned) learn(r *wal.Record) error {
	if err := s.tell(r, false); err != nil {
		return err
	}
	s.count(r)
	return s.backupEnd(r)
}

// noteTouched makes known what a replay without a Scan has touched.
func (e *Engine) noteTouched() {
	e.forgetTouched()
	for f, rel := range e.rels {
		t := &touch{}
		rel.each(func(n pg.BlockNumber, b *block) {
			if b.touched {
				t.all.add(n)
			}
		})
		if t.all.n > 0 {
			e.touched[f] = t
		}
	}
}

// inBase reports whether a block may be in the base, to be read on demand: the
// span has not cut the relation before it. A record is asked for when the
// router sees it, for the workers are behind.
func (e *Engine) inBase(rel *relation, n pg.BlockNumber) bool {
	return e.pages != nil && n < rel.baseBlocks
}

// fill reads all of a relation's pages that are not held; the workers are idle.
func (e *Engine) fill(rel *relation) error {
	if e.pages == nil {
		return nil
	}
	buf := make([]byte, pg.BlockSize)
	for n := range rel.baseBlocks {
		if rel.get(e.owner(rel.fork, n), n) != nil {
			continue
		}
		ok, err := e.pages.Page(rel.fork, n, buf)
		if err == nil && ok {
			err = e.keep(rel, n, buf)
		}
		if err != nil {
			return fmt.Errorf("read %s block %d of the base: %w", rel.fork, n, err)
		}
	}
	return nil
}

// page finds an item's block and its page. Where the item is the first one to
// touch it and builds on the base's page, that is read. If it overwrites the
// page, what is in that may be anything.
func (w *worker) page(it *item, builds, overwrites bool) (*block, []byte, error) {
	b := it.rel.make(w.n, it.blk)
	read := it.inBase && builds && !b.touched && !b.inBase
	b.touched = true
	p, err := w.store.page(b, overwrites || read)
	if err != nil || !read {
		return b, p, err
	}
	if b.inBase, err = w.pages.Page(it.rel.fork, it.blk, p); err != nil {
		return b, p, fmt.Errorf("read %s block %d of the base: %w", it.rel.fork, it.blk, err)
	}
	if !b.inBase {
		clear(p)
	}
	return b, p, nil
}

// slruPage is the base's page that an SLRU item is the first one to touch, nil
// if there is none. It is valid until the next call.
func (w *worker) slruPage(it *item) ([]byte, error) {
	if !it.inBase {
		return nil, nil
	}
	if w.got == nil {
		w.image, w.got = make([]byte, pg.BlockSize), make([]byte, pg.BlockSize)
	}
	ok, err := w.pages.SLRUPage(it.slru.Page, w.got)
	if err != nil || !ok {
		return nil, err
	}
	return w.got, nil
}
