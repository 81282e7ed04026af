package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/archive"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/storage"
	"redoubt/reports"
	"redoubt/scanner"
	"redoubt/scheduler"
)

// scanFlags are the flags of `redoubt scan`.
type scanFlags struct {
	output
	config               string
	wal, layout, cluster string
	from, to             string
	deep, audit          bool
	repair               repairFlags
	progress             string
}

func scanCommand() *cobra.Command {
	f := &scanFlags{}
	cmd := &cobra.Command{
		Use:   "scan --wal LOC | -c FILE",
		Short: "Check that every WAL segment is there, and with --deep that each is valid",
		Long: `List an archive and report, for each timeline, the segments that should be there
and are not, by name. Expected are all from the oldest base backup's start (or
the first segment) to the newest segment.

With --deep every segment is read: decompressed, its page headers, the CRC of
each record, and the chain from record to record across segments.

With --audit the full-page images in the WAL are checked: an image that is
older than the last record of its block shows that the primary read an old
version of the page back from its disk, a lost write.

With --repair the damaged segments of --wal that have a sound copy in the
directory --good are replaced by it, at --repair-to: the same place, opened
with credentials that may write. The damaged object is kept aside under another
name. What the scan prints and its exit code are those from before.

With -c instead of --wal all sources of a configuration are scanned, those of
Neon by what its safekeepers say, and what
was acknowledged in its ledger (redoubt ack) does not count.`,
		Example: `  redoubt scan --wal /archive
  redoubt scan --wal s3://bucket/prefix --layout redoubt --deep --audit --format json
  redoubt scan --wal /archive --from 0/4000000 --to 0/9000000
  redoubt scan -c redoubt.yaml --deep
  redoubt scan --wal s3://bucket/prefix --repair --repair-to 's3://bucket/prefix?profile=repair' --good /var/lib/wal`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVarP(&f.config, "config", "c", "", "configuration file: scan its sources")
	fl.StringVar(&f.wal, "wal", "", "location of the WAL")
	fl.StringVar(&f.layout, "layout", "auto", "how the WAL lies there: auto, plain, redoubt or neon")
	fl.StringVar(&f.cluster, "cluster", "", "TENANT, TIMELINE or TENANT/TIMELINE: only these (default: all)")
	fl.StringVar(&f.from, "from", "", "LSN from which segments are expected")
	fl.StringVar(&f.to, "to", "", "LSN up to which segments are expected, exclusive")
	fl.BoolVar(&f.deep, "deep", false, "read every segment")
	fl.BoolVar(&f.audit, "audit", false, "find lost writes of the primary by the full-page images in the WAL")
	fl.StringVar(&f.progress, "progress", "auto", "progress on stderr: auto or never")
	f.repair.flags(cmd)
	cmd.MarkFlagsMutuallyExclusive("config", "wal")
	cmd.MarkFlagsMutuallyExclusive("config", "layout")
	return cmd
}

func (f *scanFlags) run(cmd *cobra.Command) (err error) {
	opt, err := f.options()
	if err != nil {
		return err
	}
	prog, err := newProgress(cmd.ErrOrStderr(), f.progress)
	if err != nil {
		return err
	}
	ctx, start := cmd.Context(), time.Now()
	found, acks, closeAll, err := f.choose(ctx)
	if unreachable(err) { // nothing is wrong with what was asked for
		return exitWith(exitInconclusive, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	var results []scanner.Result
	var doubts []string
	for _, c := range found {
		if c.t == nil {
			doubts = append(doubts, c.problem)
			continue
		}
		doubt := ""
		if c.site != nil {
			if doubt, err = c.site.handOn(ctx, c.source, c.t, &opt); err != nil {
				return err
			}
		}
		opt.Listing = prog.growing("objects of " + c.t.Tenant() + "/" + c.t.ID() + " listed")
		opt.Progress = prog.counted("segments of " + c.t.Tenant() + "/" + c.t.ID() + " read")
		r, err := scanTimeline(ctx, c.t, c.backups, opt)
		if ctx.Err() != nil {
			prog.end()
			return ctx.Err()
		}
		if doubt != "" {
			r.Reasons = append(r.Reasons, doubt)
		}
		if err != nil { // the other timelines are scanned all the same
			r.Tenant, r.Timeline, r.Reasons = c.t.Tenant(), c.t.ID(), append(r.Reasons, err.Error())
		}
		if err := f.repair.run(ctx, cmd.ErrOrStderr(), c, r.Damaged); err != nil {
			r.Reasons = append(r.Reasons, err.Error())
		}
		acks.MarkScan(&r.ScanTimeline)
		results = append(results, r)
	}
	prog.end()
	scan := scanner.Summarize(results, doubts, time.Since(start))
	out := cmd.OutOrStdout()
	return exitFor(scan.Verdict, f.print(out,
		func(w io.Writer) error { return reports.JSON(w, scan) },
		func(w io.Writer) error {
			return reports.ScanText(w, scan, reports.TextOptions{Color: isTerminal(out)})
		}))
}

// chosen is a timeline to scan, with where its base backups are if that is
// known; or, without one, why a source cannot be scanned.
type chosen struct {
	t       *archive.Timeline
	site    *site // of the configuration; nil with --wal
	source  config.Source
	backups string
	place   string // of its WAL below --wal; empty: there itself
	problem string
}

// choose lists the timelines asked for, with the acknowledgements that hold.
func (f *scanFlags) choose(ctx context.Context) ([]chosen, *finding.Acknowledgements, func() error, error) {
	if f.config != "" {
		return f.configured(ctx)
	}
	a, store, err := openArchive(ctx, f.wal, f.layout, "", "")
	if err != nil {
		return nil, nil, nil, err
	}
	found, err := chooseTimelines(ctx, a, f.cluster)
	if err != nil {
		return nil, nil, nil, errors.Join(err, store.Close())
	}
	var out []chosen
	for _, t := range found {
		c := chosen{t: t}
		if a.Layout() == archive.Redoubt {
			c.place = t.Tenant() + "/" + t.ID() + "/" + storage.WALDir
			c.backups = below(f.wal, t.Tenant(), t.ID(), "snapshots")
		}
		out = append(out, c)
	}
	return out, &finding.Acknowledgements{}, store.Close, nil
}

// configured lists the timelines of a configuration's sources.
func (f *scanFlags) configured(ctx context.Context) (out []chosen, acks *finding.Acknowledgements, closeAll func() error, err error) {
	cfg, err := config.Load(f.config)
	if err != nil {
		return nil, nil, nil, err
	}
	if acks, err = acknowledgements(ctx, cfg); err != nil {
		return nil, nil, nil, err
	}
	s := newSite(cfg, nil)
	for _, src := range cfg.Sources {
		found, err := f.timelinesOf(ctx, s, src)
		if err != nil {
			out = append(out, chosen{problem: fmt.Sprintf("source %s: %v", src.Name, err)})
		}
		out = append(out, found...)
	}
	if len(out) == 0 && f.cluster != "" {
		return nil, nil, nil, errors.Join(fmt.Errorf("no source of %s has a timeline %s", f.config, f.cluster), s.Close())
	}
	return out, acks, s.Close, nil
}

func (f *scanFlags) timelinesOf(ctx context.Context, s *site, src config.Source) ([]chosen, error) {
	found, err := s.timelines(ctx, src)
	var out []chosen
	for _, k := range found {
		if f.cluster != "" && f.cluster != k.Tenant && f.cluster != k.Timeline && f.cluster != k.Tenant+"/"+k.Timeline {
			continue
		}
		t, _, err := s.timeline(ctx, k.TimelineKey)
		if err != nil {
			return out, err
		}
		c := chosen{t: t, site: s, source: src}
		if c.backups, err = s.backups(ctx, k.TimelineKey); err != nil {
			c.backups = "" // then only what the archive itself says is expected
		}
		out = append(out, c)
	}
	return out, err
}

// acknowledgements are those that hold in the ledger of a configuration, none where there is no ledger yet.
func acknowledgements(ctx context.Context, cfg *config.Config) (_ *finding.Acknowledgements, err error) {
	if _, err := os.Stat(cfg.LedgerPath()); errors.Is(err, fs.ErrNotExist) {
		return &finding.Acknowledgements{}, nil
	}
	l, err := ledger.Open(cfg.LedgerPath())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return l.Acknowledgements(ctx)
}

func (f *scanFlags) options() (o scanner.Options, err error) {
	if err := f.output.check(); err != nil {
		return o, err
	}
	if f.wal == "" && f.config == "" {
		return o, errors.New("--wal is missing, or -c: see redoubt scan --help")
	}
	if o.From, err = parseLSNFlag("--from", f.from); err != nil {
		return o, err
	}
	if o.To, err = parseLSNFlag("--to", f.to); err != nil {
		return o, err
	}
	if o.To != 0 && o.To <= o.From {
		return o, fmt.Errorf("--to %s is not after --from %s", o.To, o.From)
	}
	if err := f.repair.check(f.wal); err != nil {
		return o, err
	}
	o.Deep, o.Audit = f.deep || f.repair.on, f.audit
	return o, nil
}

// scanTimeline scans one timeline; backups is where its base backups are, if
// that is known.
func scanTimeline(ctx context.Context, t *archive.Timeline, backups string, o scanner.Options) (scanner.Result, error) {
	var doubts []string
	o.BeginsLate = t.Layout() == archive.Neon
	if backups != "" && t.Layout() != archive.Neon {
		found, err := snapshot.List(ctx, backups, snapshot.Options{})
		if err != nil {
			doubts = append(doubts, fmt.Sprintf("base backups could not be listed, so it is not known which WAL they need: %v", err))
		}
		for _, b := range found {
			if b.Err != nil {
				doubts = append(doubts, fmt.Sprintf("base backup %s cannot be read, so it is not known which WAL it needs: %v", b.Name, b.Err))
				continue
			}
			o.Backups = append(o.Backups, scanner.Backup{Name: b.Name, TLI: b.Info.StartTLI, Start: b.Info.Redo, Stop: stopOf(b.Info)})
		}
	}
	r, err := scanner.Timeline(ctx, t, o)
	r.Reasons = append(r.Reasons, doubts...)
	return r, err
}

// stopOf is where a backup becomes consistent, as far as it says so itself.
func stopOf(i snapshot.Info) pg.LSN { return max(i.Redo, i.Consistent, i.EndLSN) }

// scan fits scheduler.Scanner.
func (s *site) scan(ctx context.Context, spec scheduler.ScanSpec) (finding.ScanTimeline, error) {
	t, src, err := s.timeline(ctx, spec.TimelineKey)
	if err != nil {
		return finding.ScanTimeline{}, err
	}
	loc, err := s.backups(ctx, spec.TimelineKey)
	if err != nil {
		return finding.ScanTimeline{}, err
	}
	job := s.cfg.Jobs[spec.Job].Scan
	opt := scanner.Options{Deep: job.Deep, Audit: job.Audit, Reread: job.Reread, Memory: memory{s.ledger}}
	doubt, err := s.handOn(ctx, src, t, &opt)
	if err != nil {
		return finding.ScanTimeline{}, err
	}
	r, err := scanTimeline(ctx, t, loc, opt)
	if doubt != "" {
		r.Reasons = append(r.Reasons, doubt)
	}
	return r.ScanTimeline, err
}

// memory is the ledger as the scanner's memory.
type memory struct{ l *ledger.Ledger }

var _ scanner.Memory = memory{}

func (m memory) Recall(ctx context.Context, tenant, timeline, name string) (scanner.Seen, bool, error) {
	s, ok, err := m.l.Segment(ctx, tenant, timeline, name)
	return scanner.Seen{Name: s.Name, Size: s.Size, ETag: s.ETag, ModTime: s.ModTime, State: s.State}, ok, err
}

func (m memory) Remember(ctx context.Context, tenant, timeline string, seen []scanner.Seen) error {
	segments := make([]ledger.Segment, 0, len(seen))
	for _, s := range seen {
		segments = append(segments, ledger.Segment{Name: s.Name, Size: s.Size, ETag: s.ETag, ModTime: s.ModTime, State: s.State})
	}
	return m.l.RememberSegments(ctx, tenant, timeline, time.Now(), segments...)
}
