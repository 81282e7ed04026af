package native

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

const (
	workerBatch = 128 // items handed to a worker at a time
	workerDepth = 4   // batches waiting per worker: few, so that what they point to is still in a cache
)

// router sees every record in order: it hands block changes to the workers,
// tracks sizes, and does itself what concerns whole relations and databases.
type router struct {
	*Engine
	ctx     context.Context
	queues  []*queue
	pending [][]item
	sent    []uint64 // items queued so far, by worker
	lent    []lent   // batches that workers may still point into, the oldest first
	recycle func(*batch)
	taint   map[pg.RmgrID]int64 // records of unknown redo that change more than their blocks
}

// lent is a batch and how many items each worker has to work off before
// nobody points into it any more.
type lent struct {
	batch *batch
	until []uint64
}

// Replay reads the span's WAL again and applies it. An error says that the
// replay did not reach the span's end; single blocks that could not be redone
// are data in the Result.
func (e *Engine) Replay(ctx context.Context) (*Result, error) {
	st := &stream{src: e.src, span: e.span.Range, dialect: e.dialect, seen: e.cfg.Progress, kept: true, cache: &e.records, spare: e.spare}
	return e.replay(ctx, st.each, st.recycle)
}

// replay is Replay of what read hands it. recycle takes the batches that
// nobody points into any more.
func (e *Engine) replay(ctx context.Context, read feed, recycle func(*batch)) (*Result, error) {
	g, ctx := errgroup.WithContext(ctx)
	r := &router{
		Engine: e, ctx: ctx, recycle: recycle,
		pending: make([][]item, e.workers), sent: make([]uint64, e.workers), taint: make(map[pg.RmgrID]int64),
	}
	workers := make([]*worker, e.workers)
	for i := range workers {
		q := newQueue()
		r.queues = append(r.queues, q)
		w := &worker{n: i, env: &e.env, pages: e.pages, clean: e.span.Clean, store: e.stores[i], max: e.cfg.MaxFindings, audit: auditor{max: e.cfg.MaxFindings}}
		workers[i] = w
		g.Go(func() error { return w.run(q) })
	}
	g.Go(func() error {
		defer func() {
			for _, q := range r.queues {
				close(q.in)
			}
		}()
		if err := read(ctx, r.batch); err != nil {
			return err
		}
		return r.flush()
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return e.result(workers, r.taint), nil
}

func (r *router) batch(b *batch) error {
	for i := range b.recs {
		if err := r.record(b, &b.recs[i]); err != nil {
			return fmt.Errorf("replay %s record at %s: %w", b.recs[i].Rmgr, b.recs[i].LSN, err)
		}
	}
	r.lent = append(r.lent, lent{b, slices.Clone(r.sent)})
	r.returned()
	return nil
}

// returned recycles the batches that the workers are done with.
func (r *router) returned() {
	for len(r.lent) > 0 {
		for w, n := range r.lent[0].until {
			if r.queues[w].done.Load() < n {
				return
			}
		}
		r.recycle(r.lent[0].batch)
		r.lent = r.lent[1:]
	}
}

// send queues an item for worker w.
func (r *router) send(w int, it item) error {
	r.pending[w] = append(r.pending[w], it)
	r.sent[w]++
	if len(r.pending[w]) < workerBatch {
		return nil
	}
	return r.push(w)
}

func (r *router) push(w int) error {
	items := r.pending[w]
	select {
	case r.pending[w] = <-r.queues[w].spent:
	default:
		r.pending[w] = make([]item, 0, workerBatch)
	}
	select {
	case r.queues[w].in <- items:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

func (r *router) flush() error {
	for w := range r.pending {
		if len(r.pending[w]) > 0 {
			if err := r.push(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendAll queues an item for every worker.
func (r *router) sendAll(it item) error {
	for w := range r.pending {
		if err := r.send(w, it); err != nil {
			return err
		}
	}
	return nil
}

// drain waits until the workers have done everything sent so far.
func (r *router) drain() error {
	done := make(chan struct{}, r.workers)
	if err := r.sendAll(item{kind: itemBarrier, done: done}); err != nil {
		return err
	}
	if err := r.flush(); err != nil {
		return err
	}
	for range r.workers {
		select {
		case <-done:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	return nil
}

// record routes a record of a batch, which takes what the items point to.
func (r *router) record(b *batch, rec *wal.Record) (err error) {
	for i := range rec.Blocks {
		if err := r.ref(rec, i); err != nil {
			return err
		}
	}
	clears, ops := len(b.clears), len(b.slru)
	if b.clears, err = redo.VMClears(rec, b.clears); err != nil {
		return err
	}
	for i := clears; i < len(b.clears); i++ {
		if err := r.clearVM(rec, &b.clears[i]); err != nil {
			return err
		}
	}
	if b.slru, err = redo.SLRUOps(rec, r.commitTs, b.slru); err != nil {
		return err
	}
	for i := ops; i < len(b.slru); i++ {
		if err := r.slruOp(rec, &b.slru[i]); err != nil {
			return err
		}
	}
	if !r.env.Supported(rec) && !pageless(rec.Rmgr) && rec.SpecialRelUpdate() {
		r.taint[rec.Rmgr]++
	}
	return r.relations(rec)
}

// pageless are the resource managers whose effects are all the router's.
func pageless(m pg.RmgrID) bool {
	switch m {
	case pg.RmgrTransaction, pg.RmgrStorage, pg.RmgrCLOG, pg.RmgrDatabase, pg.RmgrTablespace, pg.RmgrMultiXact,
		pg.RmgrRelMap, pg.RmgrStandby, pg.RmgrCommitTs, pg.RmgrReplicationOrigin, pg.RmgrLogicalMessage:
		return true
	}
	return false
}

// ref routes one block reference and tracks the relation's size: only an
// applied image, a WILL_INIT block and a visibility map page extend it.
func (r *router) ref(rec *wal.Record, i int) error {
	ref := &rec.Blocks[i]
	if ref.Fork == pg.FSMFork {
		return nil
	}
	rel := r.relation(ref.RelFork)
	missing := ref.Number >= rel.size
	if missing && (ref.WillInit || ref.HasImage && ref.Image.Apply || redo.ZeroOnMissing(rec, ref)) {
		rel.size = ref.Number + 1
		missing = false
	}
	if !r.wanted(ref.RelFork, ref.Number) {
		return nil
	}
	return r.send(r.owner(ref.RelFork, ref.Number), item{
		kind: itemRef, missing: missing, inBase: r.inBase(rel, ref.Number), ref: uint8(i), blk: ref.Number, rel: rel, rec: rec,
	})
}

func (r *router) clearVM(rec *wal.Record, c *redo.VMClear) error {
	if !r.wanted(c.Page.RelFork, c.Page.Number) {
		return nil
	}
	rel := r.relation(c.Page.RelFork)
	rel.size = max(rel.size, c.Page.Number+1)
	return r.send(r.owner(c.Page.RelFork, c.Page.Number), item{
		kind: itemClearVM, inBase: r.inBase(rel, c.Page.Number), blk: c.Page.Number, rel: rel, rec: rec, vm: c,
	})
}

func (r *router) slruOp(rec *wal.Record, op *redo.SLRUOp) error {
	f, b := slruFork(op.Page.SLRU), pg.BlockNumber(op.Page.Page)
	rel := r.relation(f)
	return r.send(r.owner(f, b), item{kind: itemSLRU, inBase: r.inBase(rel, b), blk: b, rel: rel, rec: rec, slru: op})
}
