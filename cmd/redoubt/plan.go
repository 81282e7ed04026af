package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"redoubt/internal/finding"
	"redoubt/internal/storage"
	"redoubt/reports"
	"redoubt/scheduler"
)

// planFlags are the flags of `redoubt plan`.
type planFlags struct {
	output
	config, job string
	seed        int64
	all         bool
}

func planCommand() *cobra.Command {
	f := &planFlags{}
	cmd := &cobra.Command{
		Use:   "plan -c FILE",
		Short: "Show what a run would do: picks, spans, WAL, scratch space, time",
		Long: `Show what a run of a job would do now, and do nothing of it: which timelines it
would pick, their spans in the order of execution, how much WAL they have, and
how long they and how much scratch space they are expected to take, by what
spans took before.

A run draws its picks anew. To do exactly what a plan says, give the run the
plan's seed.`,
		Example: `  redoubt plan -c redoubt.yaml
  redoubt plan -c redoubt.yaml --seed 42 --format json
  redoubt run -c redoubt.yaml --seed 42`,
		Args: cobra.NoArgs,
		RunE: f.run,
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVarP(&f.config, "config", "c", "redoubt.yaml", "configuration file")
	fl.StringVar(&f.job, "job", "", "name of the job (default: the only one there is)")
	fl.Int64Var(&f.seed, "seed", 0, "plan with this seed (default: a new one)")
	fl.BoolVar(&f.all, "all", false, "list the spans that are put off, too")
	return cmd
}

func (f *planFlags) run(cmd *cobra.Command, _ []string) (err error) {
	if err := f.output.check(); err != nil {
		return err
	}
	s, job, err := openJob(f.config, f.job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var o scheduler.Options
	if cmd.Flags().Changed("seed") {
		o.Seed = &f.seed
	}
	plan, err := s.runner.Plan(storage.Observing(cmd.Context(), s.metrics.Access), job, o)
	switch {
	case errors.Is(err, scheduler.ErrOtherSeed):
		return err
	case err != nil:
		return exitWith(exitInconclusive, err)
	}
	out := cmd.OutOrStdout()
	again := reports.CommandLine("redoubt", "run", "-c", f.config, "--job", job.Name, "--seed", fmt.Sprint(plan.Seed))
	if plan.Resumes != "" {
		again = reports.CommandLine("redoubt", "run", "-c", f.config, "--job", job.Name)
	}
	if err := f.print(out,
		func(w io.Writer) error { return reports.JSON(w, plan) },
		func(w io.Writer) error {
			return reports.PlanText(w, plan, reports.TextOptions{Color: isTerminal(out), All: f.all, Command: again})
		}); err != nil {
		return err
	}
	return planExit(plan)
}

// planExit is inconclusive where a run by this plan could not be clean.
func planExit(plan finding.Plan) error {
	spans := 0
	for _, t := range plan.Timelines {
		spans += len(t.Spans)
	}
	switch {
	case len(plan.Reasons) > 0:
		return exitWith(exitInconclusive, errors.New("not all sources could be read: the plan is not whole"))
	case spans == 0:
		return exitWith(exitInconclusive, errors.New("there is nothing to verify"))
	}
	return nil
}
