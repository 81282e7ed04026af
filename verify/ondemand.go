package verify

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay"
	"redoubt/replay/native"
)

// replayOnDemand is replayBase for a base whose pages can be read in any
// order: the WAL is read once and not twice, and only then the base, when it
// is known which of its pages are to be hashed. It reports whether the base is
// such.
//
// Only a pass before can tell which blocks copies of databases need besides
// the wanted ones, what a sparse official side is to be asked for, and soon
// enough that there is no server of this version.
func (r *run) replayOnDemand(ctx context.Context) (done bool, err error) {
	base, ok := r.Base.(replay.OnDemand)
	if !ok || r.filter() != nil || r.wantsServer() || sparse(r.Official) {
		return false, nil
	}
	span := r.out.Span
	cfg := r.Native
	cfg.Progress = r.walProgress("replay WAL", span)
	cfg.DetectDialect = true
	r.clean = !r.base.Online
	r.a = native.New(cfg, r.WAL, native.Span{Range: span, TLI: r.base.TLI, Clean: r.clean})
	outline := &controlFile{}
	pages, err := base.OnDemand(ctx, tee{r.a, outline})
	if err != nil {
		return false, fmt.Errorf("read base: %w", err)
	}
	if pages == nil {
		return false, nil
	}
	err = r.setControl(outline.control)
	if err == nil {
		err = r.replayPages(ctx, pages)
	}
	if err = errors.Join(err, pages.Close()); err != nil {
		return false, err
	}
	return true, r.walkBase(ctx)
}

// replayPages runs the span over the base's pages.
func (r *run) replayPages(ctx context.Context, pages replay.BasePages) error {
	scanned, res, err := r.a.ReplayOnDemand(ctx, pages)
	r.describeWAL(scanned)
	if err != nil {
		return r.walError(fmt.Sprintf("read WAL %s", r.out.Span), err)
	}
	r.ra = res
	return r.baseConsistent(scanned)
}

// controlFile is a visitor that keeps pg_control.
type controlFile struct{ control *datadir.Control }

// Blocks fits datadir.Visitor.
func (*controlFile) Blocks(datadir.RelFile, pg.BlockNumber, []byte) error { return nil }

// EndRelation fits datadir.Visitor.
func (*controlFile) EndRelation(datadir.RelFile, int64) error { return nil }

// File fits datadir.Visitor.
func (c *controlFile) File(path string, content []byte) error {
	if datadir.Classify(path).Class != datadir.ControlFile {
		return nil
	}
	control, err := datadir.ParseControl(content)
	c.control = &control
	return err
}
