package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"redoubt/internal/archive"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/storage"
	"redoubt/recovery/discard"
)

// discardFlags are the flags of `redoubt snapshot report`.
type discardFlags struct {
	output
	config, tenant, timeline string
	keep                     int
	keepFor                  config.Duration
	from                     string
	all                      bool
}

func snapshotReportCommand() *cobra.Command {
	f := &discardFlags{}
	var keepFor string
	cmd := &cobra.Command{
		Use:   "report -c FILE",
		Short: "Say which WAL nobody needs any more, given the verified snapshots",
		Long: `List the WAL segments of a timeline that its verified snapshots and a rule of what
is to stay recoverable make unnecessary. Nothing is deleted.

A snapshot is verified if the ledger has a span to or from it that was clean the
last time it was looked at, with nothing left out, or if it is the initdb
snapshot, which was proven when it was kept. All WAL from the oldest snapshot on
that the rule keeps is needed, and so is the WAL of every span between two
neighbouring snapshots that is not verified, on each branch of the history, and
that of timelines that recovery has made from this one.

The rule is that of the configuration (snapshots.keep, snapshots.keep_for) unless
one of --keep, --keep-for and --from-lsn is given.`,
		Example: `  redoubt snapshot report -c redoubt.yaml
  redoubt snapshot report -c redoubt.yaml --tenant prod --timeline main --keep 1 --keep-for 30d --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.keepFor.UnmarshalText([]byte(cmpOr(keepFor, "0s"))); err != nil {
				return fmt.Errorf("--keep-for: %w", err)
			}
			return f.run(cmd)
		},
	}
	fl := cmd.Flags()
	f.flags(cmd)
	fl.StringVarP(&f.config, "config", "c", "redoubt.yaml", "configuration file")
	fl.StringVar(&f.tenant, "tenant", "", "tenant of the timeline")
	fl.StringVar(&f.timeline, "timeline", "", "the timeline")
	fl.IntVar(&f.keep, "keep", 0, "keep so many of the newest verified snapshots")
	fl.StringVar(&keepFor, "keep-for", "", "keep every moment of this time recoverable, such as 30d")
	fl.StringVar(&f.from, "from-lsn", "", "keep every LSN from here on recoverable")
	fl.BoolVar(&f.all, "all", false, "name every segment (default: as ranges)")
	return cmd
}

// discardReport is what `redoubt snapshot report` prints.
type discardReport struct {
	Tenant   string `json:"tenant"`
	Timeline string `json:"timeline"`
	discard.Report
	Snapshots []discard.Snapshot `json:"snapshots"`
	Broken    []string           `json:"broken_snapshots"` // that can't be used, and why
	Segments  []string           `json:"unneeded_segments"`
	Bytes     int64              `json:"unneeded_bytes"` // as stored
	Stored    int                `json:"stored_segments"`
}

func (f *discardFlags) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	flags := snapshotFlags{output: f.output, config: f.config, tenant: f.tenant, timeline: f.timeline}
	s, err := flags.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	rule, err := f.rule(s.cfg)
	if err != nil {
		return err
	}
	rep, err := s.discardable(ctx, rule)
	if err != nil {
		return exitWith(exitInconclusive, err)
	}
	return f.print(cmd.OutOrStdout(),
		func(w io.Writer) error { return writeJSON(w, rep) },
		func(w io.Writer) error { return rep.text(w, f.all) })
}

// rule is that of the flags, or else the configuration's.
func (f *discardFlags) rule(cfg *config.Config) (r discard.Rule, err error) {
	if f.keep < 0 {
		return r, fmt.Errorf("--keep %d: want a number of snapshots", f.keep)
	}
	if r.From, err = parseLSNFlag("--from-lsn", f.from); err != nil {
		return r, err
	}
	r.Snapshots = f.keep
	keepFor := f.keepFor
	if f.keep == 0 && f.keepFor == 0 && f.from == "" {
		r.Snapshots, keepFor = cfg.Snapshots.Keep, cfg.Snapshots.KeepFor
	}
	if keepFor != 0 {
		r.Since = time.Now().Add(-time.Duration(keepFor))
	}
	return r, nil
}

// discardable reads archive, snapshots and ledger.
func (s *openSnapshots) discardable(ctx context.Context, rule discard.Rule) (*discardReport, error) {
	t, err := s.archive.Timeline(ctx, s.tenant, s.timeline)
	if err != nil {
		return nil, err
	}
	src, err := t.Source(ctx, 0)
	if err != nil {
		return nil, err
	}
	all := discard.Timeline{History: src.History(), Branches: map[pg.TLI]wal.History{}}
	out := &discardReport{Tenant: s.tenant, Timeline: s.timeline, Broken: []string{}, Segments: []string{}, Snapshots: []discard.Snapshot{}}
	for e, err := range t.List(ctx) {
		if err != nil {
			return nil, err
		}
		switch e.Kind {
		case wal.SegmentFile:
			from := e.Segment.Start(src.SegmentSize())
			all.Segments = append(all.Segments, discard.Segment{Name: e.Key, TLI: e.TLI, Range: pg.Range{From: from, To: from + pg.LSN(src.SegmentSize())}, Stored: e.ModTime, Bytes: e.Size})
		case wal.HistoryFile:
			if _, read := all.Branches[e.TLI]; read {
				continue // another compression of it
			}
			if all.Branches[e.TLI], err = t.ReadHistory(ctx, e); err != nil {
				return nil, err
			}
		}
	}
	l, err := ledger.Open(s.ledgerPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }() // it was only read
	if err := s.listSnapshots(ctx, l, out); err != nil {
		return nil, err
	}
	clean, err := l.VerifiedSpans(ctx, s.tenant, s.timeline)
	if err != nil {
		return nil, err
	}
	for _, v := range clean {
		all.Verified = append(all.Verified, discard.Span{Base: v.Base, Official: v.Official, Range: v.Range})
	}
	all.Snapshots = out.Snapshots
	if all.Offspring, err = s.offspring(ctx, l, out.Snapshots); err != nil {
		return nil, err
	}
	out.Report, out.Stored = discard.Find(all, rule), len(all.Segments)
	for _, g := range out.Unneeded {
		out.Segments = append(out.Segments, g.Name)
		out.Bytes += g.Bytes
	}
	return out, nil
}

// offspring are the timelines that recovery has made from this one or is making:
// those in the bucket, and those that the ledger knows.
func (s *openSnapshots) offspring(ctx context.Context, l *ledger.Ledger, snapshots []discard.Snapshot) (out []discard.Offspring, err error) {
	stored, _, err := s.archive.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range stored {
		if t.Tenant() != s.tenant { // a recovery stays within the tenant
			continue
		}
		a, err := t.Ancestor(ctx)
		if err != nil {
			return nil, err
		}
		if a != nil && a.Tenant == s.tenant && a.Timeline == s.timeline {
			out = append(out, discard.Offspring{Name: t.ID(), TLI: a.TLI, LSN: a.LSN})
		}
	}
	made, err := l.Recoveries(ctx, finding.StateRecovering, finding.StateActive)
	if err != nil {
		return nil, err
	}
	for _, r := range made {
		if r.Tenant != s.tenant || r.Ancestor != s.timeline {
			continue
		}
		o := discard.Offspring{Name: r.Timeline, LSN: r.AncestorLSN}
		if r.State == finding.StateRecovering {
			o.LSN, o.From = r.TargetLSN, 1
			for _, b := range snapshots {
				if b.Name == r.Base {
					o.From = b.Redo
				}
			}
		} else if data, err := os.ReadFile(filepath.Join(r.Directory, archive.AncestorFile)); err == nil {
			if a, err := archive.ParseAncestor(data); err == nil {
				o.TLI = a.TLI // else all WAL before is its own
			}
		}
		if !slices.ContainsFunc(out, func(x discard.Offspring) bool { return x.Name == o.Name }) {
			out = append(out, o)
		}
	}
	return out, nil
}

// listSnapshots lists those of the bucket, and those that a run would verify:
// of each source of the configuration that has the timeline.
func (s *openSnapshots) listSnapshots(ctx context.Context, l *ledger.Ledger, out *discardReport) (err error) {
	proved, err := s.proved(ctx)
	if err != nil {
		return err
	}
	site := newSite(s.cfg, l)
	defer func() { err = errors.Join(err, site.Close()) }()
	found, err := snapshot.ListStore(ctx, s.keep, snapshot.Options{})
	if err != nil {
		return err
	}
	all := schedulable(found)
	inBucket := len(all)
	listing, err := site.Timelines(ctx)
	if err != nil {
		return err
	}
	for _, p := range listing.Problems {
		return fmt.Errorf("source %s can't be read, and may have snapshots that need WAL: %s", p.Source, p.Reason)
	}
	for _, t := range listing.Timelines {
		if t.Tenant != s.tenant || t.Timeline != s.timeline {
			continue
		}
		more, err := site.Snapshots(ctx, t.TimelineKey)
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	type same struct {
		name      string
		redo, end pg.LSN
	}
	seen := map[same]bool{}
	for i, b := range all {
		k := same{b.Name, b.Redo, b.End}
		if seen[k] {
			continue
		}
		seen[k] = true
		if b.Broken != "" {
			out.Broken = append(out.Broken, b.Name+": "+b.Broken)
			continue
		}
		out.Snapshots = append(out.Snapshots, discard.Snapshot{Name: b.Name, Redo: b.Redo, Consistent: max(b.Redo, b.End),
			TLI: b.TLI, Proved: proved && i < inBucket && b.Name == initdbName})
	}
	return nil
}

// proved reports whether the initdb snapshot is one that Redoubt proved.
func (s *openSnapshots) proved(ctx context.Context) (bool, error) {
	_, err := s.keep.Stat(ctx, initdbName+"/"+snapshot.Marker)
	if errors.Is(err, storage.ErrNotExist) {
		return false, nil
	}
	return err == nil, err // an unfinished one is not listed
}

func (r *discardReport) text(w io.Writer, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "timeline %s/%s: %d snapshots, %d of them verified; %d segments\n", r.Tenant, r.Timeline, len(r.Snapshots), len(r.Verified), r.Stored)
	for _, s := range r.Snapshots {
		state := "not verified"
		if slices.Contains(r.Verified, s.Name) {
			state = "verified"
		}
		fmt.Fprintf(&b, "  %-40s  %-14s  %s\n", s.Name, s.Redo, state)
	}
	for _, s := range r.Broken {
		fmt.Fprintf(&b, "  can't be used: %s\n", s)
	}
	if r.KeepFrom == 0 {
		b.WriteString("no verified snapshot lets the rule be kept: all WAL is needed\n")
	} else {
		fmt.Fprintf(&b, "needed: all WAL from %s on, where the snapshot %s starts\n", r.KeepFrom, r.KeptBy)
	}
	for _, n := range r.Needed {
		fmt.Fprintf(&b, "needed: WAL %s, for the span from %s to %s, which is not verified\n", n.Range, n.Base, n.Official)
	}
	for _, n := range r.Offspring {
		fmt.Fprintf(&b, "needed: WAL %s, for the timeline %s, which is made from this one\n", n.Range, n.Official)
	}
	fmt.Fprintf(&b, "not needed: %d segments, %s\n", len(r.Unneeded), humanize.IBytes(uint64(r.Bytes)))
	for _, line := range runs(r.Unneeded, all) {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// runs names segments, those that follow each other as one line.
func runs(segments []discard.Segment, all bool) (lines []string) {
	for i := 0; i < len(segments); {
		j := i + 1
		for !all && j < len(segments) && segments[j].Range.From == segments[j-1].Range.To && segments[j].Name[:8] == segments[i].Name[:8] {
			j++
		}
		line := segments[i].Name
		if j > i+1 {
			line += " to " + segments[j-1].Name
		}
		lines = append(lines, line)
		i = j
	}
	return lines
}
