package recovery

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"syscall"

	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
)

// recover recovers into the directory by way of durable points.
func (d *directory) recover(ctx context.Context, cfg Config) (*Report, error) {
	cfg.Sink = d
	if d.open == nil {
		cfg.Every = 0
	}
	w := &way{directory: d}
	defer func() { _ = w.close() }() // it was only read
	r, err := w.begin(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, s := range r.target.stops {
		err := w.stop(ctx, r, s)
		var blocks *BlocksError
		if errors.As(err, &blocks) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			d.tell("no durable point at %s: %v", s.CheckPoint.Redo, err)
			break // it may be had without
		}
		if err != nil {
			return nil, err
		}
	}
	if err := d.dropPoints(w.name()); err != nil {
		return nil, err
	}
	if err := r.make(ctx); err != nil {
		return nil, err
	}
	return &r.out, nil
}

// way is a recovery from one durable point to the next.
type way struct {
	*directory
	at pointBase // where it is; no point: at the base
}

func (w *way) close() error {
	if w.at.Kept == nil {
		return nil
	}
	return w.at.Close()
}

// name is that of the durable point that counts.
func (w *way) name() string {
	if w.at.point == nil {
		return ""
	}
	return w.at.point.Dir
}

// begin goes on from the durable point that a killed recovery left if all of it
// is what was written, and of the history that the WAL is of. Otherwise it begins
// with the base.
func (w *way) begin(ctx context.Context, cfg Config) (*run, error) {
	if w.left != nil {
		r, err := w.goOn(ctx, cfg)
		if r != nil || err != nil {
			return r, err
		}
		if err := errors.Join(w.close(), w.forgetPoints()); err != nil {
			return nil, err
		}
		w.at = pointBase{}
	}
	r := &run{Config: cfg}
	return r, r.plan(ctx)
}

// goOn is begin with the durable point that was left; no run: it is of no use.
func (w *way) goOn(ctx context.Context, cfg Config) (*run, error) {
	p := w.left
	useless := func(err error) (*run, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		w.tell("the durable point at %s cannot be gone on with, the recovery begins anew: %v", p.CheckPoint.Redo, err)
		return nil, nil
	}
	if w.open == nil {
		return useless(errors.New("durable points are switched off"))
	}
	if cfg.Stage != nil {
		cfg.Stage("check durable point", 0, 0)
	}
	b, err := w.openPoint(ctx, p)
	if err == nil {
		w.at = b
		err = b.Walk(ctx, passing{})
	}
	if err != nil {
		return useless(err)
	}
	r := &run{Config: cfg}
	r.from(b)
	err = r.plan(ctx)
	var input *InputError
	switch {
	case errors.As(err, &input):
		return useless(err)
	case err == nil && !r.target.Native():
		return useless(fmt.Errorf("there is no checkpoint between it and %s", r.target.End))
	case err != nil:
		return nil, err
	}
	r.out.Resumed, r.out.BlocksReplayed, r.out.FuturePages = p.CheckPoint.Redo, p.BlocksReplayed, p.FuturePages
	if cfg.Resumed != nil {
		cfg.Resumed(p.CheckPoint.Redo)
	}
	w.tell("the recovery goes on from its durable point at %s: the WAL from %s to there is not read again", p.CheckPoint.Redo, p.Start)
	return r, nil
}

// from lets a recovery go on from a durable point.
func (r *run) from(b pointBase) { r.Base, r.meta, r.after = b, b.meta(), b.point }

// stop makes a durable point at a checkpoint and lets r go on from there.
func (w *way) stop(ctx context.Context, r *run, s stop) (err error) {
	d, err := w.startPoint(pointName(s.CheckPoint.Redo))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	sums := &summing{Sink: d, files: make(map[string]datadir.ManifestFile)}
	h := r.toward(s, sums)
	if err := h.make(ctx); err != nil {
		return err
	}
	manifest, err := d.seal(&h.out, sums.files)
	if err != nil {
		return fmt.Errorf("make the durable point at %s: %w", s.CheckPoint.Redo, err)
	}
	next, err := w.directory.openPoint(ctx, h.point(sum(manifest)))
	if err != nil {
		return err
	}
	if err := errors.Join(w.close(), w.keepPoint(next.point)); err != nil {
		return errors.Join(err, next.Close())
	}
	w.at = next
	r.from(next)
	r.out.BlocksReplayed, r.out.FuturePages = h.out.BlocksReplayed, h.out.FuturePages
	r.out.Durable = append(r.out.Durable, s.CheckPoint.Redo)
	if r.Reached != nil {
		r.Reached(s.CheckPoint.Redo)
	}
	return nil
}

// toward is the part of a recovery up to a checkpoint on the way.
func (r *run) toward(s stop, to Sink) *run {
	h := &run{Config: r.Config, meta: r.meta, target: r.target, history: r.history, historyFile: r.historyFile, after: r.after, halfway: true, start: r.start}
	h.Sink = to
	t := &h.target
	t.Checkpoint, t.Redo, t.CheckPoint = s.Checkpoint, s.CheckPoint.Redo, s.CheckPoint
	t.Last, t.End = s.Checkpoint, wal.RecordEnd(s.Checkpoint, wal.CheckPointLength, r.WAL.SegmentSize())
	h.out = Report{Target: *t, BlocksReplayed: r.out.BlocksReplayed, FuturePages: r.out.FuturePages}
	return h
}

// point is what was made, when it is a durable point.
func (r *run) point(manifest string) *point {
	c := r.target.until(r.target.Redo)
	return &point{
		Dir: pointName(r.target.Redo), Manifest: manifest, Checkpoint: r.target.Checkpoint, CheckPoint: r.target.CheckPoint, Start: r.start,
		Tablespaces: r.out.Tablespaces, Config: r.originals(), Forks: c.forks, Settings: c.settings, Spaces: c.spaces,
		BlocksReplayed: r.out.BlocksReplayed, FuturePages: r.out.FuturePages,
	}
}

// summing is a sink that notes what a manifest says of the files.
type summing struct {
	Sink
	files map[string]datadir.ManifestFile
}

// File fits Sink.
func (s *summing) File(path string, size int64) (io.WriteCloser, error) {
	w, err := s.Sink.File(path, size)
	return &summed{WriteCloser: w, sum: datadir.ChecksumCRC32C.New(), note: func(sum []byte) {
		s.files[path] = datadir.ManifestFile{Size: size, Algorithm: datadir.ChecksumCRC32C, Checksum: string(sum)}
	}}, err
}

// summed is one file of it.
type summed struct {
	io.WriteCloser
	sum  hash.Hash
	note func(sum []byte)
}

func (s *summed) Write(p []byte) (int, error) {
	_, _ = s.sum.Write(p) // never fails
	return s.WriteCloser.Write(p)
}

func (s *summed) Close() error {
	s.note(s.sum.Sum(nil))
	return s.WriteCloser.Close()
}
