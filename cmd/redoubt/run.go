package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/metrics"
	"redoubt/internal/storage"
	"redoubt/reports"
	"redoubt/scheduler"
)

// runFlags are the flags of `redoubt run`.
type runFlags struct {
	output
	config, job    string
	seed           int64
	textfile, push string
	progress       string
	seedGiven      bool
}

func runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Do one batch now: pick timelines, verify their spans, scan their archives",
		Long: `Do one run of a job now. Timelines are picked at random, those verified longest
ago first; each is cut into spans at its base backups; the spans are replayed in
parallel and compared; the archive of each picked timeline is scanned.

The result goes to the ledger and to a report (HTML and JSON) in reports.dir. A
run that was killed is resumed by the next start: finished spans are not
replayed again.`,
		Example: `  redoubt run -c redoubt.yaml
  redoubt run -c redoubt.yaml --seed 42            # the same picks as the run with seed 42
  redoubt run -c redoubt.yaml --format json --metrics-textfile /var/lib/node_exporter/redoubt.prom`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.seedGiven = cmd.Flags().Changed("seed")
			return f.run(cmd)
		},
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVarP(&f.config, "config", "c", "redoubt.yaml", "configuration file")
	fl.StringVar(&f.job, "job", "", "name of the job (default: the only one there is)")
	fl.Int64Var(&f.seed, "seed", 0, "repeat the picks of the run with this seed")
	fl.StringVar(&f.textfile, "metrics-textfile", "", "leave metrics in this file, for node_exporter")
	fl.StringVar(&f.push, "pushgateway", "", "send metrics to this pushgateway's URL")
	fl.StringVar(&f.progress, "progress", "auto", "progress on stderr: auto or never")
	return cmd
}

// service is what `run` and `serve` share: configuration, ledger, sources,
// metrics and the runner over them.
type service struct {
	path    string // of the configuration
	cfg     *config.Config
	log     *slog.Logger
	ledger  *ledger.Ledger
	site    *site
	metrics *metrics.Metrics
	runner  *scheduler.Runner
}

func openService(path string) (*service, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	log, err := newLogger(cfg.Log.Format, cfg.Log.Level)
	if err != nil {
		return nil, err
	}
	l, err := ledger.Open(cfg.LedgerPath())
	if err != nil {
		return nil, err
	}
	s := &service{path: path, cfg: cfg, log: log, ledger: l, site: newSite(cfg, l)}
	s.metrics = metrics.New(metrics.Options{
		State: s.state, EveryTimeline: cfg.Metrics.PerTimeline == "all", Version: versionString(), Log: log,
	})
	s.site.asked = s.metrics.Requested
	s.runner = &scheduler.Runner{
		Store: l, Catalog: s.site, Verify: s.site.verify, Scan: s.site.scan, Log: log,
		Transient: unreachable,
		Events:    scheduler.Events{SpanFinished: func(_ scheduler.SpanSpec, v finding.Verification) { s.metrics.ObserveSpan(v) }},
	}
	return s, nil
}

// openJob is openService with a job of it.
func openJob(path, name string) (*service, scheduler.Job, error) {
	s, err := openService(path)
	if err != nil {
		return nil, scheduler.Job{}, err
	}
	job, err := s.job(name)
	if err != nil {
		return nil, job, errors.Join(err, s.Close())
	}
	return s, job, nil
}

// unreachable says that an error is one of reaching a store, which a later
// attempt may not meet.
func unreachable(err error) bool {
	var se *storage.Error
	return errors.As(err, &se) && storage.Transient(err)
}

func (s *service) Close() error { return errors.Join(s.site.Close(), s.ledger.Close()) }

// job is a configured job as the scheduler wants it.
func (s *service) job(name string) (scheduler.Job, error) {
	names := slices.Sorted(maps.Keys(s.cfg.Jobs))
	if name == "" {
		if len(names) != 1 {
			return scheduler.Job{}, fmt.Errorf("there are %d jobs (%s): name one with --job", len(names), strings.Join(names, ", "))
		}
		name = names[0]
	}
	j, ok := s.cfg.Jobs[name]
	if !ok {
		return scheduler.Job{}, fmt.Errorf("no job is named %q; there are %s", name, strings.Join(names, ", "))
	}
	return scheduler.Job{
		Name: name, Sources: j.Sources, Timelines: j.Pick.Timelines, Patience: j.Pick.Patience,
		ParallelSpans: j.ParallelSpans, SpanBytes: int64(j.SpanWALBytes), Engine: j.Engine, WALBytes: int64(j.Limits.WALBytes), Duration: time.Duration(j.Limits.Duration),
		Retries: scheduler.Retries{Attempts: j.Retries.Attempts, FirstWait: time.Duration(j.Retries.FirstWait), MaxWait: time.Duration(j.Retries.MaxWait)},
	}, nil
}

// batch does one run and writes its report. The path is empty if there is no
// report; a run with FinishedAt is finished all the same.
func (s *service) batch(ctx context.Context, job scheduler.Job, o scheduler.Options) (run finding.Run, path string, err error) {
	if run, err = s.runner.Run(ctx, job, o); err != nil {
		return run, "", err
	}
	s.metrics.ObserveRun(run)
	defer s.retain(ctx)
	if path, err = reports.WriteRun(s.cfg.Reports.Dir, s.report(ctx, run)); err != nil {
		return run, "", fmt.Errorf("%w; the run is in the ledger: redoubt report --html FILE %s makes its page again", err, run.ID)
	}
	return run, path, nil
}

// retain takes away what is older than the configuration asks to keep. Where
// that fails nothing is wrong with the run: the next one tries again.
func (s *service) retain(ctx context.Context) {
	if keep := time.Duration(s.cfg.Retention.Runs); keep > 0 {
		gone, err := s.ledger.Prune(ctx, time.Now().Add(-keep))
		if gone != (ledger.Pruned{}) {
			s.log.Info("old runs are taken away", "runs", gone.Runs, "discrepancies", gone.Discrepancies, "acknowledgements", gone.Acknowledgements, "segments", gone.Segments)
		}
		if err != nil {
			s.log.Error("old runs could not be taken away", "error", err)
		}
	}
	if keep := time.Duration(s.cfg.Retention.Reports); keep > 0 {
		needed, err := s.ledger.Needed(ctx)
		var gone int
		if err == nil {
			gone, err = reports.Prune(s.cfg.Reports.Dir, time.Now().Add(-keep), func(id string) bool { return needed[id] })
		}
		if gone > 0 {
			s.log.Info("old reports are taken away", "files", gone)
		}
		if err != nil {
			s.log.Error("old reports could not be taken away", "error", err)
		}
	}
}

func (s *service) report(ctx context.Context, run finding.Run) reports.Report {
	return reportOf(ctx, s.ledger, s.path, run)
}

// reportOf is the report of a run, with what the runs before it found. A
// ledger that cannot tell that does not cost the report.
func reportOf(ctx context.Context, l *ledger.Ledger, config string, run finding.Run) reports.Report {
	history, err := l.Summaries(ctx, ledger.RunFilter{Job: run.Job, Limit: historyRuns})
	if err != nil {
		history = nil
	}
	return reports.Report{Run: run, Version: versionString(), Command: repeatCommand(config, run), History: history}
}

// historyRuns is how many of a job's last runs a report is given.
const historyRuns = 60

// repeatCommand is what to type to repeat a run's picks.
func repeatCommand(config string, run finding.Run) string {
	return reports.CommandLine("redoubt", "run", "-c", config, "--job", run.Job, "--seed", fmt.Sprint(run.Seed))
}

func (f *runFlags) run(cmd *cobra.Command) (err error) {
	if err := f.output.check(); err != nil {
		return err
	}
	prog, err := newProgress(cmd.ErrOrStderr(), f.progress)
	if err != nil {
		return err
	}
	s, job, err := openJob(f.config, f.job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var o scheduler.Options
	if f.seedGiven {
		o.Seed = &f.seed
	}
	s.showProgress(prog)
	run, path, err := s.batch(storage.Observing(cmd.Context(), s.metrics.Access), job, o)
	prog.end()
	switch {
	case errors.Is(err, ledger.ErrRunning), errors.Is(err, scheduler.ErrOtherSeed):
		return err
	case run.FinishedAt != nil:
		return f.conclude(cmd, s, run, path, err)
	case cmd.Context().Err() != nil:
		return exitWith(exitInconclusive, errors.New("interrupted; the next run of this job goes on where this one stopped"))
	}
	return exitWith(exitInconclusive, err)
}

// showProgress draws spans done of spans planned.
func (s *service) showProgress(p *progress) {
	var planned, done atomic.Int64
	show := p.counted("spans done")
	ev := &s.runner.Events
	observe := ev.SpanFinished
	ev.Planned = func(_ string, spans []ledger.Span, _ []ledger.TimelineKey) {
		planned.Store(int64(len(spans)))
		show(0, planned.Load())
	}
	ev.SpanFinished = func(spec scheduler.SpanSpec, v finding.Verification) {
		observe(spec, v)
		show(done.Add(1), planned.Load())
	}
}

// conclude delivers the result: metrics, the printed run, the exit code.
// problems are those of delivery met before.
func (f *runFlags) conclude(cmd *cobra.Command, s *service, run finding.Run, path string, problems error) error {
	if file := cmpOr(f.textfile, s.cfg.Metrics.Textfile); file != "" {
		problems = errors.Join(problems, s.metrics.WriteTextfile(cmd.Context(), file))
	}
	if url := cmpOr(f.push, s.cfg.Metrics.Pushgateway); url != "" {
		problems = errors.Join(problems, s.metrics.Push(cmd.Context(), url, run.Job))
	}
	out := cmd.OutOrStdout()
	problems = errors.Join(problems, f.print(out,
		func(w io.Writer) error { return reports.JSON(w, run) },
		func(w io.Writer) error {
			return reports.Text(w, run, reports.TextOptions{Color: isTerminal(out), Command: repeatCommand(s.path, run)})
		}))
	if path != "" {
		fmt.Fprintln(os.Stderr, "report:", path)
	}
	return exitFor(run.Verdict, problems)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
