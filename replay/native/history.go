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
	// SetsLSN is false where a record leaves the block's LSN alone.
	SetsLSN bool
	// MaySetLSN: the primary may or may not have stored the LSN (wal.MaySetLSN).
	MaySetLSN bool
}

// History reads a span's WAL once more and returns, for each of the wanted
// blocks, the records that touched it, in WAL order. It serves the few blocks
// that differ; a clean verification never calls it.
func History(ctx context.Context, src replay.WALSource, span pg.Range, wanted map[pg.Block]bool) (map[pg.Block][]Touch, error) {
	out := make(map[pg.Block][]Touch)
	var clears []redo.VMClear
	st := &stream{src: src, span: span, dialect: replay.DialectOf(src)}
	err := st.each(ctx, func(b *batch) (err error) {
		for i := range b.recs {
			r := &b.recs[i]
			for j := range r.Blocks {
				if ref := &r.Blocks[j]; wanted[ref.Block] {
					out[ref.Block] = append(out[ref.Block], touchOf(r, ref))
				}
			}
			if clears, err = redo.VMClears(r, clears[:0]); err != nil {
				return err
			}
			for _, c := range clears {
				if wanted[c.Page] {
					out[c.Page] = append(out[c.Page], Touch{RecordRef: refOf(r), End: r.End})
				}
			}
		}
		return nil
	})
	return out, err
}

// touchOf is what a record does to a block that it references.
func touchOf(r *wal.Record, ref *wal.BlockRef) Touch {
	restores := ref.HasImage && ref.Image.Apply
	effect := r.LSNEffect(ref)
	return Touch{
		RecordRef: refOf(r), End: r.End, Image: ref.WillInit || restores, Init: ref.WillInit && !restores,
		SetsLSN: effect != wal.LeavesLSN, MaySetLSN: effect == wal.MaySetLSN,
	}
}

// OnlyHints reports whether the record logs nothing but hints.
func (r RecordRef) OnlyHints() bool { return wal.OnlyHints(r.Rmgr, r.Info) }

// OpName names the record's operation as pg_waldump does.
func (r RecordRef) OpName(major int) string { return wal.OpName(r.Rmgr, r.Info, major) }
