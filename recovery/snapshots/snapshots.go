package snapshots

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/basebackup"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/recovery"
)

// ErrNothingNewer says that between the base and the LSN asked for there is no
// checkpoint that a snapshot could be of.
var ErrNothingNewer = errors.New("there is nothing to make a snapshot of")

// Base is where a snapshot is made from.
type Base interface {
	recovery.Base
	// Problems says where its files are not what its manifest says; complete after a Walk.
	Problems() []string
}

// Plan is a snapshot that can be made.
type Plan struct {
	At         pg.LSN // R: what the pages are of, and where the WAL starts that is needed from then on
	Checkpoint pg.LSN // where the record of the checkpoint starts
	End        pg.LSN // its end, and that of the WAL which the snapshot takes along
	TLI        pg.TLI
	Major      int
	SystemID   uint64
	cfg        recovery.Config
	base       Base
}

// Find finds the last checkpoint whose record ends at or before cfg.To, or in
// all the WAL there is. cfg.Base and cfg.Sink are set here.
func Find(ctx context.Context, cfg recovery.Config, base Base) (*Plan, error) {
	meta, err := base.Meta(ctx)
	if err != nil {
		return nil, err
	}
	wanted := recovery.Wanted{Meta: meta, To: cfg.To, LastSegment: cfg.LastSegment}
	if cfg.Stage != nil {
		wanted.Progress = func(at pg.LSN) { cfg.Stage("read WAL", int64(at-min(at, meta.Redo)), 0) }
	}
	t, err := recovery.FindTarget(ctx, cfg.WAL, wanted)
	if err != nil {
		return nil, err
	}
	if !t.Native() || t.Redo <= max(meta.Redo, t.Consistent) {
		return nil, fmt.Errorf("%w: from the base %s, which starts at %s and is consistent at %s, no checkpoint begins and ends up to %s; take an older base or a later LSN",
			ErrNothingNewer, base.Name(), meta.Redo, t.Consistent, t.End)
	}
	t = t.AtCheckpoint(cfg.WAL.SegmentSize())
	p := &Plan{
		At: t.Redo, Checkpoint: t.Checkpoint, End: t.End,
		TLI: t.TLI, Major: t.Major, SystemID: t.SystemID, cfg: cfg, base: base,
	}
	p.cfg.Base, p.cfg.To, p.cfg.Found, p.cfg.ControlFirst, p.cfg.LastSegment = base, p.End, &t, true, 0
	p.cfg.Histories = nil
	for _, h := range cfg.Histories {
		if h.TLI == t.TLI {
			p.cfg.Histories = append(p.cfg.Histories, h)
		}
	}
	return p, nil
}

// Name is what the snapshot is called: names sort by LSN.
func (p *Plan) Name() string { return fmt.Sprintf("lsn-%016X-tli%d", uint64(p.At), p.TLI) }

// Fill is a basebackup.Fill. What is wrong with the base is an error: a
// snapshot of it would look sound.
func (p *Plan) Fill(ctx context.Context, t *basebackup.Tar) (basebackup.Facts, error) {
	cfg := p.cfg
	cfg.Sink = &sink{tar: t}
	rep, err := recovery.Run(ctx, cfg)
	if err != nil {
		return basebackup.Facts{}, err
	}
	switch problems := p.base.Problems(); {
	case len(problems) > 0:
		return basebackup.Facts{}, p.damaged("%s (%d such problems)", problems[0], len(problems))
	case rep.DamagedPages > 0:
		return basebackup.Facts{}, p.damaged("%d pages do not fit their checksums: %s", rep.DamagedPages, rep.Damaged)
	case rep.FuturePages > 0:
		return basebackup.Facts{}, p.damaged("%d pages are newer than it", rep.FuturePages)
	}
	return basebackup.Facts{
		Major: rep.Major, SystemID: rep.SystemID,
		WAL: []datadir.WALRange{{TLI: p.TLI, Range: pg.Range{From: p.At, To: p.End}}},
	}, nil
}

func (p *Plan) damaged(format string, args ...any) error {
	return &recovery.InputError{Err: fmt.Errorf("the base %s is damaged: %s; nothing was kept: take another base", p.base.Name(), fmt.Sprintf(format, args...))}
}
