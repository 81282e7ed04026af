package native

import (
	"context"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/redo"
)

// Touch is one record that touched a block.
type Touch struct {
	RecordRef
	End   pg.LSN // what redo stores as page LSN
	Image bool   // it carries a full-page image that redo applies, or initialises the block
	Init  bool   // of Image: redo builds the page from nothing, there is no image
	// SetsLSN is false where a record changes a block and leaves its LSN alone.
	SetsLSN bool
	// MaySetLSN: FPI_FOR_HINT, of which the primary may or may not have stored the LSN.
	MaySetLSN bool
}

// History reads a span's WAL once more and returns, for each of the wanted
// blocks, the records that touched it, in WAL order. It serves the few blocks
// that differ; a clean verification never calls it.
func History(ctx context.Context, src replay.WALSource, span pg.Range, wanted map[pg.Block]bool) (map[pg.Block][]Touch, error) {
	out := make(map[pg.Block][]Touch)
	var clears []redo.VMClear
	st := &stream{src: src, span: span}
	err := st.each(ctx, func(b *batch) (err error) {
		for i := range b.recs {
			r := &b.recs[i]
			add := func(blk pg.Block, image, init, setsLSN bool) {
				if wanted[blk] {
					out[blk] = append(out[blk], Touch{RecordRef: refOf(r), End: r.End, Image: image, Init: init, SetsLSN: setsLSN, MaySetLSN: redo.MaySetLSN(r)})
				}
			}
			for j := range r.Blocks {
				ref := &r.Blocks[j]
				restores := ref.HasImage && ref.Image.Apply
				add(ref.Block, ref.WillInit || restores, !restores && ref.WillInit, true)
			}
			if clears, err = redo.VMClears(r, clears[:0]); err != nil {
				return err
			}
			for _, c := range clears {
				add(c.Page, false, false, false)
			}
		}
		return nil
	})
	return out, err
}

// OpName names the record's operation as pg_waldump does.
func (r RecordRef) OpName(major int) string { return wal.OpName(r.Rmgr, r.Info, major) }
