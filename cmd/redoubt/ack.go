package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/reports"
)

// ackFlags are the flags of `redoubt ack`.
type ackFlags struct {
	output
	config, reason, expires, by string
	remove, list, all           bool
}

func ackCommand() *cobra.Command {
	f := &ackFlags{}
	cmd := &cobra.Command{
		Use:   "ack -c FILE ID --reason TEXT --expires 30d|DATE",
		Short: "Acknowledge a finding, so that it does not count until a date",
		Long: `Acknowledge a discrepancy, a gap in the archive or a damaged segment by its id.
Until the acknowledgement expires the finding does not count: not in verdicts
and exit codes of later runs, nor in metrics and alerts. Reports go on to show
it, with the reason. It counts again, with nobody's doing, once the time is
over, when its content changes, or when a gap grows.

The id is in reports, in --format json and on the pages of redoubt serve. The
ledger keeps who acknowledged what, why, when and until when; so it does after
the end.`,
		Example: `  redoubt ack -c redoubt.yaml 3f1c…9a --reason "disk replaced, restore on Monday" --expires 7d
  redoubt ack -c redoubt.yaml 3f1c…9a --remove
  redoubt ack -c redoubt.yaml --list --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: f.run,
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVarP(&f.config, "config", "c", "redoubt.yaml", "configuration file")
	fl.StringVar(&f.reason, "reason", "", "why it may be let be")
	fl.StringVar(&f.expires, "expires", "", "how long: 30d, 12h, a date (2026-12-31, as it begins in UTC) or a time (RFC 3339)")
	fl.StringVar(&f.by, "by", "", "who acknowledges it (default: the user that runs this)")
	fl.BoolVar(&f.remove, "remove", false, "end the acknowledgement: the finding counts again")
	fl.BoolVar(&f.list, "list", false, "list the acknowledgements that hold")
	fl.BoolVar(&f.all, "all", false, "with --list: those too that have expired or were ended")
	cmd.MarkFlagsMutuallyExclusive("remove", "list")
	cmd.MarkFlagsMutuallyExclusive("remove", "reason")
	cmd.MarkFlagsMutuallyExclusive("remove", "expires")
	return cmd
}

func (f *ackFlags) run(cmd *cobra.Command, args []string) (err error) {
	if err := f.check(args); err != nil {
		return err
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return err
	}
	l, err := openLedger(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	switch {
	case f.list:
		return f.printList(cmd, l)
	case f.remove:
		if err := l.Unacknowledge(cmd.Context(), args[0], f.by, time.Now()); err != nil {
			return ackProblem(args[0], "has no acknowledgement that was not ended", err)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s counts again.\n", args[0])
		return exitWith(exitInconclusive, err)
	}
	return f.acknowledge(cmd, l, args[0])
}

// openLedger opens the ledger of a configuration, which must exist.
func openLedger(cfg *config.Config) (*ledger.Ledger, error) {
	if _, err := os.Stat(cfg.LedgerPath()); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w; has redoubt run with this configuration yet?", cfg.LedgerPath(), err)
	}
	return ledger.Open(cfg.LedgerPath())
}

func (f *ackFlags) check(args []string) error {
	if err := f.output.check(); err != nil {
		return err
	}
	if f.list == (len(args) == 1) {
		return errors.New("want the id of a finding, or --list: see redoubt ack --help")
	}
	if f.all && !f.list {
		return errors.New("--all goes with --list")
	}
	if f.by != "" {
		return nil
	}
	u, err := user.Current()
	if err != nil {
		return fmt.Errorf("find out who you are: %w; say it with --by", err)
	}
	f.by = u.Username
	return nil
}

func (f *ackFlags) acknowledge(cmd *cobra.Command, l *ledger.Ledger, id string) error {
	now := time.Now()
	until, err := expiry(f.expires, now)
	if err != nil {
		return fmt.Errorf("--expires: %w", err)
	}
	a, err := l.Acknowledge(cmd.Context(), ledger.AckRequest{ID: id, Reason: f.reason, By: f.by, At: now, Until: until})
	if err != nil {
		return ackProblem(id, "is no open discrepancy, gap or damaged segment that the ledger knows", err)
	}
	return exitWith(exitInconclusive, f.print(cmd.OutOrStdout(),
		func(w io.Writer) error { return writeJSON(w, a) },
		func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "Acknowledged until %s: %s (%s/%s)\n", a.Until.Format(time.RFC3339), a.About, a.Tenant, a.Timeline)
			return err
		}))
}

// ackProblem says what is wrong with an id in the words of the command line.
func ackProblem(id, unknown string, err error) error {
	var refused *ledger.AckError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, ledger.ErrNotFound):
		return fmt.Errorf("%q %s", id, unknown)
	}
	return exitWith(exitInconclusive, err)
}

func (f *ackFlags) printList(cmd *cobra.Command, l *ledger.Ledger) error {
	acks, err := l.Acks(cmd.Context(), ledger.AckFilter{All: f.all})
	if err != nil {
		return exitWith(exitInconclusive, err)
	}
	if acks == nil {
		acks = []finding.AckRecord{}
	}
	return exitWith(exitInconclusive, f.print(cmd.OutOrStdout(),
		func(w io.Writer) error { return writeJSON(w, acks) },
		func(w io.Writer) error { return reports.AcksText(w, acks, time.Now()) }))
}

// expiry reads how long an acknowledgement holds: a duration from now on, the
// start of a day in UTC, or a time.
func expiry(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, errors.New("say how long the acknowledgement holds, such as 30d or a date")
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	var d config.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a duration such as 30d or 12h nor a date such as 2026-12-31", s)
	}
	return now.Add(time.Duration(d)), nil
}
