package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/compress"
	"redoubt/internal/config"
	"redoubt/internal/storage"
	"redoubt/internal/walcmd"
)

// Exit codes of archive-get. PostgreSQL takes 1 to 125 as the end of the
// archive and promotes the server, so anything but a proven absence is above.
const (
	exitAbsent  = 1
	exitTrouble = 126
)

// archiveFlags are the flags of archive-push and archive-get.
type archiveFlags struct {
	config           string
	tenant, timeline string
}

func (f *archiveFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "configuration file, with a section walbackup")
	fl.StringVar(&f.tenant, "tenant", "", "tenant (default: that of the source whose path it is, or of the only source)")
	fl.StringVar(&f.timeline, "timeline", "", "timeline (default: likewise)")
}

func archivePushCommand() *cobra.Command {
	f := &archiveFlags{}
	cmd := &cobra.Command{
		Use:   "archive-push -c FILE PATH",
		Short: "Store one WAL file durably: PostgreSQL's archive_command",
		Long: `Store the WAL file at PATH (PostgreSQL's %p) in walbackup.bucket. It may be a
segment, a .partial, .backup or .history file.

The exit code is 0 only when the file is durable there. If the file is there
already, its content is compared: the same content is success, another one an
error, and nothing is overwritten. A file that is not what its name says, or of
another cluster than what is stored, is refused.`,
		Example: `  archive_command = 'redoubt archive-push -c /etc/redoubt.yaml %p'`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.push(cmd.Context(), args[0])
		},
	}
	f.flags(cmd)
	return cmd
}

func (f *archiveFlags) push(ctx context.Context, path string) (err error) {
	p, err := f.open(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }() // what is durable is durable
	ctx, cancel := p.limit(ctx)
	defer cancel()
	if err := p.pushOrigin(ctx, path); err != nil {
		return exitWith(exitFindings, err)
	}
	done, err := p.Push(ctx, path)
	if err != nil {
		return exitWith(exitFindings, err)
	}
	p.Log.Info("stored", "file", done.Name, "outcome", done.Placed.Outcome.String(), "key", done.Placed.Key, "bytes", done.Placed.Stored)
	if err := p.advance(ctx, done); err != nil {
		p.Log.Warn("the file is durable, but the WAL backup LSN was not advanced", "file", done.Name, "error", err)
	}
	return nil
}

// getFlags are the flags of archive-get.
type getFlags struct {
	archiveFlags
	unchecked bool
	ahead     bool
}

func archiveGetCommand() *cobra.Command {
	f := &getFlags{}
	cmd := &cobra.Command{
		Use:   "archive-get -c FILE NAME PATH",
		Short: "Bring one WAL file back: PostgreSQL's restore_command",
		Long: `Bring the WAL file NAME (PostgreSQL's %f) from walbackup.bucket to PATH (%p),
decompressed and checked: size, page headers, cluster, and the CRC of each
record. The segments after it are fetched ahead in the background
(walbackup.prefetch).

Exit codes: 0 the file is there; 1 it is proven absent: the store has answered,
and other WAL of the timeline is there; 126 or more anything else. PostgreSQL
takes 1 to 125 as the end of the archive.`,
		Example: `  restore_command = 'redoubt archive-get -c /etc/redoubt.yaml %f %p'`,
		Args: func(_ *cobra.Command, args []string) error {
			if want := f.args(); len(args) != want {
				return exitWith(exitTrouble, fmt.Errorf("archive-get takes a name and a path (%%f %%p), not %d arguments", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.ahead {
				return f.fetchAhead(cmd.Context(), args[0])
			}
			return f.get(cmd.Context(), args[0], args[1])
		},
	}
	f.flags(cmd)
	cmd.Flags().BoolVar(&f.unchecked, "unchecked", false, "hand files out as they are stored, damaged ones too")
	cmd.Flags().BoolVar(&f.ahead, "ahead", false, "fetch the segments after NAME ahead, and nothing else")
	_ = cmd.Flags().MarkHidden("ahead") // the flag is there
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exitWith(exitTrouble, err) })
	return cmd
}

func (f *getFlags) args() int {
	if f.ahead {
		return 1
	}
	return 2
}

func (f *getFlags) get(ctx context.Context, name, dest string) error {
	// A crash of the runtime must be a signal, not exit code 2.
	debug.SetTraceback("crash")
	p, err := f.open(ctx, filepath.Dir(dest))
	if err != nil {
		return exitWith(exitTrouble, err)
	}
	defer func() { _ = p.close() }() // it was only read
	p.Unchecked = f.unchecked
	limited, cancel := p.limit(ctx)
	defer cancel()
	err = p.Get(limited, name, dest)
	switch {
	case err == nil:
		f.startAhead(p, name)
		return nil
	case errors.Is(err, walcmd.ErrAbsent):
		return exitWith(exitAbsent, err)
	case ctx.Err() != nil: // as the signal itself would: PostgreSQL then just stops
		return exitWith(128+int(syscall.SIGTERM), err)
	}
	return exitWith(exitTrouble, err)
}

// startAhead starts a process of its own that fetches the next segments.
// Without it recovery is slower, not wrong.
func (f *getFlags) startAhead(p *place, name string) {
	if !p.Wanted(name, p.cfg.WALBackup.Prefetch.Segments) {
		return
	}
	self, err := os.Executable()
	if err == nil {
		cmd := exec.Command(self, "archive-get", "--ahead", "-c", f.config, "--tenant", p.Timeline.Tenant(), "--timeline", p.Timeline.ID(), name) //nolint:noctx // it goes on when this command is over
		// As what we were called: the tests' program is another thing by its own name.
		cmd.Args[0] = os.Args[0]
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		err = cmd.Start()
	}
	if err != nil {
		p.Log.Warn("nothing is fetched ahead", "error", err)
	}
}

func (f *getFlags) fetchAhead(ctx context.Context, name string) error {
	p, err := f.open(ctx, "")
	if err != nil {
		return exitWith(exitTrouble, err)
	}
	defer func() { _ = p.close() }() // it was only read
	ctx, cancel := p.limit(ctx)
	defer cancel()
	return exitWith(exitTrouble, p.Ahead(ctx, name, p.cfg.WALBackup.Prefetch.Segments))
}

// place is a timeline in the bucket of a configuration.
type place struct {
	walcmd.Place
	bucket *storage.Store
	cfg    *config.Config
	close  func() error
}

// limit bounds a command by walbackup.storage.timeout.
func (p *place) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if d := time.Duration(p.cfg.WALBackup.Storage.Timeout); d > 0 {
		return context.WithTimeout(ctx, d)
	}
	return ctx, func() {}
}

// open opens the timeline whose WAL lies in dir.
func (f *archiveFlags) open(ctx context.Context, dir string) (*place, error) {
	if f.config == "" {
		return nil, errors.New("-c is missing: name the configuration file")
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	log, err := newLogger(cfg.Log.Format, cfg.Log.Level)
	if err != nil {
		return nil, err
	}
	src, err := f.source(cfg, dir)
	if err != nil {
		return nil, err
	}
	store, err := openBackup(ctx, cfg)
	if err != nil {
		return nil, err
	}
	tl, err := backupTimeline(store, cfg, src)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &place{bucket: store, cfg: cfg, close: store.Close, Place: walcmd.Place{Timeline: tl, Retry: retryOf(cfg), State: cfg.PrefetchDir(),
		DataDir: dataDir(), Log: cmp.Or(log, slog.New(slog.DiscardHandler))}}, nil
}

// dataDir is where PostgreSQL runs the commands: its data directory.
func dataDir() string {
	if _, err := os.Stat("global/pg_control"); err == nil {
		return "."
	}
	return ""
}

// source is the one that flags name, or whose path is dir, or the only one.
func (f *archiveFlags) source(cfg *config.Config, dir string) (config.WALSource, error) {
	if (f.tenant == "") != (f.timeline == "") {
		return config.WALSource{}, errors.New("--tenant and --timeline go together")
	}
	var known []string
	for _, s := range cfg.WALBackup.Sources {
		named := f.tenant == s.Tenant && f.timeline == s.Timeline
		if named || f.tenant == "" && dir != "" && sameDir(dir, s.Path) {
			return s, nil
		}
		known = append(known, s.Tenant+"/"+s.Timeline)
	}
	switch {
	case f.tenant != "": // not of this machine: for a restore
		return config.WALSource{Tenant: f.tenant, Timeline: f.timeline}, nil
	case len(known) == 1:
		return cfg.WALBackup.Sources[0], nil
	case len(known) == 0:
		return config.WALSource{}, fmt.Errorf("%s names no walbackup.sources: add one, or give --tenant and --timeline", f.config)
	}
	return config.WALSource{}, fmt.Errorf("%s is the path of none of walbackup.sources (%s): give --tenant and --timeline", dir, strings.Join(known, ", "))
}

func sameDir(a, b string) bool {
	ai, err := os.Stat(a)
	if err != nil {
		return false
	}
	bi, err := os.Stat(b)
	return err == nil && os.SameFile(ai, bi)
}

func retryOf(cfg *config.Config) storage.Retry {
	r := cfg.WALBackup.Storage.Retries
	return storage.Retry{Attempts: r.Attempts, Wait: time.Duration(r.FirstWait), Max: time.Duration(r.MaxWait)}
}

// openBackup opens the bucket of walbackup with its limits.
func openBackup(ctx context.Context, cfg *config.Config) (*storage.Store, error) {
	w := cfg.WALBackup
	if w.Bucket == "" {
		return nil, errors.New("the configuration names no walbackup.bucket")
	}
	var store *storage.Store
	err := retryOf(cfg).Do(ctx, func() (err error) {
		store, err = storage.Open(ctx, w.Bucket)
		return err
	})
	if err != nil {
		return nil, err
	}
	return store.Wrap(func(b storage.Bucket) storage.Bucket {
		return storage.WithLimits(b, storage.Limits{Bytes: int64(w.Storage.BytesPerSecond), Requests: w.Storage.RequestsPerSecond})
	}), nil
}

// backupTimeline is a source's place in the bucket.
func backupTimeline(store *storage.Store, cfg *config.Config, src config.WALSource) (*storage.Timeline, error) {
	c, err := compress.Parse(cmp.Or(src.Compression, cfg.WALBackup.Compression))
	if err != nil {
		return nil, err
	}
	return store.Timeline(src.Tenant, src.Timeline, storage.TimelineOptions{Compression: c, ReadBack: !cfg.WALBackup.Storage.ConditionalWrites})
}
