package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"redoubt/internal/api"
	"redoubt/internal/config"
	"redoubt/internal/metrics"
	"redoubt/internal/storage"
	"redoubt/walbackup"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/journal"
	"redoubt/walbackup/local"
	walnames "redoubt/walbackup/names"
)

func walbackupCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "walbackup -c FILE",
		Short: "Upload complete WAL segments, and keep the WAL backup LSN",
		Long: `Run the WAL backup agent: every complete segment of the directories in
walbackup.sources goes to walbackup.bucket, and the WAL backup LSN, below which
every segment is there, to etcd. Several agents share a bucket through one etcd
cluster; one of them uploads a timeline, and another takes over when it fails.

Metrics and health are on walbackup.agent.listen.`,
		Example: `  redoubt walbackup -c redoubt.yaml
  curl http://127.0.0.1:8481/metrics`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), path) },
	}
	cmd.Flags().StringVarP(&path, "config", "c", "redoubt.yaml", "configuration file")
	return cmd
}

func runAgent(ctx context.Context, path string) (err error) {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	log, err := newLogger(cfg.Log.Format, cfg.Log.Level)
	if err != nil {
		return err
	}
	w := &cfg.WALBackup
	if w.Bucket == "" || len(w.Sources) == 0 {
		return fmt.Errorf("%s: walbackup.bucket and walbackup.sources say what is backed up, and where to: set both", path)
	}
	lock, err := lockDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	disk, err := local.New(agentSources(w), local.Options{Rescan: time.Duration(w.Agent.Rescan), Quiet: 50 * time.Millisecond, Log: log})
	if err != nil {
		return err
	}
	counters := metrics.NewBackup(versionString())
	store, err := openBackup(storage.Observing(ctx, counters.Access), cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	bucket := &agentBucket{store: store, cfg: cfg}
	client, failed, stop, err := openEtcd(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	identity, err := claimBucket(ctx, bucket, client, log)
	if err != nil {
		return err
	}
	book, err := journal.Open(filepath.Join(cfg.DataDir, "walbackup.db"), store.Location()+" "+identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	agent := walbackup.New(ctx, agentConfig(w, log), walbackup.Parts{
		Local: disk, Bucket: bucket, Etcd: walbackup.Etcd(client), Queue: walbackup.Requests(client), Journal: book, Counters: counters,
	})
	counters.Set(func() metrics.BackupState { return backupState(agent) })
	who, err := checker(cfg.HTTP)
	if err != nil {
		return err
	}
	encryption, err := serverTLS(cfg.HTTP.TLS, log)
	if err != nil {
		return err
	}
	server, err := api.NewAgent(api.Options{Metrics: counters.Handler(), Ready: agent.Ready, Auth: who, TLS: encryption, Log: log})
	if err != nil {
		return err
	}
	return serveAgent(ctx, w.Agent.Listen, server, agent, failed, log)
}

func serveAgent(ctx context.Context, address string, server *api.Server, agent *walbackup.Agent, failed <-chan error, log *slog.Logger) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; set walbackup.agent.listen to a free address", address, err)
	}
	log.Info("the WAL backup agent works", "address", listener.Addr().String())
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(gctx, listener) })
	g.Go(func() error { return agent.Run(gctx) })
	g.Go(func() error {
		select {
		case err := <-failed:
			return fmt.Errorf("etcd ended: %w", err)
		case <-gctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// lockDir makes this the one agent with a data directory.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "walbackup.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data_dir: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another agent runs with it: one agent of a machine serves all timelines")
		}
		return nil, errors.Join(fmt.Errorf("lock data_dir %s: %w", dir, err), f.Close())
	}
	return f, nil
}

func agentSources(w *config.WALBackup) []local.Source {
	var out []local.Source
	for _, s := range w.Sources {
		src := local.Source{Path: s.Path, Kind: s.Kind, ConfigFile: s.ConfigFile}
		if s.Kind != local.Tree {
			src.ID = walnames.ID{Tenant: s.Tenant, Timeline: s.Timeline}
		}
		out = append(out, src)
	}
	return out
}

func agentConfig(w *config.WALBackup, log *slog.Logger) walbackup.Config {
	a := &w.Agent
	host, _ := os.Hostname()
	return walbackup.Config{
		Name: cmp.Or(a.Name, host, "agent"), Lease: time.Duration(a.Etcd.Lease),
		Parallel: a.Parallel, Attempt: time.Duration(a.Attempt),
		Retry: walbackup.Backoff{First: time.Duration(a.FirstWait), Max: time.Duration(a.MaxWait)},
		Again: time.Duration(a.LookAgain), Tick: time.Duration(a.Rescan), Partial: time.Duration(a.Partial),
		Alarm: walbackup.Thresholds{
			StalledSegments: a.Alarms.StalledSegments, StalledTime: time.Duration(a.Alarms.StalledTime),
			ErrorRatio: a.Alarms.ErrorRatio, ErrorWindow: time.Duration(a.Alarms.ErrorWindow), NoLeader: time.Duration(a.Alarms.NoLeader),
		},
		Remove: walbackup.Remove{Mode: a.RemoveMode, Keep: a.Keep}, Log: log,
	}
}

// openEtcd connects to the cluster or, without one, to an etcd of this process.
// failed tells when the latter ended by itself.
func openEtcd(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *coord.Client, failed <-chan error, stop func() error, err error) {
	end := func() {}
	if len(cfg.WALBackup.Agent.Etcd.Endpoints) == 0 {
		embedded, err := coord.Embed(ctx, etcdDir(cfg), log)
		if err != nil {
			return nil, nil, nil, err
		}
		failed, end = embedded.Err(), embedded.Close
	}
	// The connection outlives the context, so that terms can be given up at the end.
	client, err := dialEtcd(context.WithoutCancel(ctx), cfg, log)
	if err != nil {
		end()
		return nil, nil, nil, err
	}
	return client, failed, func() error {
		err := client.Close()
		end()
		return err
	}, nil
}

// startWait is the pause before another try at the start.
const startWait = 2 * time.Second

// claimBucket makes sure that the agents of this etcd, and no others, use the
// bucket. What is of the moment is tried again without end; a wrong name, or no
// permission, is an error.
func claimBucket(ctx context.Context, b *agentBucket, client *coord.Client, log *slog.Logger) (string, error) {
	for {
		identity, err := client.Identity(ctx)
		if err == nil {
			err = b.claim(ctx, identity)
			if err == nil {
				return identity, nil
			}
			if errors.Is(err, errOtherEtcd) || !storage.Transient(err) {
				return "", err
			}
		}
		log.Warn("the agent can't start yet: it is tried again", "error", err)
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(startWait):
		}
	}
}

func backupState(a *walbackup.Agent) metrics.BackupState {
	out := metrics.BackupState{ErrorRatio: a.ErrorRatio()}
	for _, s := range a.Statuses() {
		out.Timelines = append(out.Timelines, metrics.BackupTimeline{
			Tenant: s.ID.Tenant, Timeline: s.ID.Timeline, BackupLSN: s.Backup, LagBytes: s.LagBytes, Stalled: s.StalledFor, Leads: s.Leading,
		})
	}
	for k, n := range a.Alarms() {
		out.Alarms = append(out.Alarms, metrics.BackupAlarm{Tenant: k.ID.Tenant, Timeline: k.ID.Timeline, Kind: k.Kind, Count: n})
	}
	return out
}
