package verify

import (
	"context"

	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/replay/native"
)

// blockVersions holds an official page against all versions of its block in the span.
type blockVersions struct {
	*compare.Versions
	gap bool // a version is not known
}

// holdAgainstVersions replays the span once more for the blocks that differ
// and holds each official page against every version that its block had.
func (r *run) holdAgainstVersions(ctx context.Context, mm []mismatch, ev *evidence) error {
	ev.versions = make(map[pg.Block]*blockVersions)
	pages := make(map[pg.Block][]byte)
	for _, m := range mm {
		official, err := r.spool.get(m.official)
		if err != nil {
			return err
		}
		if len(official) != pg.BlockSize {
			continue
		}
		v := &blockVersions{Versions: compare.NewVersions(m.Block, official)}
		v.Add(ev.base[m.Block])
		ev.versions[m.Block] = v
		if m.touched {
			pages[m.Block] = ev.base[m.Block]
		}
	}
	if len(pages) == 0 {
		return nil
	}
	err := native.Versions(ctx, r.WAL, r.out.Span, nativeBase(r.baseControl), pages, func(n *native.Version) error {
		v := ev.versions[n.Block]
		switch {
		case n.Page != nil:
			v.Add(n.Page)
		case !n.Gone:
			v.gap = true
		}
		return nil
	})
	return r.walError("replay the versions of the blocks that differ", err)
}
