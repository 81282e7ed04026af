package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/storage"
	"redoubt/replay/native"
	pgserver "redoubt/replay/server"
	"redoubt/reports"
	"redoubt/verify"
)

// verifyFlags are the flags of `redoubt verify`.
type verifyFlags struct {
	output
	live                liveFlags
	base, wal, official string
	layout, cluster     string
	pages               string
	from, to, rel       string
	engine, confirm     string
	pgBin               []string
	sample, untouched   float64
	seed                int64
	workers             int
	memory, scratch     string
	all, acceptUnproven bool
	html, progress      string
	pageBytes           string
}

func verifyCommand() *cobra.Command {
	f := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify --base LOC --wal LOC --official LOC",
		Short: "Replay WAL over one base and compare the result with the official pages",
		Long: `Replay the WAL between two base backups (or data directories) over the first
and compare every page with the second.

A location is a path or a URL (s3://bucket/prefix?…, gs://…, azblob://…,
file:///dir). Base and official are a data directory that was stopped cleanly,
or a base backup: a directory, .tar, .tar.gz, .tar.zst, .tar.lz4, or what
pg_basebackup wrote; or a timeline on Neon's pageservers, of which --from and
--to say the LSNs: pageserver://HOST:PORT[,HOST:PORT…]/TENANT/TIMELINE, the hosts
those of its shards in order, the token in $REDOUBT_PAGESERVER_TOKEN. The official
side may also be a running server, postgres://USER@HOST/DATABASE, by a role with
few rights (docs/live.md). All of them are only read.`,
		Example: `  # last night's backup against the one before
  redoubt verify --base /backups/mon --official /backups/tue --wal /archive

  # everything in a bucket, the result as JSON, a page for people
  redoubt verify --base s3://b/pg/mon/base.tar.zst --official s3://b/pg/tue/base.tar.zst \
      --wal s3://b/pg/wal --format json --html report.html

  # the same; a real PostgreSQL confirms what is found and says who is to blame
  redoubt verify --base old --official new --wal archive --confirm server --pg-bin 17=/opt/pg17/bin

  # what a pageserver made of an hour of WAL; a hundredth of all other blocks, too
  redoubt verify --base pageserver://ps:6400/TENANT/TIMELINE --from 0/16B3748 \
      --official pageserver://ps:6400/TENANT/TIMELINE --to 0/9A3F5D8 --untouched 0.01 --wal s3://b/wal

  # a running server, and the WAL that it has not archived yet
  redoubt verify --base /backups/mon --wal /archive --official postgres://redoubt@db1/postgres --live-wal

  # a tenth of the blocks of one table
  redoubt verify --base old --official new --wal archive --rel 1663/16384/16390 --sample 0.1 --seed 7`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	f.live.flags(cmd)
	fl.StringVar(&f.base, "base", "", "location of the pages the span starts from")
	fl.StringVar(&f.wal, "wal", "", "location of the WAL")
	fl.StringVar(&f.official, "official", "", "location of the pages the span's end is compared with")
	fl.StringVar(&f.layout, "layout", "auto", "how the WAL lies there: auto, plain, redoubt or neon")
	fl.StringVar(&f.pages, "neon-pages", "", neonPagesUsage)
	fl.StringVar(&f.cluster, "cluster", "", "TENANT/TIMELINE, where the WAL's location holds several")
	fl.StringVar(&f.from, "from", "", "LSN of the span's start (default: the base's redo start)")
	fl.StringVar(&f.to, "to", "", "LSN of the span's end, exclusive (default: the official side's own)")
	fl.StringVar(&f.engine, "engine", verify.EngineNative, "what replays: native, server (a real PostgreSQL) or both, compared with each other")
	fl.StringVar(&f.confirm, "confirm", "none", "who confirms critical discrepancies: none or server")
	fl.StringArrayVar(&f.pgBin, "pg-bin", nil, "`DIR` of PostgreSQL's programs, or 17=DIR for one major version (default: where they are usually installed)")
	fl.StringVar(&f.rel, "rel", "", "only this relation: TABLESPACE/DATABASE/RELFILENODE")
	fl.Float64Var(&f.sample, "sample", 1, "fraction of the blocks to verify, above 0 and at most 1")
	fl.Float64Var(&f.untouched, "untouched", 0, "of sides that are pageservers: fraction of the blocks to compare, too, that no WAL touches, 0 to 1; others are compared whole")
	fl.Int64Var(&f.seed, "seed", 0, "which blocks a sample takes")
	fl.IntVar(&f.workers, "workers", 0, "threads that replay (default: one per core)")
	fl.StringVar(&f.memory, "memory", "1GiB", "memory for pages; the rest goes to --scratch")
	fl.StringVar(&f.scratch, "scratch", "", "directory for pages beyond --memory (default: the system's)")
	fl.BoolVar(&f.acceptUnproven, "accept-unproven-dialect", false, "let a span be clean though the redo of its WAL's dialect was never held against real WAL (Neon's but that of 15)")
	fl.BoolVar(&f.all, "all", false, "list every discrepancy, benign ones too (default: the first 1,000)")
	fl.StringVar(&f.html, "html", "", "also write a report page to this file")
	fl.StringVar(&f.pageBytes, "page-bytes", "masked", "what users stored in pages that differ, in report and JSON: masked or shown")
	fl.StringVar(&f.progress, "progress", "auto", "progress on stderr: auto or never")
	return cmd
}

func (f *verifyFlags) run(cmd *cobra.Command) (err error) {
	opt, err := f.options()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	live, err := f.live.settings()
	if err != nil {
		return err
	}
	prog, err := newProgress(cmd.ErrOrStderr(), f.progress)
	if err != nil {
		return err
	}
	base, official, err := f.sides(ctx, opt, live, prog.note(cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, base.Close(), official.Close()) }()
	t, store, err := openTimeline(ctx, f.wal, f.layout, f.cluster, f.pages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	// The WAL is that of the history that leads to the official side. If that
	// side cannot be read, verify meets the same and says so in its result.
	meta, err := official.Meta(ctx)
	if err != nil {
		meta.TLI = 0
	}
	source, err := t.Source(ctx, meta.TLI)
	if err != nil {
		return err
	}
	opt.Base, opt.Official, opt.WAL, opt.Progress, opt.Moving = base, official, source, prog.update, moving(live)
	if s, ok := official.(liveSide); ok {
		opt.WAL = s.wal(source, live)
	}
	v, err := verify.Run(ctx, opt)
	prog.end()
	return f.conclude(cmd, v, err)
}

// options reads the flags.
func (f *verifyFlags) options() (o verify.Options, err error) {
	if err := f.output.check(); err != nil {
		return o, err
	}
	for _, flag := range [][2]string{{"--base", f.base}, {"--wal", f.wal}, {"--official", f.official}} {
		if flag[1] == "" {
			return o, fmt.Errorf("%s is missing: see redoubt verify --help", flag[0])
		}
	}
	bins, err := f.engines()
	if err != nil {
		return o, err
	}
	if f.pageBytes != "masked" && f.pageBytes != "shown" {
		return o, fmt.Errorf("--page-bytes %s: want masked or shown", f.pageBytes)
	}
	if f.workers < 0 {
		return o, fmt.Errorf("--workers %d: want 0, for one per core, or more", f.workers)
	}
	if st, err := os.Stat(f.scratch); f.scratch != "" && (err != nil || !st.IsDir()) {
		return o, fmt.Errorf("--scratch %s is no directory: name one that can be written to", f.scratch)
	}
	if !(f.sample > 0 && f.sample <= 1) { // NaN is neither
		return o, fmt.Errorf("--sample %g: want a fraction above 0 and at most 1", f.sample)
	}
	if !(f.untouched >= 0 && f.untouched <= 1) {
		return o, fmt.Errorf("--untouched %g: want a fraction from 0 to 1", f.untouched)
	}
	if o.From, err = parseLSNFlag("--from", f.from); err != nil {
		return o, err
	}
	if o.To, err = parseLSNFlag("--to", f.to); err != nil {
		return o, err
	}
	if f.rel != "" {
		rel, err := pg.ParseRelFileLocator(f.rel)
		if err != nil {
			return o, fmt.Errorf("--rel: %w", err)
		}
		o.Rel = &rel
	}
	var memory config.Size
	if err := memory.UnmarshalText([]byte(f.memory)); err != nil {
		return o, fmt.Errorf("--memory: %w", err)
	}
	o.Untouched = f.untouched
	o.Sample, o.Seed, o.All, o.AcceptUnproven = f.sample, f.seed, f.all, f.acceptUnproven
	o.ShowBytes = f.pageBytes == "shown"
	o.Native = native.Config{Workers: f.workers, Memory: int64(memory), Scratch: f.scratch}
	o.Engine, o.Confirm = f.engine, f.confirm == "server"
	o.Server = pgserver.Config{Bins: bins, Scratch: f.scratch, Memory: max(int64(memory), 1<<30)}
	return o, nil
}

// engines reads the flags that say what replays.
func (f *verifyFlags) engines() (pgserver.Bins, error) {
	switch f.engine {
	case verify.EngineNative, verify.EngineServer, verify.EngineBoth:
	default:
		return pgserver.Bins{}, fmt.Errorf("--engine %s: want native, server or both", f.engine)
	}
	if f.confirm != "none" && f.confirm != "server" {
		return pgserver.Bins{}, fmt.Errorf("--confirm %s: want none or server", f.confirm)
	}
	if len(f.pgBin) > 0 && f.engine == verify.EngineNative && f.confirm == "none" {
		return pgserver.Bins{}, errors.New("--pg-bin: the native engine needs no programs of PostgreSQL; leave it out, or add --confirm server")
	}
	bins, err := pgserver.ParseBins(f.pgBin)
	if err != nil {
		return bins, fmt.Errorf("--pg-bin: %w", err)
	}
	return bins, nil
}

func parseLSNFlag(name, value string) (pg.LSN, error) {
	if value == "" {
		return 0, nil
	}
	l, err := pg.ParseLSN(value)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// conclude prints the result and turns it into an exit code.
func (f *verifyFlags) conclude(cmd *cobra.Command, v *finding.Verification, err error) error {
	var input *verify.InputError
	if errors.As(err, &input) {
		return err
	}
	if cmd.Context().Err() != nil {
		return cmd.Context().Err()
	}
	out := cmd.OutOrStdout()
	problems := f.print(out,
		func(w io.Writer) error { return reports.JSON(w, *v) },
		func(w io.Writer) error {
			return reports.VerificationText(w, *v, reports.TextOptions{Color: isTerminal(out), All: f.all})
		})
	if f.html != "" {
		rep := reports.OfVerification(*v, time.Now())
		rep.Version, rep.Command = versionString(), typed(os.Args)
		err := reports.WriteFile(f.html, func(w io.Writer) error { return reports.HTML(w, rep) })
		problems = errors.Join(problems, err)
	}
	return exitFor(v.Verdict, problems)
}

// exitFor is the exit of a verdict that may not have been delivered whole:
// what was found stays found, and clean is only what the reader was told.
func exitFor(v finding.Verdict, undelivered error) error {
	exit := verdictExit(v)
	if undelivered == nil {
		return exit
	}
	var found *exitError
	if errors.As(exit, &found) {
		return exitWith(found.code, undelivered)
	}
	return exitWith(exitInconclusive, undelivered)
}

// verdictExit is the exit code of a verdict.
func verdictExit(v finding.Verdict) error {
	switch v {
	case finding.Clean:
		return nil
	case finding.Discrepancies, finding.Findings:
		return &exitError{code: exitFindings}
	}
	return &exitError{code: exitInconclusive}
}

// typed is a command line without the secrets that its locations may hold.
func typed(args []string) string {
	shown := make([]string, len(args))
	for i, a := range args {
		flag, value, ok := strings.Cut(a, "=")
		if ok && strings.HasPrefix(flag, "-") {
			shown[i] = flag + "=" + storage.Redacted(value)
		} else {
			shown[i] = storage.Redacted(a)
		}
	}
	return reports.CommandLine(shown...)
}
