package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"redoubt/internal/basebackup"
	"redoubt/internal/ledger"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/storage"
	"redoubt/recovery"
	"redoubt/recovery/snapshots"
)

// createFlags are the flags of `redoubt snapshot create`.
type createFlags struct {
	snapshotFlags
	at, base string
	tli      uint32
}

func snapshotCreateCommand() *cobra.Command {
	f := &createFlags{}
	cmd := &cobra.Command{
		Use:   "create (-c FILE | --wal LOC) [--at LSN] [--base NAME]",
		Short: "Make a base backup by replaying WAL, and keep it",
		Long: `Replay WAL over a snapshot of the timeline and keep the result as another one: a
standard base backup (base.tar.zst and backup_manifest) that pg_verifybackup
accepts once it is unpacked, and that PostgreSQL of the same major version
starts on.

Its pages are of the redo pointer of the last checkpoint whose record ends at or
before --at; its name says that LSN. It takes along the WAL up to the end of that
record. It is streamed while it is made, read back, and finished only if it is
what was written; a snapshot that is not finished is no snapshot for anybody.

To start a server on it: unpack it, set restore_command, and touch
recovery.signal, as for any base backup. Settings of the original are not in
effect; its configuration files are in it as *.original.`,
		Example: `  redoubt snapshot create -c redoubt.yaml
  redoubt snapshot create -c redoubt.yaml --tenant prod --timeline main --at 16/B374D848 --base initdb
  redoubt snapshot create --wal /archive --layout plain --base /backups/mon --to /backups`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.at, "at", "", "LSN that the snapshot may not go beyond (default: the end of the WAL)")
	fl.StringVar(&f.base, "base", "", "name of the timeline's snapshot to start from, or a location (default: the newest that fits)")
	fl.Uint32Var(&f.tli, "tli", 0, "PostgreSQL's timeline number to follow (default: the newest)")
	return cmd
}

func (f *createFlags) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	at, err := parseLSNFlag("--at", f.at)
	if err != nil {
		return err
	}
	prog, err := newProgress(cmd.ErrOrStderr(), f.progress)
	if err != nil {
		return err
	}
	var out snapshotResult
	err = outlast(ctx, prog.note(cmd.ErrOrStderr()), func(ctx context.Context, begun func()) (err error) {
		s, err := f.open(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		base, err := f.chosen(ctx, s, at)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, base.Close()) }()
		begun()
		if out, err = f.create(ctx, s, base, at, prog); err != nil {
			return createExit(err)
		}
		return nil
	})
	prog.end()
	if err != nil {
		return err
	}
	return f.show(cmd, out)
}

// create makes the snapshot, or finds it made.
func (f *createFlags) create(ctx context.Context, s *openSnapshots, base snapshotSide, at pg.LSN, prog *progress) (out snapshotResult, err error) {
	cfg, err := s.recovery(ctx, pg.TLI(f.tli))
	if err != nil {
		return out, err
	}
	cfg.To, cfg.Stage = at, prog.update
	plan, err := snapshots.Find(ctx, cfg, recoverySide{base})
	if errors.Is(err, snapshots.ErrNothingNewer) && f.base == "" {
		info := base.Info()
		return snapshotResult{Tenant: s.tenant, Timeline: s.timeline, Name: base.name, Location: s.keep.Location() + "/" + base.name,
			State: "already there", Reason: err.Error(), TLI: info.StartTLI, Redo: info.Redo}, nil
	}
	if err != nil {
		return out, err
	}
	place, err := s.place(plan.Name())
	if err != nil {
		return out, err
	}
	unlock, err := s.lock(plan.Name())
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	state, manifest, err := place.Look(ctx)
	if err != nil {
		return out, err
	}
	out = snapshotResult{Tenant: s.tenant, Timeline: s.timeline, Name: plan.Name(), Location: place.Store.Location(),
		State: "made", Base: base.name, TLI: plan.TLI, Redo: plan.At, At: plan.End}
	if state == basebackup.Finished {
		out.State = "already there"
		_, err = place.Check(ctx, manifest)
		return out, err
	}
	if manifest, err = place.Put(ctx, base.Size(), plan.Fill); err != nil {
		return out, err
	}
	return out, place.Finish(ctx, manifest)
}

// chosen opens the snapshot to start from.
func (f *createFlags) chosen(ctx context.Context, s *openSnapshots, at pg.LSN) (snapshotSide, error) {
	name := f.base
	if name == "" {
		found, err := snapshot.ListStore(ctx, s.keep, snapshot.Options{})
		if err != nil {
			return snapshotSide{}, err
		}
		slices.Reverse(found)
		i := slices.IndexFunc(found, func(b snapshot.Backup) bool { return b.Err == nil && (at == 0 || b.Info.Redo < at) })
		if i < 0 {
			return snapshotSide{}, fmt.Errorf("no snapshot at %s starts before the LSN asked for: keep the first one with redoubt snapshot initdb, or name a base backup with --base", s.keep.Location())
		}
		name = found[i].Name
	}
	if storage.ValidName(name) {
		store, err := s.keep.Sub(name)
		if err != nil {
			return snapshotSide{}, err
		}
		side, err := snapshot.OpenStore(ctx, store, snapshot.Options{})
		if err == nil || f.base == "" {
			return snapshotSide{side, name}, err
		}
		if errors.Is(err, snapshot.ErrUnfinished) {
			return snapshotSide{}, err
		}
	}
	return openSide(ctx, name)
}

// recovery is a configuration that reads the timeline's WAL.
func (s *openSnapshots) recovery(ctx context.Context, tli pg.TLI) (c recovery.Config, err error) {
	t, err := s.archive.Timeline(ctx, s.tenant, s.timeline)
	if err != nil {
		return c, err
	}
	c = recovery.Config{Memory: s.native.Memory, Workers: s.native.Workers, Scratch: s.native.Scratch, ScratchMinFree: s.native.ScratchMinFree}
	return c, recoverableWAL(ctx, t, tli, &c)
}

// lock keeps others on this machine from making the same snapshot meanwhile.
// Makers on other machines do no harm but to do the work twice: see basebackup.
func (s *openSnapshots) lock(name string) (release func() error, err error) {
	if s.ledgerPath == "" {
		return func() error { return nil }, nil
	}
	l, err := ledger.Open(s.ledgerPath)
	if err != nil {
		return nil, err
	}
	lock, err := l.LockJob("snapshot " + s.tenant + " " + s.timeline + " " + name)
	if err != nil {
		if errors.Is(err, ledger.ErrRunning) {
			err = fmt.Errorf("another redoubt on this machine is making the snapshot %s: %w", name, err)
		}
		return nil, errors.Join(err, l.Close())
	}
	return func() error { return errors.Join(lock.Release(), l.Close()) }, nil
}

// createExit gives an error its exit code: 2 for what is wrong with what was
// asked for, 3 where it could not be done.
func createExit(err error) error {
	var input *recovery.InputError
	switch {
	case errors.As(err, &input), errors.Is(err, basebackup.ErrConflict), errors.Is(err, snapshots.ErrNothingNewer), errors.Is(err, ledger.ErrRunning):
		return err
	}
	return exitWith(exitInconclusive, err)
}
