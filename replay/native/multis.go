package native

import (
	"context"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// NamedMultis reads a span's WAL once more and returns those of its multixacts
// that a CREATE_ID record named, as far as wanted says yes. Like History it
// serves the few pages that differ.
func NamedMultis(ctx context.Context, src replay.WALSource, span pg.Range, wanted func(pg.MultiXactID) bool) (map[pg.MultiXactID]bool, error) {
	out := make(map[pg.MultiXactID]bool)
	st := &stream{src: src, span: span}
	err := st.each(ctx, func(b *batch) error {
		for i := range b.recs {
			c, ok, err := wal.DecodeMultiXactCreate(&b.recs[i])
			if err != nil {
				return err
			}
			if ok && wanted(c.ID) {
				out[c.ID] = true
			}
		}
		return nil
	})
	return out, err
}
