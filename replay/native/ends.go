package native

import (
	"context"

	"redoubt/internal/pg"
	"redoubt/replay"
)

// EndedBy is the record that ends at an LSN.
type EndedBy struct {
	RecordRef
	Blocks []pg.Block // that it references
}

// Ends reads a span's WAL once more and returns, for each of the LSNs, the
// record that ends there, which is the one that gives pages this LSN. LSNs at
// which none ends are not in the result. Like History it serves the few
// blocks that differ.
func Ends(ctx context.Context, src replay.WALSource, span pg.Range, lsns map[pg.LSN]bool) (map[pg.LSN]EndedBy, error) {
	out := make(map[pg.LSN]EndedBy)
	st := &stream{src: src, span: span}
	err := st.each(ctx, func(b *batch) error {
		for i := range b.recs {
			r := &b.recs[i]
			if !lsns[r.End] {
				continue
			}
			e := EndedBy{RecordRef: refOf(r)}
			for j := range r.Blocks {
				e.Blocks = append(e.Blocks, r.Blocks[j].Block)
			}
			out[r.End] = e
		}
		return nil
	})
	return out, err
}
