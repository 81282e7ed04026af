package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/docs/schema"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/reports"
)

// reportFlags are the flags of `redoubt report`.
type reportFlags struct {
	output
	config, html string
	list         bool
	schema       string
}

func reportCommand() *cobra.Command {
	f := &reportFlags{}
	cmd := &cobra.Command{
		Use:   "report -c FILE [RUN]",
		Short: "Show a run that the ledger has",
		Long:  "Print a run from the ledger: the newest one, or the one named. With --html its report page is made again.",
		Example: `  redoubt report -c redoubt.yaml
  redoubt report -c redoubt.yaml --list
  redoubt report -c redoubt.yaml --html report.html RUN
  redoubt report --schema`,
		Args: cobra.MaximumNArgs(1),
		RunE: f.run,
	}
	f.output.flags(cmd)
	cmd.Flags().StringVarP(&f.config, "config", "c", "redoubt.yaml", "configuration file")
	cmd.Flags().StringVar(&f.html, "html", "", "write the report page to this file")
	cmd.Flags().BoolVar(&f.list, "list", false, "list the runs instead")
	cmd.Flags().StringVar(&f.schema, "schema", "", "print the JSON Schema of --format json instead: of a run, or of verify or scan")
	cmd.Flags().Lookup("schema").NoOptDefVal = "run"
	return cmd
}

func (f *reportFlags) run(cmd *cobra.Command, args []string) (err error) {
	if err := f.output.check(); err != nil {
		return err
	}
	if f.schema != "" {
		return f.printSchema(cmd)
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.LedgerPath()); err != nil {
		return fmt.Errorf("open ledger %s: %w; has redoubt run with this configuration yet?", cfg.LedgerPath(), err)
	}
	l, err := ledger.Open(cfg.LedgerPath())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if f.list {
		return f.listRuns(cmd, l)
	}
	run, err := f.find(cmd, l, args)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	problems := f.print(out,
		func(w io.Writer) error { return reports.JSON(w, run) },
		func(w io.Writer) error {
			return reports.Text(w, run, reports.TextOptions{Color: isTerminal(out), Command: repeatCommand(f.config, run)})
		})
	if f.html != "" {
		rep := reportOf(cmd.Context(), l, f.config, run)
		problems = errors.Join(problems, reports.WriteFile(f.html, func(w io.Writer) error { return reports.HTML(w, rep) }))
	}
	if run.FinishedAt == nil {
		problems = errors.Join(problems, fmt.Errorf("run %s has not finished", run.ID))
	}
	return exitFor(run.Verdict, problems)
}

// printSchema prints the schema that was asked for.
func (f *reportFlags) printSchema(cmd *cobra.Command) error {
	text, ok := schema.Named(f.schema)
	if !ok {
		return fmt.Errorf("--schema %s: want one of %s", f.schema, strings.Join(schema.Names, ", "))
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return exitWith(exitInconclusive, fmt.Errorf("write the schema: %w", err))
	}
	return nil
}

// find is the run named, or the newest.
func (f *reportFlags) find(cmd *cobra.Command, l *ledger.Ledger, args []string) (finding.Run, error) {
	if len(args) == 1 {
		return l.Run(cmd.Context(), args[0])
	}
	runs, err := l.Runs(cmd.Context(), ledger.RunFilter{Limit: 1})
	if err != nil {
		return finding.Run{}, err
	}
	if len(runs) == 0 {
		return finding.Run{}, errors.New("the ledger has no runs yet")
	}
	return l.Run(cmd.Context(), runs[0].ID)
}

func (f *reportFlags) listRuns(cmd *cobra.Command, l *ledger.Ledger) error {
	runs, err := l.Runs(cmd.Context(), ledger.RunFilter{})
	if err != nil {
		return err
	}
	return exitWith(exitInconclusive, f.print(cmd.OutOrStdout(),
		func(w io.Writer) error { return writeJSON(w, listed(runs)) },
		func(w io.Writer) error {
			var errs []error
			for _, r := range runs {
				verdict := string(r.Verdict)
				if r.FinishedAt == nil {
					verdict = "unfinished"
				}
				_, err := fmt.Fprintf(w, "%s  %s  %-10s  seed %d  %s\n", r.StartedAt.Format("2006-01-02 15:04:05Z07:00"), r.ID, r.Job, r.Seed, verdict)
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}))
}

// listedRun is a run without its timelines, which the list does not read.
type listedRun struct {
	ID         string          `json:"run_id"`
	Job        string          `json:"job"`
	Seed       int64           `json:"seed"`
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt *time.Time      `json:"finished_at"`
	Verdict    finding.Verdict `json:"verdict"` // empty until it is finished
}

func listed(runs []finding.Run) []listedRun {
	out := make([]listedRun, 0, len(runs))
	for _, r := range runs {
		out = append(out, listedRun{r.ID, r.Job, r.Seed, r.StartedAt, r.FinishedAt, r.Verdict})
	}
	return out
}
