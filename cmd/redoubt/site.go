package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"redoubt/internal/archive"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/storage"
	"redoubt/replay"
	"redoubt/replay/native"
	pgserver "redoubt/replay/server"
	"redoubt/scheduler"
	"redoubt/verify"
)

// site is a configuration with its sources: what the scheduler's rooms ask
// for, answered by archive, snapshot, verify and scanner.
type site struct {
	cfg    *config.Config
	ledger *ledger.Ledger
	asked  func() // counts segments that agents are asked for

	mu       sync.Mutex
	archives map[string]*archive.Archive // by source
	neons    map[string]*neonSource      // by source
	stores   []*storage.Store
	agents   *requeuer // of the configuration's etcd; made when it is needed
}

var _ scheduler.Catalog = (*site)(nil)

func newSite(cfg *config.Config, l *ledger.Ledger) *site {
	return &site{cfg: cfg, ledger: l, asked: func() {}, archives: make(map[string]*archive.Archive), neons: make(map[string]*neonSource)}
}

func (s *site) Close() error {
	var errs []error
	for _, st := range s.stores {
		errs = append(errs, st.Close())
	}
	for _, n := range s.neons {
		n.catalog.Close()
	}
	if s.agents != nil {
		errs = append(errs, s.agents.client.Close())
	}
	return errors.Join(errs...)
}

func (s *site) source(name string) (config.Source, error) {
	for _, src := range s.cfg.Sources {
		if src.Name == name {
			return src, nil
		}
	}
	return config.Source{}, fmt.Errorf("source %q is not in the configuration any more", name)
}

// archive opens a source's archive, once.
func (s *site) archive(ctx context.Context, src config.Source) (*archive.Archive, error) {
	neon, err := s.neon(src)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.archives[src.Name]; a != nil {
		return a, nil
	}
	opt := archive.Options{Tenant: tenantOf(src), Timeline: src.Timeline}
	if neon != nil {
		opt.Branch, opt.Wanted = neon.branch, neon.catalog.Wanted
	}
	if src.Layout == string(archive.Neon) && src.Backups != "" {
		pages, err := storage.Open(ctx, src.Backups)
		if err != nil {
			return nil, err
		}
		s.stores = append(s.stores, pages)
		opt.Pages = pages
	}
	a, store, err := openArchiveWith(ctx, src.WAL, src.Layout, opt)
	if err != nil {
		return nil, err
	}
	s.stores = append(s.stores, store)
	s.archives[src.Name] = a
	return a, nil
}

func tenantOf(src config.Source) string {
	if src.Tenant != "" {
		return src.Tenant
	}
	return src.Name
}

func openArchive(ctx context.Context, location, layout, tenant, timeline string) (*archive.Archive, *storage.Store, error) {
	return openArchiveWith(ctx, location, layout, archive.Options{Tenant: tenant, Timeline: timeline})
}

func openArchiveWith(ctx context.Context, location, layout string, opt archive.Options) (*archive.Archive, *storage.Store, error) {
	l, err := archive.ParseLayout(layout)
	if err != nil {
		return nil, nil, err
	}
	store, err := storage.Open(ctx, location)
	if err != nil {
		return nil, nil, err
	}
	a, err := archive.Open(ctx, store, l, opt)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return a, store, nil
}

// Timelines fits scheduler.Catalog.
func (s *site) Timelines(ctx context.Context) (scheduler.Listing, error) {
	var out scheduler.Listing
	for _, src := range s.cfg.Sources {
		found, err := s.timelines(ctx, src)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err != nil {
			for _, why := range unpack(err) {
				out.Problems = append(out.Problems, scheduler.Problem{Source: src.Name, Reason: why})
			}
		}
		out.Timelines = append(out.Timelines, found...)
	}
	return out, nil
}

func (s *site) timelines(ctx context.Context, src config.Source) ([]ledger.Timeline, error) {
	a, err := s.archive(ctx, src)
	if err != nil {
		return nil, err
	}
	if n, err := s.neon(src); n != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return n.timelines(ctx, src, a)
	}
	found, _, err := a.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	var out []ledger.Timeline
	for _, t := range found {
		out = append(out, ledger.Timeline{TimelineKey: ledger.TimelineKey{Source: src.Name, Tenant: t.Tenant(), Timeline: t.ID()}})
	}
	return out, nil
}

// timeline finds a timeline again.
func (s *site) timeline(ctx context.Context, k ledger.TimelineKey) (*archive.Timeline, config.Source, error) {
	src, err := s.source(k.Source)
	if err != nil {
		return nil, src, err
	}
	a, err := s.archive(ctx, src)
	if err != nil {
		return nil, src, err
	}
	if src.Neon.Configured() { // servers may know it where nothing of it is stored
		t, err := a.Named(k.Tenant, k.Timeline)
		return t, src, err
	}
	t, err := a.Timeline(ctx, k.Tenant, k.Timeline)
	return t, src, err
}

// backups is where a timeline's base backups are: where the layout keeps them,
// or below the source's own location for them.
func (s *site) backups(ctx context.Context, k ledger.TimelineKey) (string, error) {
	src, err := s.source(k.Source)
	if err != nil {
		return "", err
	}
	a, err := s.archive(ctx, src)
	if err != nil {
		return "", err
	}
	switch {
	case a.Layout() == archive.Neon:
		return below(cmpOr(src.Backups, src.WAL), "tenants", k.Tenant, "timelines"), nil
	case a.Layout() == archive.Redoubt && src.Backups == "":
		return below(src.WAL, k.Tenant, k.Timeline, "snapshots"), nil
	case a.Layout() == archive.Redoubt:
		return below(src.Backups, k.Tenant, k.Timeline), nil
	case src.Backups == "":
		return "", fmt.Errorf("source %s says nowhere where base backups are: set its key backups", src.Name)
	}
	return src.Backups, nil
}

// Snapshots fits scheduler.Catalog.
func (s *site) Snapshots(ctx context.Context, k ledger.TimelineKey) ([]scheduler.Snapshot, error) {
	loc, err := s.backups(ctx, k)
	if err != nil {
		return nil, err
	}
	found, err := s.listBackups(ctx, k, loc)
	if err != nil {
		return nil, err
	}
	out := schedulable(found)
	switch src, err := s.source(k.Source); {
	case err != nil:
	case isLive(src.Official):
		out = append(out, s.liveSnapshot(ctx, src, out))
	case isPageserver(src.Official):
		out = append(out, s.readablePages(ctx, src, k))
	}
	return out, nil
}

// schedulable are backups as the scheduler wants them.
func schedulable(found []snapshot.Backup) []scheduler.Snapshot {
	out := make([]scheduler.Snapshot, 0, len(found))
	for _, b := range found {
		if b.Err != nil {
			out = append(out, scheduler.Snapshot{Name: b.Name, Broken: b.Err.Error()})
			continue
		}
		m := metaOf(b.Info)
		end := b.Info.EndLSN
		if m.Consistent != 0 {
			end = m.Consistent
		}
		out = append(out, scheduler.Snapshot{
			Name: b.Name, Redo: m.Redo, End: end, Online: m.Online, TLI: m.TLI, Major: m.Major, SystemID: m.SystemID,
		})
	}
	return out
}

// verify fits scheduler.Verifier.
func (s *site) verify(ctx context.Context, spec scheduler.SpanSpec) (_ finding.Verification, err error) {
	t, src, err := s.timeline(ctx, spec.TimelineKey)
	if err != nil {
		return finding.Verification{}, err
	}
	loc, err := s.backups(ctx, spec.TimelineKey)
	if err != nil {
		return finding.Verification{}, err
	}
	archived, err := t.Source(ctx, spec.TLI)
	if err != nil {
		return finding.Verification{}, err
	}
	base, err := s.base(ctx, src, spec, loc, archived)
	if err != nil {
		return finding.Verification{}, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	official, wal, done, err := s.official(ctx, src, spec, loc, archived)
	if err != nil {
		return finding.Verification{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	engine, err := s.engine(spec.Job)
	if err != nil {
		return finding.Verification{}, err
	}
	job := s.cfg.Jobs[spec.Job]
	v, err := verify.Run(ctx, verify.Options{
		Base: base, Official: official, WAL: wal, Timeline: spec.Tenant + "/" + spec.Timeline,
		Sample: job.Sample, Untouched: job.Untouched, Seed: spec.Seed, Native: engine,
		Engine: job.Engine, Confirm: job.Confirm == "server", Server: s.server(),
		ShowBytes: s.cfg.Reports.PageBytes == "shown", AcceptUnproven: job.AcceptUnproven, Moving: moving(src.Live),
	})
	if v == nil {
		v = &finding.Verification{}
	}
	return *v, err
}

// base opens a span's base.
func (s *site) base(ctx context.Context, src config.Source, spec scheduler.SpanSpec, backups string, archived replay.WALSource) (side, error) {
	if lsn, ok := readableAt(src, spec.Base); ok {
		return s.openReadable(ctx, src, spec.TimelineKey, lsn, archived, true)
	}
	return openSide(ctx, below(backups, spec.Base))
}

// official opens a span's official side and says where its WAL comes from.
func (s *site) official(ctx context.Context, src config.Source, spec scheduler.SpanSpec, backups string, archived replay.WALSource) (verify.Snapshot, replay.WALSource, func() error, error) {
	name := spec.Official
	if lsn, ok := readableAt(src, name); ok {
		side, err := s.openReadable(ctx, src, spec.TimelineKey, lsn, archived, false)
		if err != nil {
			return nil, nil, nil, err
		}
		return side, archived, side.Close, nil
	}
	if name == liveName && isLive(src.Official) {
		side, err := openLive(ctx, src.Official, src.Live, nil)
		if err != nil {
			return nil, nil, nil, err
		}
		return side, side.wal(archived, src.Live), side.Close, nil
	}
	side, err := openSide(ctx, below(backups, name))
	return side, archived, side.Close, err
}

// server is how PostgreSQL is run.
func (s *site) server() pgserver.Config {
	c := s.cfg.Server
	bins := pgserver.Bins{Dirs: make(map[int]string)}
	for major, dir := range s.cfg.PgBin {
		n, _ := strconv.Atoi(major) // it was validated
		bins.Dirs[n] = dir
	}
	return pgserver.Config{
		Bins: bins, Scratch: s.cfg.ScratchDir(), MinFree: int64(s.cfg.Scratch.MinFree), User: c.User,
		Memory: int64(c.Memory), Disk: int64(c.Disk), Time: time.Duration(c.Duration), Libraries: c.Libraries,
	}
}

// engine shares memory and cores among the spans that a job replays at once.
func (s *site) engine(job string) (native.Config, error) {
	dir := s.cfg.ScratchDir()
	if err := os.MkdirAll(dir, 0o711); err != nil { // a server's user must get through
		return native.Config{}, fmt.Errorf("make scratch directory: %w", err)
	}
	spans := max(1, s.cfg.Jobs[job].ParallelSpans)
	return native.Config{
		Workers: s.cfg.Workers, Memory: int64(s.cfg.Memory) / int64(spans),
		Scratch: dir, ScratchMinFree: int64(s.cfg.Scratch.MinFree),
	}, nil
}
