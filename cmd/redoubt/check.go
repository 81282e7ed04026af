package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/check"
	"redoubt/internal/config"
	"redoubt/internal/finding"
)

// checkFlags are the flags of `redoubt check`.
type checkFlags struct {
	output
	config    string
	timelines int
	timeout   time.Duration
}

func checkCommand() *cobra.Command {
	f := &checkFlags{}
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Look at everything that a run will need, and say what can be proven with it",
		Long: `Look at the configuration, at disks, memory, ledger, clock, schedules and
addresses, and at each source: list it, read a WAL segment and every base
backup's label. What is not well is said with its cure. For each timeline it
says what can be proven with what is there, and what cannot.

Nothing is changed. Exit codes: 0 all is well (perhaps with warnings); 2 the
configuration is bad; 3 something failed, or cannot be proven as configured.`,
		Example: `  redoubt check -c redoubt.yaml
  redoubt check -c redoubt.yaml --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.output.flags(cmd)
	cmd.Flags().StringVarP(&f.config, "config", "c", "redoubt.yaml", "configuration file")
	cmd.Flags().IntVar(&f.timelines, "timelines", 10, "how many timelines of each source to look at")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long each source may take")
	return cmd
}

func (f *checkFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return err
	}
	start := time.Now()
	r := &check.Report{Config: f.config, Sources: []check.Source{}}
	r.Add(check.Loaded(cfg, f.config))
	r.Add(check.Disks(cfg)...)
	r.Add(check.Memory(cfg))
	r.Add(check.Ledger(cmd.Context(), cfg.LedgerPath(), start)...)
	r.Add(check.Schedules(cfg, start)...)
	r.Add(check.Listen(cmd.Context(), cfg.HTTP.Listen))
	if gateway := cfg.Metrics.Pushgateway; gateway != "" {
		r.Add(check.Pushgateway(cmd.Context(), gateway))
	}
	if err := f.sources(cmd.Context(), cfg, r); err != nil {
		return err
	}
	if err := engines(cmd.Context(), cfg, r); err != nil {
		return err
	}
	now := time.Now()
	r.Add(check.Clock(now, builtAt(), check.Stepped(start, now)))
	out := cmd.OutOrStdout()
	undelivered := f.print(out,
		func(w io.Writer) error { return writeJSON(w, r) },
		func(w io.Writer) error { return checkText(w, r) })
	return exitFor(r.Verdict, undelivered)
}

func (f *checkFlags) check() error {
	if f.timelines < 1 {
		return fmt.Errorf("--timelines %d: want 1 or more", f.timelines)
	}
	if f.timeout <= 0 {
		return fmt.Errorf("--timeout %v: want a duration such as 2m", f.timeout)
	}
	return f.output.check()
}

// sources looks at each source; its error is the context's.
func (f *checkFlags) sources(ctx context.Context, cfg *config.Config, r *check.Report) (err error) {
	s := newSite(cfg, nil)
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, src := range cfg.Sources {
		limited, cancel := context.WithTimeout(ctx, f.timeout)
		seen, items := s.look(limited, src, f.timelines)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Add(items...)
		r.Sources = append(r.Sources, seen)
	}
	return nil
}

// builtAt is when the program was committed, zero where go build did not know.
func builtAt() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, err := time.Parse(time.RFC3339, s.Value)
			if err == nil {
				return at
			}
		}
	}
	return time.Time{}
}

// checkText prints a report for people. What it prints comes from
// configuration and stores: it is made printable.
func checkText(w io.Writer, r *check.Report) error {
	p := &textPrinter{w: w}
	var failures, warnings int
	for _, i := range r.Items {
		p.line("%-8s %-13s %s: %s", i.Status, i.Area, i.Subject, i.Detail)
		switch i.Status {
		case check.Failed:
			failures++
		case check.Warning:
			warnings++
		}
		if i.Cure != "" {
			p.line("%-8s %-13s -> %s", "", "", i.Cure)
		}
	}
	for _, s := range r.Sources {
		p.line("")
		p.line("source %s, %s", s.Name, s.Location)
		for _, t := range s.Timelines {
			p.line("  %s/%s", t.Tenant, t.Timeline)
			p.list("proves", t.Proves)
			p.list("cannot prove", t.CannotProve)
		}
		if more := s.Count - len(s.Timelines); more > 0 {
			p.line("  and %d more timelines, not looked at: --timelines %d looks at all", more, s.Count)
		}
	}
	p.line("")
	switch {
	case r.Verdict != finding.Clean:
		p.line("%d failed, %d warnings: a run with this configuration would not prove what it says.", failures, warnings)
	default:
		p.line("All is well, %d warnings.", warnings)
	}
	return p.err
}

// textPrinter writes lines and keeps the first error.
type textPrinter struct {
	w   io.Writer
	err error
}

func (p *textPrinter) line(format string, args ...any) {
	if p.err != nil {
		return
	}
	_, p.err = fmt.Fprintln(p.w, strings.TrimRight(printable(fmt.Sprintf(format, args...)), " "))
}

func (p *textPrinter) list(what string, lines []string) {
	for _, l := range lines {
		p.line("    %-13s %s", what, l)
		what = ""
	}
}

// printable shows control characters, which could steer a terminal, as '?'.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
