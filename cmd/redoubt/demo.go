package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"redoubt/internal/demo"
	"redoubt/internal/finding"
	"redoubt/reports"
	"redoubt/scheduler"
)

func demoCommand() *cobra.Command {
	var keep, progress string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the nightly job on real WAL that is built in, with two faults planted",
		Long: `Unpack real WAL and base backups of PostgreSQL 17 (two tenants, three
timelines, three snapshots each), put one old page into a copy of a backup, take
one WAL segment away, and run the nightly job over it. The exit code is 0 if
exactly these two faults were found.`,
		Example: `  redoubt demo
  redoubt demo --keep ./demo && redoubt run -c ./demo/config.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, keep, progress) },
	}
	cmd.Flags().StringVar(&keep, "keep", "", "leave configuration, bucket, ledger and report in this directory, which must not exist or be empty")
	cmd.Flags().StringVar(&progress, "progress", "auto", "progress on stderr: auto or never")
	return cmd
}

// demoConfig is the demo's configuration: paths are relative to it.
const demoConfig = `# The configuration of redoubt demo: one bucket with three timelines.
data_dir: ./data
sources:
  - name: demo
    wal: ./bucket
    layout: redoubt
jobs:
  nightly:
    schedule: "CRON_TZ=UTC 0 2 * * *"
    pick: {timelines: 3}
scratch: {min_free: 0B}
reports: {dir: ./reports}
log: {level: warn}
`

func runDemo(cmd *cobra.Command, keep, mode string) (err error) {
	prog, err := newProgress(cmd.ErrOrStderr(), mode)
	if err != nil {
		return err
	}
	dir, err := demoDir(keep)
	if err != nil {
		return err
	}
	planted, err := plant(dir)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	_, err = fmt.Fprintf(out, "Planted: the page of %s (%s block %d) in snapshot %s of %s/%s is the one of %s, as if its last writes were lost.\nTaken away: WAL segment %s of %s/%s.\n\n",
		planted.write.Table, planted.write.Path, planted.write.Block, planted.write.Snapshot, planted.write.Tenant, planted.write.Timeline, planted.write.OldLSN,
		planted.gap.Segment, planted.gap.Tenant, planted.gap.Timeline)
	if err != nil {
		return exitWith(exitInconclusive, fmt.Errorf("write the result: %w", err))
	}
	config := filepath.Join(dir, "config.yaml")
	run, report, err := demoRun(cmd.Context(), config, prog)
	if cmd.Context().Err() != nil {
		return cmd.Context().Err()
	}
	if err != nil {
		return exitWith(exitInconclusive, err)
	}
	if err := reports.Text(out, run, reports.TextOptions{Color: isTerminal(out)}); err != nil {
		return exitWith(exitInconclusive, fmt.Errorf("write the result: %w", err))
	}
	wrong := planted.check(run)
	if wrong == nil {
		_, err = fmt.Fprintf(out, "\nExactly the two planted faults were found.\nReport: %s\nTry:    redoubt run -c %s\n", report, config)
		return exitWith(exitInconclusive, err)
	}
	_, err = fmt.Fprintf(out, "\nReport: %s\n", report)
	return exitWith(exitFindings, errors.Join(fmt.Errorf("the demo did not find exactly what was planted: %w", wrong), err))
}

// demoDir makes the directory to work in. Without --keep it is a temporary
// one, which stays too: the report is in it.
func demoDir(keep string) (string, error) {
	if keep == "" {
		return os.MkdirTemp("", "redoubt-demo-")
	}
	if err := os.MkdirAll(keep, 0o700); err != nil {
		return "", fmt.Errorf("make --keep directory: %w", err)
	}
	entries, err := os.ReadDir(keep)
	if err != nil {
		return "", fmt.Errorf("read --keep directory: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("--keep %s is not empty: name a new directory, so that nothing of yours is overwritten", keep)
	}
	return filepath.Abs(keep)
}

// plantedFaults are what the demo must find.
type plantedFaults struct {
	write demo.LostWrite
	gap   demo.Removed
}

func plant(dir string) (p plantedFaults, err error) {
	bucket := filepath.Join(dir, "bucket")
	fixture, err := demo.Unpack(bucket)
	if err != nil {
		return p, err
	}
	if p.write, err = fixture.PlantLostWrite(bucket); err != nil {
		return p, err
	}
	if p.gap, err = fixture.RemoveSegment(bucket); err != nil {
		return p, err
	}
	return p, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(demoConfig), 0o600)
}

func demoRun(ctx context.Context, config string, prog *progress) (run finding.Run, report string, err error) {
	s, err := openService(config)
	if err != nil {
		return run, "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	job, err := s.job("")
	if err != nil {
		return run, "", err
	}
	s.showProgress(prog)
	run, report, err = s.batch(ctx, job, scheduler.Options{})
	prog.end()
	return run, report, err
}

// check says in which way the run's findings are not exactly the planted faults.
func (p plantedFaults) check(run finding.Run) error {
	var writes, gaps int
	var errs []error
	unexpected := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, t := range run.Timelines {
		name := t.Tenant + "/" + t.Timeline
		lostHere := t.Tenant == p.write.Tenant && t.Timeline == p.write.Timeline
		gapHere := t.Tenant == p.gap.Tenant && t.Timeline == p.gap.Timeline
		for _, v := range t.Spans {
			for _, d := range v.Discrepancies {
				if lostHere && p.isLostWrite(&d) {
					writes++
				} else {
					unexpected("%s: %s of %s: %s", name, d.Kind, d.File, d.Explanation)
				}
			}
			if v.Verdict == finding.Inconclusive && !(gapHere && len(v.Gaps) > 0) {
				unexpected("%s: span %s is inconclusive: %v", name, v.Span, v.Reasons)
			}
		}
		if t.Scan == nil {
			unexpected("%s was not scanned", name)
			continue
		}
		for _, g := range t.Scan.Gaps {
			if gapHere && g.From == p.gap.From && g.To == p.gap.To && len(g.Segments) == 1 && g.Segments[0] == p.gap.Segment {
				gaps++
			} else {
				unexpected("%s: gap %s to %s", name, g.From, g.To)
			}
		}
		for _, d := range t.Scan.Damaged {
			unexpected("%s: segment %s is damaged: %s", name, d.Segment, d.Reason)
		}
	}
	if len(run.Timelines) != 3 || writes != 1 || gaps != 1 {
		unexpected("%d timelines, the planted page found %d times, the missing segment %d times; want 3, 1 and 1", len(run.Timelines), writes, gaps)
	}
	return errors.Join(errs...)
}

func (p plantedFaults) isLostWrite(d *finding.Discrepancy) bool {
	return d.Kind == finding.LostWrite && d.Severity == finding.Critical && d.File == p.write.Path &&
		d.Block != nil && *d.Block == int64(p.write.Block) && d.OfficialLSN != nil && *d.OfficialLSN == p.write.OldLSN &&
		d.ReplayedLSN != nil && *d.ReplayedLSN == p.write.NewLSN
}
