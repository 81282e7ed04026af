package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"redoubt/internal/archive"
	"redoubt/internal/basebackup"
	"redoubt/internal/finding"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/storage"
	"redoubt/recovery/initial"
)

// initdbName is the name of a timeline's first snapshot.
const initdbName = "initdb"

// initdbFlags are the flags of `redoubt snapshot initdb`.
type initdbFlags struct {
	snapshotFlags
	dataDir string
}

func snapshotInitdbCommand() *cobra.Command {
	f := &initdbFlags{}
	cmd := &cobra.Command{
		Use:   "initdb (-c FILE | --wal LOC) [--data-dir LOC]",
		Short: "Keep a timeline's first data directory, and prove that its WAL fits",
		Long: `Keep a timeline's first data directory as its snapshot "initdb": a directory that
initdb has just made, one that was stopped cleanly, or a base backup of it.

It is proven at once: pg_control and the WAL are of one cluster, the checkpoint
of the directory stands in the first segment, within an unbroken chain of
records, and is what pg_control says, and the first segments replay over the
stored pages without an error.

If that WAL is not in the archive yet, the files are kept, are no snapshot, and
the exit code is 3. The same command proves and finishes them later; --data-dir
may then be left out.

Nothing is overwritten: if the snapshot is there already with the same content,
that is success; with another content it is an error.`,
		Example: `  initdb -D /var/lib/postgresql/17/main
  redoubt snapshot initdb -c redoubt.yaml --data-dir /var/lib/postgresql/17/main
  redoubt snapshot initdb -c redoubt.yaml          # again, once the first segment is archived

  redoubt snapshot initdb --wal s3://wal/prod?region=eu-central-1 --tenant prod --timeline main --data-dir /backups/first`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "location of the data directory or base backup")
	return cmd
}

// snapshotResult is what the snapshot commands print.
type snapshotResult struct {
	Tenant   string    `json:"tenant"`
	Timeline string    `json:"timeline"`
	Name     string    `json:"name"`
	Location string    `json:"location"`
	State    string    `json:"state"` // proven, unproven, made, already there
	Reason   string    `json:"reason,omitempty"`
	Base     string    `json:"base,omitempty"` // that it was made from
	TLI      pg.TLI    `json:"tli"`
	Redo     pg.LSN    `json:"redo_lsn"`
	At       pg.LSN    `json:"lsn,omitempty"` // where its WAL ends
	Replayed *pg.Range `json:"replayed,omitempty"`
	Records  int64     `json:"records,omitempty"`
	Blocks   int64     `json:"blocks,omitempty"`
}

func (f *initdbFlags) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	s, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	place, err := s.place(initdbName)
	if err != nil {
		return err
	}
	manifest, err := f.stored(ctx, s, place)
	if err != nil {
		return err
	}
	return f.prove(cmd, s, place, manifest)
}

// stored stores the files, or finds them stored, and returns their manifest.
func (f *initdbFlags) stored(ctx context.Context, s *openSnapshots, place *basebackup.Place) ([]byte, error) {
	if f.dataDir == "" {
		_, manifest, err := place.Look(ctx)
		if err == nil && manifest == nil {
			err = fmt.Errorf("--data-dir is missing: nothing whole is stored at %s", place.Store.Location())
		}
		return manifest, err
	}
	side, err := snapshot.Open(ctx, f.dataDir, snapshot.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = side.Close() }() // it was only read
	if err := side.Walk(ctx, snapshot.Ignore{}); err != nil {
		return nil, err
	}
	if p := side.Problems(); len(p) > 0 {
		return nil, fmt.Errorf("%s is damaged: %s (%d such problems)", storage.Redacted(f.dataDir), p[0], len(p))
	}
	first, err := initial.Describe(side.Info(), side, s.segments())
	if err != nil {
		return nil, err
	}
	manifest, err := place.Put(ctx, 0, first.Fill)
	if err != nil && noWALYet(err) {
		err = exitWith(exitInconclusive, fmt.Errorf("%w; the directory has no pg_wal with it either, so nothing is kept", err))
	}
	return manifest, err
}

// segments opens whole segments of the archive.
func (s *openSnapshots) segments() initial.Segments {
	return func(ctx context.Context, tli pg.TLI, n pg.SegmentNo) (io.ReadCloser, error) {
		t, err := s.archive.Timeline(ctx, s.tenant, s.timeline)
		if err == nil {
			_, err = t.Identify(ctx) // names of segments depend on their size
		}
		if err != nil {
			return nil, err
		}
		return t.OpenSegment(ctx, tli, n)
	}
}

// prove proves what is stored, and makes it a snapshot.
func (f *initdbFlags) prove(cmd *cobra.Command, s *openSnapshots, place *basebackup.Place, manifest []byte) error {
	ctx := cmd.Context()
	out := snapshotResult{Tenant: s.tenant, Timeline: s.timeline, Name: initdbName, Location: place.Store.Location(), State: "unproven"}
	kept, err := snapshot.OpenStore(ctx, place.Store, snapshot.Options{Manifest: manifest})
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }() // it was only read
	if err := kept.Walk(ctx, snapshot.Ignore{}); err != nil {
		return err
	}
	if p := kept.Problems(); len(p) > 0 {
		return exitWith(exitFindings, fmt.Errorf("what is stored at %s is damaged: %s (%d such problems)", out.Location, p[0], len(p)))
	}
	info := kept.Info()
	out.TLI, out.Redo = info.StartTLI, info.Redo
	fit, proof, err := s.fits(ctx, info, kept)
	var mismatch *initial.MismatchError
	switch {
	case err == nil:
	case errors.As(err, &mismatch):
		return exitWith(exitFindings, fmt.Errorf("%w; what is stored at %s is not made a snapshot", err, out.Location))
	case noWALYet(err):
		if werr := place.Wait(ctx, manifest); werr != nil {
			return werr
		}
		out.Reason = fmt.Sprintf("not proven yet, and so no snapshot: %v; run this again once the WAL is in the archive", err)
		return exitFor(finding.Inconclusive, f.show(cmd, out))
	default:
		return err
	}
	if err := place.Finish(ctx, manifest); err != nil {
		return err
	}
	out.State, out.At, out.Replayed, out.Records, out.Blocks = "proven", fit.End, &proof.Replayed, proof.Records, proof.Blocks
	return f.show(cmd, out)
}

// fits holds a snapshot against the timeline's WAL.
func (s *openSnapshots) fits(ctx context.Context, info snapshot.Info, pages initial.Pages) (initial.Fit, initial.Proof, error) {
	t, err := s.archive.Timeline(ctx, s.tenant, s.timeline)
	if err != nil {
		return initial.Fit{}, initial.Proof{}, err
	}
	src, err := t.Source(ctx, 0)
	if err != nil {
		return initial.Fit{}, initial.Proof{}, err
	}
	fit, err := initial.Match(ctx, info, src)
	if err != nil {
		return initial.Fit{}, initial.Proof{}, err
	}
	proof, err := initial.Prove(ctx, s.native, info, pages, src, fit)
	return fit, proof, err
}

// noWALYet says that WAL is not there, as it is before the first segment is archived.
func noWALYet(err error) bool {
	var missing *wal.MissingError
	return errors.As(err, &missing) || errors.Is(err, archive.ErrNoWAL) || errors.Is(err, storage.ErrNotExist)
}

func (f *snapshotFlags) show(cmd *cobra.Command, r snapshotResult) error {
	return f.print(cmd.OutOrStdout(),
		func(w io.Writer) error { return writeJSON(w, r) },
		r.text)
}

func (r *snapshotResult) text(w io.Writer) error {
	fmt.Fprintf(w, "snapshot %s of %s/%s at %s\n", r.Name, r.Tenant, r.Timeline, r.Location)
	fmt.Fprintf(w, "  pages of %s (TLI %d)", r.Redo, r.TLI)
	if r.At > r.Redo {
		fmt.Fprintf(w, ", with the WAL up to %s", r.At)
	}
	fmt.Fprintf(w, "\n  %s", r.State)
	if r.State == "made" {
		fmt.Fprintf(w, " from %s", r.Base)
	}
	if r.Replayed != nil {
		fmt.Fprintf(w, ": %d records of %s replay over it, %d blocks", r.Records, *r.Replayed, r.Blocks)
	}
	if r.Reason != "" {
		fmt.Fprintf(w, "\n  %s", r.Reason)
	}
	_, err := fmt.Fprintln(w)
	return err
}
