package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"redoubt/internal/finding"
	"redoubt/internal/storage"
	"redoubt/internal/walcmd"
)

// repairFlags are those of `redoubt scan --repair`.
type repairFlags struct {
	on       bool
	to, good string
}

func (f *repairFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.on, "repair", false, "replace damaged segments by sound local copies; implies --deep")
	fl.StringVar(&f.to, "repair-to", "", "location of --wal with credentials that may write")
	fl.StringVar(&f.good, "good", "", "directory of the sound copies, plain or compressed")
	cmd.MarkFlagsRequiredTogether("repair", "repair-to", "good")
	cmd.MarkFlagsMutuallyExclusive("repair", "config")
}

func (f *repairFlags) check(wal string) error {
	if f.on && wal == "" {
		return errors.New("--repair wants --wal")
	}
	return nil
}

// run repairs what a scan found damaged in one timeline and tells what it did.
func (f *repairFlags) run(ctx context.Context, out io.Writer, c chosen, damaged []finding.Damaged) (err error) {
	if !f.on || len(damaged) == 0 {
		return nil
	}
	id, err := c.t.Identify(ctx)
	if err != nil {
		return err
	}
	store, err := storage.Open(ctx, f.to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	place, err := store.Sub(c.place)
	if err != nil {
		return err
	}
	var errs []error
	seen := map[string]bool{}
	for _, d := range damaged {
		if seen[d.Segment] {
			continue
		}
		seen[d.Segment] = true
		done, err := walcmd.Repair(ctx, place, d.Segment, f.good, id.SystemID)
		for _, r := range done {
			fmt.Fprintf(out, "repaired %s: %s; the damaged object is kept as %s\n", r.Key, r.Reason, r.Aside)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
