package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/archive"
	"redoubt/internal/basebackup"
	"redoubt/internal/config"
	"redoubt/internal/storage"
	"redoubt/replay/native"
)

func snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Keep pages in the bucket: the first data directory, or pages at an LSN made by replaying WAL",
		Long: `Keep snapshots of a timeline in the bucket, as standard base backups
(base.tar.zst and backup_manifest): the first data directory, without which WAL
alone rebuilds nothing, and pages at an LSN, made by replaying WAL. Say which WAL
they make unnecessary. Nothing is ever deleted.`,
	}
	cmd.AddCommand(snapshotInitdbCommand(), snapshotCreateCommand(), snapshotReportCommand())
	return cmd
}

// snapshotFlags say which timeline a snapshot is of and where it is kept.
type snapshotFlags struct {
	output
	config           string
	wal, layout, to  string
	tenant, timeline string
	scratch, memory  string
	progress         string
}

func (f *snapshotFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVarP(&f.config, "config", "c", "", "configuration file: WAL is read from walbackup.bucket, and snapshots are kept there")
	fl.StringVar(&f.wal, "wal", "", "location of the WAL, without a configuration")
	fl.StringVar(&f.layout, "layout", "redoubt", "how the WAL lies there: plain or redoubt")
	fl.StringVar(&f.to, "to", "", "location below which snapshots are kept, each in a directory of its name (default: the timeline's snapshots in the layout redoubt)")
	fl.StringVar(&f.tenant, "tenant", "", "tenant of the timeline")
	fl.StringVar(&f.timeline, "timeline", "", "the timeline")
	fl.StringVar(&f.scratch, "scratch", "", "directory for pages beyond --memory (default: the configuration's, or the system's)")
	fl.StringVar(&f.memory, "memory", "", "memory for pages (default: the configuration's, or 1GiB)")
	fl.StringVar(&f.progress, "progress", "auto", "progress on stderr: auto or never")
}

// openSnapshots is an opened timeline with the place of its snapshots.
type openSnapshots struct {
	archive  *archive.Archive
	tenant   string
	timeline string
	keep     *storage.Store // <tenant>/<timeline>/snapshots
	retry    storage.Retry
	log      *slog.Logger
	native   native.Config
	close    func() error

	cfg        *config.Config // nil without a configuration
	ledgerPath string         // empty without one
}

// open opens what the flags name.
func (f *snapshotFlags) open(ctx context.Context) (*openSnapshots, error) {
	if err := f.output.check(); err != nil {
		return nil, err
	}
	if (f.config == "") == (f.wal == "") {
		return nil, errors.New("name either a configuration (-c) or the location of the WAL (--wal)")
	}
	var (
		s   *openSnapshots
		err error
	)
	if f.config != "" {
		s, err = f.openConfigured(ctx)
	} else {
		s, err = f.openLocations(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := f.settle(s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// settle takes the flags about memory and scratch space.
func (f *snapshotFlags) settle(s *openSnapshots) error {
	if f.scratch != "" {
		s.native.Scratch = f.scratch
	}
	if f.memory != "" {
		var memory config.Size
		if err := memory.UnmarshalText([]byte(f.memory)); err != nil {
			return fmt.Errorf("--memory: %w", err)
		}
		s.native.Memory = int64(memory)
	}
	return nil
}

func (f *snapshotFlags) openConfigured(ctx context.Context) (*openSnapshots, error) {
	if f.to != "" {
		return nil, errors.New("--to: with a configuration, snapshots are kept in walbackup.bucket")
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	log, err := newLogger(cfg.Log.Format, cfg.Log.Level)
	if err != nil {
		return nil, err
	}
	names := archiveFlags{config: f.config, tenant: f.tenant, timeline: f.timeline}
	src, err := names.source(cfg, "")
	if err != nil {
		return nil, err
	}
	store, err := openBackup(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s, err := f.in(ctx, store, store, archive.Redoubt, src.Tenant, src.Timeline)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.retry, s.log, s.close, s.cfg, s.ledgerPath = patient(retryOf(cfg)), log, store.Close, cfg, cfg.LedgerPath()
	s.native = native.Config{Workers: cfg.Workers, Memory: int64(cfg.Memory), Scratch: cfg.ScratchDir(), ScratchMinFree: int64(cfg.Scratch.MinFree)}
	return s, nil
}

func (f *snapshotFlags) openLocations(ctx context.Context) (*openSnapshots, error) {
	layout, err := archive.ParseLayout(f.layout)
	if err != nil {
		return nil, err
	}
	if layout == archive.Redoubt && (f.tenant == "" || f.timeline == "") {
		return nil, errors.New("--tenant and --timeline are missing: they say where in the layout redoubt the timeline is")
	}
	if layout != archive.Redoubt && f.to == "" {
		return nil, fmt.Errorf("--to is missing: the layout %s has no place for snapshots", f.layout)
	}
	wal, err := storage.Open(ctx, f.wal)
	if err != nil {
		return nil, err
	}
	keep := wal
	if f.to != "" {
		if keep, err = storage.Open(ctx, f.to); err != nil {
			return nil, errors.Join(err, wal.Close())
		}
	}
	s, err := f.in(ctx, wal, keep, layout, cmpOr(f.tenant, "default"), cmpOr(f.timeline, "main"))
	if err != nil {
		return nil, errors.Join(err, wal.Close())
	}
	s.log = slog.New(slog.DiscardHandler)
	s.close = func() error {
		err := wal.Close()
		if keep != wal {
			err = errors.Join(err, keep.Close())
		}
		return err
	}
	return s, nil
}

// in finds the timeline's places. With --to, snapshots are directly below it.
func (f *snapshotFlags) in(ctx context.Context, wal, keep *storage.Store, layout archive.Layout, tenant, timeline string) (*openSnapshots, error) {
	for _, name := range []string{tenant, timeline} {
		if !storage.ValidName(name) {
			return nil, fmt.Errorf("%q can't name a tenant or timeline: use 1 to 64 of A-Z a-z 0-9 . _ -", name)
		}
	}
	a, err := archive.Open(ctx, wal, layout, archive.Options{Tenant: tenant, Timeline: timeline})
	if err != nil {
		return nil, err
	}
	if f.to == "" {
		if keep, err = keep.Sub(tenant + "/" + timeline + "/" + storage.SnapshotsDir); err != nil {
			return nil, err
		}
	}
	return &openSnapshots{archive: a, tenant: tenant, timeline: timeline, keep: keep, retry: patient(storage.Retry{})}, nil
}

// place is where the snapshot of a name is kept.
func (s *openSnapshots) place(name string) (*basebackup.Place, error) {
	if !storage.ValidName(name) {
		return nil, fmt.Errorf("%q can't name a snapshot: use 1 to 64 of A-Z a-z 0-9 . _ -", name)
	}
	store, err := s.keep.Sub(name)
	if err != nil {
		return nil, err
	}
	return &basebackup.Place{Store: store, Retry: s.retry, Log: s.log}, nil
}

// patient is a retry that outlasts a store which is away for a minute or two:
// what was made so far is worth more than what a WAL segment costs.
func patient(r storage.Retry) storage.Retry {
	r.Attempts, r.Max = max(r.Attempts, 16), max(r.Max, 20*time.Second)
	return r
}
