package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"redoubt/internal/api"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/storage"
	"redoubt/reports"
	"redoubt/scheduler"
)

func serveCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Run the jobs on their schedules and show the results over HTTP",
		Long: `Run every job of the configuration on its schedule, and serve the report pages,
an API and Prometheus metrics on http.listen: this machine only, unless a token
is configured.`,
		Example: `  redoubt serve -c redoubt.yaml
  curl http://127.0.0.1:8480/metrics`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s, err := openService(path)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			return s.serve(storage.Observing(cmd.Context(), s.metrics.Access))
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "redoubt.yaml", "configuration file")
	return cmd
}

func (s *service) serve(ctx context.Context) error {
	starter := &starter{service: s, ctx: ctx, running: make(map[string]bool)}
	who, err := checker(s.cfg.HTTP)
	if err != nil {
		return err
	}
	encryption, err := serverTLS(s.cfg.HTTP.TLS, s.log)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	made := s.recoveries(gctx)
	server, err := api.New(api.Options{
		Ledger: apiLedger{s.ledger, s.backupLSNs}, Recoverer: recoverer{made}, Starter: starter, Pages: pages{s, starter}, Metrics: s.metrics.Handler(),
		Ready: s.ready, Auth: who, TLS: encryption, Log: s.log,
	})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; set http.listen to a free address", s.cfg.HTTP.Listen, err)
	}
	loop, err := s.loop(starter)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.log.Info("serving", "address", listener.Addr().String())
	g.Go(func() error { return server.Serve(gctx, listener) })
	g.Go(func() error { return loop.Serve(gctx) })
	g.Go(made.Serve)
	err = g.Wait()
	starter.wait()
	return err
}

func (s *service) ready(ctx context.Context) error {
	_, err := s.ledger.Jobs(ctx)
	return err
}

func (s *service) loop(st *starter) (*scheduler.Loop, error) {
	l := &scheduler.Loop{Store: s.ledger, Log: s.log, Run: st.run}
	for name, j := range s.cfg.Jobs {
		job, err := s.job(name)
		if err != nil {
			return nil, err
		}
		schedule, err := config.ParseSchedule(j.Schedule)
		if err != nil {
			return nil, err
		}
		l.Jobs = append(l.Jobs, scheduler.Scheduled{Job: job, Schedule: schedule, CatchUp: j.CatchUp})
	}
	return l, nil
}

// starter runs jobs for the schedule and for the API.
type starter struct {
	*service
	ctx context.Context
	wg  sync.WaitGroup

	mu      sync.Mutex
	running map[string]bool // run ids
}

func (st *starter) wait() { st.wg.Wait() }

func (st *starter) isRunning(id string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.running[id]
}

func (st *starter) mark(id string, on bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if on {
		st.running[id] = true
	} else {
		delete(st.running, id)
	}
}

// run fits scheduler.Loop.
func (st *starter) run(ctx context.Context, job scheduler.Job, o scheduler.Options) (finding.Run, error) {
	return st.start(ctx, job, o, func(string) {})
}

// start does a run and tells its id as soon as there is one.
func (st *starter) start(ctx context.Context, job scheduler.Job, o scheduler.Options, began func(id string)) (finding.Run, error) {
	own := *st.service
	runner := *st.runner
	var id string
	runner.Events.Planned = func(runID string, _ []ledger.Span, _ []ledger.TimelineKey) {
		id = runID
		st.mark(id, true)
		began(id)
	}
	defer func() { st.mark(id, false) }()
	own.runner = &runner
	run, path, err := own.batch(ctx, job, o)
	switch {
	case run.FinishedAt == nil:
		return run, err
	case err != nil:
		st.log.Error("run is finished, its report could not be written", "run_id", run.ID, "verdict", run.Verdict, "error", err)
	default:
		st.log.Info("report written", "run_id", run.ID, "verdict", run.Verdict, "path", path)
	}
	return run, nil
}

// StartRun fits api.Starter.
func (st *starter) StartRun(ctx context.Context, name string, seed *int64) (string, error) {
	job, err := st.job(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	began, ended := make(chan string, 1), make(chan error, 1)
	st.wg.Go(func() {
		_, err := st.start(st.ctx, job, scheduler.Options{Seed: seed}, func(id string) { began <- id })
		if err != nil {
			st.log.Error("run ended early", "job", job.Name, "error", err)
		}
		ended <- err
	})
	select {
	case id := <-began:
		return id, nil
	case err := <-ended:
		if errors.Is(err, ledger.ErrRunning) || errors.Is(err, scheduler.ErrOtherSeed) {
			return "", fmt.Errorf("%w: %w", api.ErrRunning, err)
		}
		if err == nil {
			err = errors.New("the run ended before it was planned")
		}
		return "", err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// pages makes the report pages from the ledger.
type pages struct {
	*service
	starter *starter
}

func (p pages) Index(w io.Writer, in api.IndexPage) error {
	return reports.Index(w, reports.Listing{Runs: in.Runs, Newer: in.Newer, Older: in.Older, Running: p.starter.isRunning, Version: versionString()})
}

func (p pages) Run(w io.Writer, run finding.Run) error {
	rep := p.report(context.Background(), run)
	rep.Linked = true
	rep.Running = p.starter.isRunning(run.ID)
	return reports.HTML(w, rep)
}

func (p pages) RunJSON(w io.Writer, run finding.Run) error { return reports.JSON(w, run) }

func (p pages) Discrepancies(w io.Writer, in api.DiscrepanciesPage) error {
	f := in.Filter
	return reports.Discrepancies(w, reports.FoundList{
		Query: reports.Query{Kind: f.Kind, Severity: f.Severity, State: f.State, Tenant: f.Tenant, Timeline: f.Timeline, Text: f.Text},
		Found: in.Found, First: in.First, Next: in.Next, Version: versionString(),
	})
}

func (p pages) Discrepancy(w io.Writer, in api.DiscrepancyPage) error {
	return reports.Discrepancy(w, reports.FoundPage{Found: in.Found, Span: in.Span, Ack: ackPart(in.Acks, in.Form), Version: versionString()})
}

func (p pages) Finding(w io.Writer, in api.FindingPage) error {
	return reports.Finding(w, reports.ArchiveFinding{Found: in.Found, Open: in.Open, Ack: ackPart(in.Acks, in.Form), Version: versionString()})
}

func ackPart(acks []finding.AckRecord, f api.AckForm) reports.AckPart {
	return reports.AckPart{Acks: acks, Now: time.Now(), Reason: f.Reason, Expires: f.Expires, By: f.By, Problem: f.Problem}
}

func (p pages) Timelines(w io.Writer, in api.TimelinesPage) error {
	return reports.Timelines(w, reports.TimelineList{Timelines: in.Timelines, Newer: in.Newer, Next: in.Older, Version: versionString()})
}

func (p pages) Timeline(w io.Writer, in api.TimelinePage) error {
	return reports.Timeline(w, reports.TimelinePage{Timeline: in.Timeline, Found: in.Found, More: in.More, Version: versionString()})
}

func (p pages) Error(w io.Writer, title, message string) error {
	return reports.Error(w, title, message, versionString())
}

// CSP is that of pages with forms, which lets the report of a run through as well.
func (p pages) CSP() string { return reports.LiveCSP }
