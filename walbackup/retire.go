package walbackup

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/journal"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
)

// retirer lets go of one timeline's local files that are safe in the bucket.
type retirer struct {
	a       *Agent
	id      names.ID
	objects Objects
	log     *slog.Logger
	said    map[string]bool // files that a dry run has named
	lost    map[string]time.Time
}

// retire runs until ctx ends: when something is complete or recorded, and once
// a tick.
func (a *Agent) retire(ctx context.Context, id names.ID, f *follow) {
	objects, err := a.Bucket.Timeline(id)
	if err != nil {
		return // campaign has said so
	}
	r := &retirer{a: a, id: id, objects: objects, said: make(map[string]bool), lost: make(map[string]time.Time),
		log: a.cfg.Log.With("tenant", id.Tenant, "timeline", id.Timeline)}
	tick := time.NewTicker(a.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.safe:
		case <-tick.C:
		}
		if err := r.pass(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("local files are kept for now", "error", err)
		}
	}
}

// pass looks at every complete file once.
func (r *retirer) pass(ctx context.Context) error {
	dir, ok := r.a.Local.Dir(r.id)
	if !ok || r.a.cfg.Remove.Mode == RemoveOff && !dir.Owned() {
		return nil
	}
	inv, err := r.a.Local.Inventory(r.id)
	if err != nil || len(inv.Complete)+len(inv.Missing) == 0 {
		return err
	}
	if err := dir.CheckArchiver(); err != nil {
		return err // the monitor raises the alarm
	}
	safe, err := r.a.safe(ctx, r.id, &inv)
	if err != nil {
		return err
	}
	keep := 0
	if !dir.Owned() {
		keep = r.a.cfg.Remove.Keep
	}
	for _, f := range Retirable(inv.Complete, inv.SegmentSize, safe, dir.Owned(), keep) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.one(ctx, dir, &f, &inv); err != nil {
			return err
		}
	}
	return r.orphans(ctx, dir, &inv, safe)
}

// orphans marks as done what PostgreSQL wants archived and has not got any
// more, if the bucket has it.
func (r *retirer) orphans(ctx context.Context, dir local.Dir, inv *local.Inventory, safe map[pg.TLI]pg.Range) error {
	for _, name := range inv.Missing {
		n, err := names.Parse(name, inv.SegmentSize)
		if err != nil || n.Kind != wal.SegmentFile || !covers(safe, n, inv.SegmentSize) || r.a.cfg.Remove.Mode == RemoveDry {
			continue
		}
		if _, err := r.objects.Stored(ctx, name); err != nil {
			continue
		}
		if err := dir.Retire(name); err != nil {
			return err
		}
	}
	return nil
}

// safe are the ranges of each TLI in which segments may be retired: what is
// recorded in etcd as backed up, below what any subscriber still wants.
func (a *Agent) safe(ctx context.Context, id names.ID, inv *local.Inventory) (map[pg.TLI]pg.Range, error) {
	states, err := a.Etcd.States(ctx, id)
	if err != nil {
		return nil, err
	}
	horizons, err := a.Etcd.Horizons(ctx, id)
	if err != nil {
		return nil, err
	}
	return Safe(states, horizons, inv.SystemID, inv.SegmentSize), nil
}

// Safe are the ranges of each TLI in which segments may be retired.
func Safe(states map[pg.TLI]coord.Recorded, horizons map[string]pg.LSN, sysid uint64, size int64) map[pg.TLI]pg.Range {
	end := pg.LSN(math.MaxUint64)
	for _, h := range horizons {
		end = min(end, h)
	}
	out := make(map[pg.TLI]pg.Range)
	for tli, s := range states {
		if s.SystemID == sysid && s.SegmentSize == size {
			out[tli] = pg.Range{From: s.Start, To: min(s.Backup, end)}
		}
	}
	return out
}

func covers(safe map[pg.TLI]pg.Range, n wal.FileName, size int64) bool {
	r := (names.Segment{TLI: n.TLI, No: n.Segment}).Range(size)
	s, ok := safe[n.TLI]
	return ok && s.From <= r.From && r.To <= s.To && r.From < r.To
}

// Retirable are the files that may be retired, as far as etcd can tell: whole
// segments in the safe ranges, the newest keep of all left out; beside
// PostgreSQL history files and the like, too.
func Retirable(complete []local.File, size int64, safe map[pg.TLI]pg.Range, owned bool, keep int) []local.File {
	segments := 0
	for i := range complete {
		if complete[i].Kind == wal.SegmentFile {
			segments++
		}
	}
	var out []local.File
	for i := range complete {
		f := complete[i]
		if f.Kind != wal.SegmentFile {
			if owned {
				out = append(out, f)
			}
			continue
		}
		segments--
		if segments >= keep && covers(safe, f.FileName, size) {
			out = append(out, f)
		}
	}
	return out
}

// one retires a file if the bucket really has it.
func (r *retirer) one(ctx context.Context, dir local.Dir, f *local.File, inv *local.Inventory) error {
	if r.a.cfg.Now().Before(r.lost[f.Name]) {
		return nil
	}
	err := r.verify(ctx, dir, f)
	switch {
	case errors.Is(err, ErrFileGone):
		return nil
	case f.Kind != wal.SegmentFile && errors.Is(err, ErrAbsent):
		return nil // it is not uploaded yet
	case errors.Is(err, ErrAbsent), errors.Is(err, ErrConflict):
		r.lost[f.Name] = r.a.cfg.Now().Add(r.a.cfg.Again)
		r.a.alarms.raise(ctx, Lost, r.id, f.Name, "below the WAL backup LSN, and the local file is kept: "+err.Error())
		r.ask(ctx, f, err)
		return nil
	case err != nil:
		return err
	}
	r.a.alarms.clear(ctx, Lost, r.id, f.Name)
	if r.a.cfg.Remove.Mode == RemoveDry {
		if !r.said[f.Name] {
			r.said[f.Name] = true
			r.a.Counters.Retired("would_remove")
			r.log.Info("dry run: this file would be retired", "segment", f.Name)
		}
		return nil
	}
	// The pass may have begun long ago; a subscriber may have come since.
	if safe, err := r.a.safe(ctx, r.id, inv); err != nil {
		return err
	} else if f.Kind == wal.SegmentFile && !covers(safe, f.FileName, inv.SegmentSize) {
		return nil
	}
	if err := dir.Retire(f.Name); err != nil {
		return err
	}
	result := "removed"
	if dir.Owned() {
		result = "marked_done"
	}
	r.a.Counters.Retired(result)
	r.log.Debug("a file that is safe in the bucket is let go", "segment", f.Name, "result", result)
	return nil
}

// verify is nil if the bucket has this very content: as the journal remembers
// of an upload of ours that is still there, or by comparing.
func (r *retirer) verify(ctx context.Context, dir local.Dir, f *local.File) error {
	ctx, cancel := context.WithTimeout(ctx, r.a.cfg.Attempt)
	defer cancel()
	if _, ok := r.a.remembered(ctx, r.objects, r.id, f); ok {
		return nil
	}
	err := r.objects.Compare(ctx, f.Name, source(dir, f))
	r.a.access(err)
	if err != nil {
		return err
	}
	stored, err := r.objects.Stored(ctx, f.Name)
	r.a.access(err)
	if err != nil {
		return err
	}
	if err := r.a.Journal.Stored(ctx, r.id, journal.File{Name: f.Name, Size: f.Size, Modified: f.ModTime, Stored: stored}); err != nil {
		r.log.Warn("a comparison is not in the journal", "segment", f.Name, "error", err)
	}
	return nil
}

// ask has a segment that the bucket lost put there again, by whoever has it:
// this agent, for one.
func (r *retirer) ask(ctx context.Context, f *local.File, why error) {
	if r.a.Queue == nil || !errors.Is(why, ErrAbsent) || f.Kind != wal.SegmentFile {
		return
	}
	if added, err := r.a.Queue.Ask(ctx, keyOf(r.id, f.Name), r.a.cfg.Name, "below the WAL backup LSN and not in the bucket"); err != nil {
		r.log.Warn("other agents could not be asked for a segment", "segment", f.Name, "error", err)
	} else if added {
		r.a.Counters.Requested()
	}
}
