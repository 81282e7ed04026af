package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"redoubt/internal/api"
	"redoubt/internal/archive"
	"redoubt/internal/ledger"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/storage"
	"redoubt/recovery"
	"redoubt/recovery/jobs"
	"redoubt/scheduler"
)

// recoveries are the timelines that serve makes.
func (s *service) recoveries(ctx context.Context) *jobs.Manager {
	c := s.cfg.Recovery
	return jobs.New(ctx, jobs.Config{
		Ledger: s.ledger, Engine: recoveryEngine{s.site, s.log}, Dir: s.cfg.RecoveryDir(), Parallel: c.Parallel, Log: s.log,
		Retries: jobs.Retries{Attempts: c.Retries.Attempts, FirstWait: time.Duration(c.Retries.FirstWait), MaxWait: time.Duration(c.Retries.MaxWait)},
	})
}

// recoveryEngine makes data directories from the configured sources.
type recoveryEngine struct {
	*site
	log *slog.Logger
}

var _ jobs.Engine = recoveryEngine{}

func (recoveryEngine) Transient(err error) bool { return unreachable(err) }

// Timelines lists those of a tenant in all sources.
func (e recoveryEngine) Timelines(ctx context.Context, tenant string) ([]string, error) {
	listing, err := e.site.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range listing.Timelines {
		if t.Tenant == tenant {
			out = append(out, t.Timeline)
		}
	}
	slices.Sort(out)
	switch {
	case len(out) > 0:
		return slices.Compact(out), nil
	case len(listing.Problems) > 0:
		p := listing.Problems[0]
		return nil, fmt.Errorf("list timelines of source %s: %s", p.Source, p.Reason)
	}
	return nil, jobs.ErrNotFound
}

// find is the source that has a timeline.
func (e recoveryEngine) find(ctx context.Context, tenant, timeline string) (k ledger.TimelineKey, err error) {
	var first error
	for _, src := range e.cfg.Sources {
		k := ledger.TimelineKey{Source: src.Name, Tenant: tenant, Timeline: timeline}
		_, _, err := e.timeline(ctx, k)
		if err == nil {
			return k, nil
		}
		if !errors.Is(err, storage.ErrNotExist) && first == nil {
			first = err
		}
	}
	return k, cmp.Or(first, jobs.ErrNotFound)
}

// Holds fits jobs.Engine.
func (e recoveryEngine) Holds(ctx context.Context, tenant, timeline string) (bool, error) {
	_, err := e.find(ctx, tenant, timeline)
	if errors.Is(err, jobs.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Resolve chooses the snapshot that a recovery starts from.
func (e recoveryEngine) Resolve(ctx context.Context, r jobs.Request) (jobs.Origin, error) {
	k, err := e.find(ctx, r.Tenant, r.Timeline)
	if err != nil {
		return jobs.Origin{}, err
	}
	if err := e.within(ctx, k, r); err != nil {
		return jobs.Origin{}, err
	}
	loc, err := e.backups(ctx, k)
	if err != nil {
		return jobs.Origin{}, &jobs.RefusedError{Reason: err.Error()}
	}
	found, err := snapshot.List(ctx, loc, snapshot.Options{})
	if err != nil {
		return jobs.Origin{}, err
	}
	base, err := chooseBase(schedulable(found), r.From)
	if err != nil {
		return jobs.Origin{}, err
	}
	return jobs.Origin{Source: k.Source, Base: base.Name, BaseLSN: base.End}, nil
}

// within refuses LSNs behind the newest segment of the archive, which a listing
// shows. What ends within that segment only reading it will tell.
func (e recoveryEngine) within(ctx context.Context, k ledger.TimelineKey, r jobs.Request) error {
	if r.From == 0 && r.To == 0 {
		return nil
	}
	t, _, err := e.timeline(ctx, k)
	if err != nil {
		return err
	}
	var c recovery.Config
	if err := recoverableWAL(ctx, t, 0, &c); err != nil {
		return err
	}
	end := (c.LastSegment + 1).Start(c.WAL.SegmentSize())
	for _, p := range []struct {
		name string
		lsn  pg.LSN
	}{{"to_lsn", r.To}, {"from_lsn", r.From}} {
		if p.lsn > end {
			return &jobs.RefusedError{Reason: fmt.Sprintf("%s %s is behind the WAL in the archive, which ends at %s at the latest: give a lower one, leave to_lsn out to recover to the end of the WAL, or wait until more is archived", p.name, p.lsn, end)}
		}
	}
	return nil
}

// chooseBase is the snapshot initdb or, with an LSN, the newest snapshot that
// is consistent at or below it.
func chooseBase(all []scheduler.Snapshot, from pg.LSN) (best scheduler.Snapshot, err error) {
	var unfit []string
	for _, s := range all {
		switch {
		case from == 0 && s.Name != initdbName:
		case s.Broken != "":
			unfit = append(unfit, s.Name+" cannot be read: "+s.Broken)
		case s.End == 0:
			unfit = append(unfit, s.Name+" does not say where it is consistent")
		case from == 0:
			return s, nil
		case s.End > from:
			unfit = append(unfit, s.Name+" is consistent at "+s.End.String()+" only")
		case s.End > best.End:
			best = s
		}
	}
	if best.End != 0 {
		return best, nil
	}
	reason := "the timeline has no snapshot initdb: make it with redoubt snapshot initdb, or give from_lsn and target to start from another snapshot"
	if from != 0 {
		reason = "no snapshot of the timeline is consistent at or below from_lsn " + from.String() + ": give a higher one, or leave from_lsn and target out to start from initdb"
	}
	if len(unfit) > 0 {
		reason += " (" + strings.Join(unfit[:min(len(unfit), 5)], "; ") + ")"
	}
	return best, &jobs.RefusedError{Reason: reason}
}

// Recover fits jobs.Engine.
func (e recoveryEngine) Recover(ctx context.Context, j ledger.Recovery, progress jobs.Progress) (_ jobs.Result, err error) {
	k := ledger.TimelineKey{Source: j.Source, Tenant: j.Tenant, Timeline: j.Ancestor}
	t, _, err := e.timeline(ctx, k)
	if err != nil {
		return jobs.Result{}, err
	}
	loc, err := e.backups(ctx, k)
	if err != nil {
		return jobs.Result{}, err
	}
	cfg := recovery.Config{
		To: j.ToLSN, ToTime: j.ToTime, Memory: int64(e.cfg.Recovery.Memory), Workers: e.cfg.Workers,
		Scratch: e.cfg.ScratchDir(), ScratchMinFree: int64(e.cfg.Scratch.MinFree),
		Planned:  func(t recovery.Target) { progress(ledger.Reached{Target: t.To}) },
		Progress: func(at pg.LSN) { progress(ledger.Reached{Last: at}) },
		Reached:  func(at pg.LSN) { progress(ledger.Reached{Durable: at}) },
		Resumed:  func(at pg.LSN) { progress(ledger.Reached{Durable: at, Resumed: at}) },
		Note:     func(s string) { e.log.Info(s, "tenant", j.Tenant, "target", j.Timeline) },
	}
	if err := recoverableWAL(ctx, t, 0, &cfg); err != nil {
		return jobs.Result{}, err
	}
	base, err := openSide(ctx, below(loc, j.Base))
	if err != nil {
		return jobs.Result{}, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	cfg.Base, cfg.Every = recoverySide{base}, durableEvery(e.cfg.Recovery.DurableEvery, base.Size())
	if err := e.prepare(j.Directory); err != nil {
		return jobs.Result{}, err
	}
	rep, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: j.Directory, Job: jobOf(j), Open: openDurable, Add: ancestorOf(j)})
	if err != nil {
		return jobs.Result{}, err
	}
	return jobs.Result{Target: cmp.Or(rep.To, rep.End), Last: rep.End, Doubt: doubtOf(rep)}, nil
}

// doubtOf says what is doubtful about what was recovered.
func doubtOf(rep *recovery.Report) string {
	var out []string
	if rep.DamagedPages > 0 {
		out = append(out, fmt.Sprintf("%d pages of the base that the WAL did not touch do not fit their checksums: %s", rep.DamagedPages, strings.Join(rep.Damaged, ", ")))
	}
	if rep.FuturePages > 0 {
		out = append(out, fmt.Sprintf("%d pages of the base are newer than it", rep.FuturePages))
	}
	return strings.Join(out, "; ")
}

// prepare makes the directory and the scratch space. Where we are root and the
// directory for recoveries is another user's, so is what is made in it.
func (e recoveryEngine) prepare(dir string) error {
	if err := os.MkdirAll(e.cfg.ScratchDir(), 0o711); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	info, err := os.Stat(e.cfg.RecoveryDir())
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || owner.Uid == 0 {
		return nil
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Lchown(d, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return nil
}

// Unfinished fits jobs.Engine.
func (recoveryEngine) Unfinished(j ledger.Recovery) bool {
	return recovery.Unfinished(j.Directory, jobOf(j))
}

// jobOf tells one recovery into a timeline from another, earlier one.
func jobOf(j ledger.Recovery) string {
	return fmt.Sprintf("%s/%s since %s", j.Tenant, j.Timeline, j.CreatedAt.UTC().Format(time.RFC3339Nano))
}

// ancestorOf writes down in a data directory where its WAL leaves that of its
// ancestor: whoever stores its WAL stores that beside it.
func ancestorOf(j ledger.Recovery) func(*recovery.Report) (map[string][]byte, error) {
	return func(rep *recovery.Report) (map[string][]byte, error) {
		b, err := json.MarshalIndent(archive.Ancestor{Tenant: j.Tenant, Timeline: j.Ancestor, TLI: rep.TLI, LSN: rep.End}, "", "  ")
		return map[string][]byte{archive.AncestorFile: append(b, '\n')}, err
	}
}

// recoverer fits api.Recoverer.
type recoverer struct{ *jobs.Manager }

var _ api.Recoverer = recoverer{}

func (r recoverer) Recover(ctx context.Context, in api.RecoverRequest) (api.Recovering, error) {
	s, err := r.Start(ctx, jobs.Request{Tenant: in.Tenant, Timeline: in.Timeline, Target: in.Target, From: in.From, To: in.To, ToTime: in.ToTime})
	return api.Recovering{TimelineID: s.Timeline, Base: s.Base, BaseLSN: s.BaseLSN, TargetLSN: known(in.To)}, jobError(err)
}

func (r recoverer) RecoverAll(ctx context.Context, tenant string, timelines []string, toTime time.Time) ([]api.RecoveringOne, error) {
	all, err := r.StartAll(ctx, tenant, timelines, toTime)
	if err != nil {
		return nil, jobError(err)
	}
	out := make([]api.RecoveringOne, len(all))
	for i, one := range all {
		out[i] = api.RecoveringOne{Source: one.Source, Error: r.told(one.Err)}
		if one.Err == nil {
			out[i].TimelineID = &all[i].Timeline
		}
	}
	return out, nil
}

// told is what whoever asked may know of an error of one of many.
func (r recoverer) told(err error) string {
	var refused *jobs.RefusedError
	var conflict *jobs.ConflictError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, jobs.ErrNotFound):
		return "not found"
	case errors.As(err, &refused), errors.As(err, &conflict):
		return err.Error()
	}
	r.Log().Error("begin recovery", "error", err)
	return "internal error: the server's log has the cause"
}

func (r recoverer) Cancel(ctx context.Context, tenant, timeline string) error {
	return jobError(r.Manager.Cancel(ctx, tenant, timeline))
}

func (r recoverer) Delete(ctx context.Context, tenant, timeline string) error {
	return jobError(r.Manager.Delete(ctx, tenant, timeline))
}

// jobError makes the errors of recovery/jobs those that the HTTP server knows.
func jobError(err error) error {
	var refused *jobs.RefusedError
	var conflict *jobs.ConflictError
	switch {
	case errors.As(err, &refused):
		return &api.RefusedError{Reason: refused.Reason}
	case errors.As(err, &conflict):
		return &api.ConflictError{Reason: conflict.Reason}
	case errors.Is(err, jobs.ErrNotFound):
		return api.ErrNotFound
	}
	return err
}
