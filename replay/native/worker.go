package native

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/redo"
)

type itemKind uint8

const (
	itemRef        itemKind = iota // redo of a block reference
	itemClearVM                    // visibility map bits cleared without a block reference
	itemSLRU                       // a change of an SLRU page
	itemTruncate                   // forget the blocks from blk on; goes to every worker
	itemTruncateVM                 // clear the tail bits of VM page blk for a heap of vm.Heap blocks
	itemBarrier                    // say that everything before is done; goes to every worker
)

// item is one piece of work for one worker, in WAL order.
type item struct {
	kind    itemKind
	missing bool  // the block is beyond the relation's end
	inBase  bool  // it may be in the base, of which no page was read before
	ref     uint8 // index into rec.Blocks
	blk     pg.BlockNumber
	rel     *relation
	rec     *wal.Record
	vm      *redo.VMClear
	slru    *redo.SLRUOp
	done    chan<- struct{} // of itemBarrier
}

// queue is how the router hands items to one worker.
type queue struct {
	in    chan []item
	spent chan []item   // slices that were worked off, to be filled again
	done  atomic.Uint64 // items worked off
}

func newQueue() *queue {
	return &queue{in: make(chan []item, workerDepth), spent: make(chan []item, workerDepth+2)} // one more is worked off, one filled
}

// worker owns the blocks that hash to its number.
type worker struct {
	n     int
	env   *redo.Env
	pages replay.BasePages // read on demand, nil: what is needed is held
	clean bool
	store *store
	stats workerStats
	audit auditor
	max   int // mismatches kept
	image []byte
	got   []byte
}

type workerStats struct {
	imagesChecked int64
	mismatchCount int64
	mismatches    []Mismatch
}

// Mismatch is a consistency image that the page after redo does not equal.
type Mismatch struct {
	Block  pg.Block
	Record RecordRef
	Ranges [][2]int // differing bytes after masking, half open
	// Proved: the page before the record is not the base's word alone. The span's
	// WAL had replaced it whole, or an earlier image had agreed with it.
	Proved bool
}

// RecordRef names a record.
type RecordRef struct {
	LSN  pg.LSN // of the record's start
	XID  pg.XID // xl_xid
	Rmgr pg.RmgrID
	Info uint8
}

func refOf(r *wal.Record) RecordRef {
	return RecordRef{LSN: r.LSN, XID: r.XID, Rmgr: r.Rmgr, Info: r.Info}
}

func panicError(p any) error {
	return fmt.Errorf("panic: %v\n%s", p, debug.Stack())
}

// run works until the queue is closed or an item fails.
func (w *worker) run(q *queue) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	for items := range q.in {
		for i := range items {
			if err := w.do(&items[i]); err != nil {
				return err
			}
		}
		q.done.Add(uint64(len(items)))
		select {
		case q.spent <- items[:0]:
		default:
		}
	}
	return nil
}

func (w *worker) do(it *item) error {
	switch it.kind {
	case itemRef:
		return w.redo(it)
	case itemClearVM, itemTruncateVM:
		return w.visibility(it)
	case itemSLRU:
		return w.slru(it)
	case itemTruncate:
		w.truncate(it.rel, it.blk)
	case itemBarrier:
		it.done <- struct{}{}
	}
	return nil
}

// redo applies one record to one block. Its image is looked at first, for the
// page LSN that the primary had before the record.
func (w *worker) redo(it *item) error {
	ref := &it.rec.Blocks[it.ref]
	restores := ref.HasImage && ref.Image.Apply
	builds := !ref.WillInit && !restores
	b, p, err := w.page(it, builds, restores)
	if err != nil {
		return err
	}
	img, imgErr := w.readImage(it.rec, ref, p)
	w.audit.see(it.rec, ref, &b.audit, img)
	switch {
	case builds && (b.tainted || b.broken):
		b.last = refOf(it.rec)
	case builds && (it.missing || page.Page(p).IsNew()) && !redo.ZeroOnMissing(it.rec, ref):
		w.noPage(b, it.rec)
	default:
		w.apply(it, b, ref, p, imgErr)
	}
	return nil
}

// readImage restores the image of a reference: into p, or if it only proves
// into w.image. It returns nil without one, or if it cannot be restored.
func (w *worker) readImage(rec *wal.Record, ref *wal.BlockRef, p page.Page) (img page.Page, err error) {
	switch {
	case !ref.HasImage:
		return nil, nil
	case ref.Image.Apply:
		if img, err = p, redo.Restore(rec, ref, p); err != nil {
			clear(p)
		}
	default:
		if w.image == nil {
			w.image, w.got = make([]byte, pg.BlockSize), make([]byte, pg.BlockSize)
		}
		img, err = w.image, ref.Image.Restore(w.image)
	}
	if err != nil {
		return nil, err
	}
	return img, nil
}

// noPage notes that a record builds on a page that is not there. FPI_FOR_HINT
// without its image may do so and mean nothing by it; of a record whose redo
// is not known nobody knows what it means.
func (w *worker) noPage(b *block, r *wal.Record) {
	switch {
	case !w.env.Supported(r):
		b.tainted, b.taint, b.last = true, r.Rmgr, refOf(r)
	case b.invalid == 0 && !wal.OnlyHints(r.Rmgr, r.Info):
		b.invalid = r.LSN
	}
}

// apply redoes the record on p; imgErr says why its image could not be read.
func (w *worker) apply(it *item, b *block, ref *wal.BlockRef, p page.Page, imgErr error) {
	before := p.LSN() // after its image, before the record
	outcome, err := redo.Skipped, imgErr
	switch {
	case !ref.HasImage || !ref.Image.Apply:
		outcome, err = redo.Apply(w.env, it.rec, ref, p)
	case imgErr == nil:
		outcome, err = redo.AfterImage(w.env, it.rec, ref, p)
	}
	switch {
	case errors.Is(err, redo.ErrUnsupported):
		b.tainted, b.taint = true, it.rec.Rmgr
	case err != nil:
		if b.broken = true; b.failed == nil {
			b.failed = err
		}
	case outcome == redo.Restored, outcome == redo.Initialised:
		b.whole, b.proved, b.tainted, b.broken, b.hints = true, true, false, false, nil
		b.cutMap = ref.Fork == pg.VMFork && ref.HasImage && ref.Image.HoleLength > 0
	case outcome == redo.Skipped:
		if w.clean && b.future == 0 && !b.whole {
			b.future = it.rec.LSN
		}
		return
	}
	switch effect := it.rec.LSNEffect(ref); {
	case err != nil:
	case effect == wal.MaySetLSN && outcome != redo.Initialised:
		b.addHint(before, it.rec.End)
	case outcome != redo.NoChange:
		b.hints = nil
	}
	b.last = refOf(it.rec)
	if err == nil && ref.HasImage && !ref.Image.Apply {
		w.check(it.rec, ref, b, p, imgErr == nil)
	}
}

// check compares the page after redo with the consistency image of the record,
// which is in w.image if it is readable.
func (w *worker) check(rec *wal.Record, ref *wal.BlockRef, b *block, p page.Page, readable bool) {
	if p.LSN() > rec.End {
		return // a page from the future, as fuzzy bases have
	}
	ranges := [][2]int{{0, pg.BlockSize}}
	if readable {
		copy(w.got, p)
		var proves bool
		if ranges, proves = w.differences(rec.Rmgr, ref, b); !proves {
			return
		}
	}
	w.stats.imagesChecked++
	if len(ranges) == 0 {
		b.proved = true
		return
	}
	w.stats.mismatchCount++
	if len(w.stats.mismatches) < w.max {
		w.stats.mismatches = append(w.stats.mismatches, Mismatch{Block: ref.Block, Record: b.last, Ranges: ranges, Proved: b.proved})
	}
}

// differences masks image and page and returns the bytes that differ; false
// if nobody knows what they should have in common: a visibility map may lack bits
// that the primary has, where its last image was without them, or before the first
// one if the base is an online one (written without full-page images).
func (w *worker) differences(rmgr pg.RmgrID, ref *wal.BlockRef, b *block) ([][2]int, bool) {
	if ref.Fork == pg.VMFork && (b.cutMap || !w.clean && !b.whole) {
		return nil, false
	}
	if ref.Fork == pg.VMFork {
		if mask.VMSubset(w.image, w.got) {
			return nil, true
		}
		return page.Differences(w.got, w.image), true
	}
	const behindChecksum = 10
	if rmgr.BuiltIn() && ref.Fork != pg.FSMFork && bytes.Equal(w.got[behindChecksum:], w.image[behindChecksum:]) {
		return nil, true // as most are; equal pages are equal under any mask
	}
	if !w.mask(w.got, rmgr, ref) || !w.mask(w.image, rmgr, ref) {
		return nil, false
	}
	return page.Differences(w.got, w.image), true
}

// mask is PostgreSQL's mask, or the extension's.
func (w *worker) mask(p page.Page, rmgr pg.RmgrID, ref *wal.BlockRef) bool {
	if x := w.env.Extensions[rmgr]; rmgr.Custom() && x.Mask != nil {
		p.SetLSN(0)
		p.SetChecksum(0)
		x.Mask(p, ref.Number)
		return true
	}
	return mask.MaskConsistency(p, rmgr, ref.Fork, ref.Number)
}

// visibility changes a visibility map page without an LSN check and without
// setting its LSN. A missing page is all clear already.
func (w *worker) visibility(it *item) error {
	b, p, err := w.page(it, true, false)
	if err != nil {
		return err
	}
	if it.kind == itemTruncateVM {
		redo.VMTruncate(p, it.vm.Heap)
	} else {
		it.vm.Apply(p)
	}
	b.last = refOf(it.rec)
	return nil
}

func (w *worker) slru(it *item) error {
	b := it.rel.get(w.n, it.blk)
	var base []byte
	if b == nil {
		var err error
		if base, err = w.slruPage(it); err != nil {
			return fmt.Errorf("read %s of the base: %w", it.slru.Page, err)
		}
		if base == nil && it.slru.IfPresent {
			return nil
		}
		b = it.rel.make(w.n, it.blk)
		b.inBase = base != nil
	}
	b.touched = true
	p, err := w.store.load(b)
	if err != nil {
		return err
	}
	if base != nil {
		copy(p, base)
	}
	it.slru.Apply(p)
	b.last = refOf(it.rec)
	return nil
}

// truncate forgets this worker's blocks of r from cut on.
func (w *worker) truncate(r *relation, cut pg.BlockNumber) {
	r.blocks[w.n].cut(cut, w.store.drop)
}
