package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"redoubt/internal/archive"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// waldumpFlags are the flags of `redoubt waldump`.
type waldumpFlags struct {
	output
	layout, cluster string
	pages           string
	from, to        string
	rmgrs           []string
	rel, fork       string
	block, xid      int64
	stats           string
}

func waldumpCommand() *cobra.Command {
	f := &waldumpFlags{}
	cmd := &cobra.Command{
		Use:   "waldump LOC...",
		Short: "Print WAL records",
		Long: `Print the records of WAL segments, one a line, as pg_waldump does. LOC is a segment's
file, or a location that holds WAL in one of the layouts. Segments may be compressed.
Majors 14 to 18 are understood; what is in a record, behind the name of its operation,
is told of 15 only. With --format json each line is a JSON object.

A record is printed if it fits all of the filters that are given. A reference
fits --rel, --fork and --block if it fits all three of them.`,
		Example: `  redoubt waldump /archive/000000010000000000000004.zst
  redoubt waldump s3://bucket/wal --from 0/4000028 --to 0/5000000 --rel 1663/5/16384 --block 7
  redoubt waldump /archive --rmgr Heap --rmgr Heap2 --xid 8812
  redoubt waldump /archive --stats=record`,
		Args: cobra.MinimumNArgs(1),
		RunE: f.run,
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVar(&f.layout, "layout", "auto", "how the WAL lies there: auto, plain, redoubt or neon")
	fl.StringVar(&f.pages, "neon-pages", "", neonPagesUsage)
	fl.StringVar(&f.cluster, "cluster", "", "TENANT/TIMELINE, where a location holds several")
	fl.StringVar(&f.from, "from", "", "LSN to start at (default: the first record there is)")
	fl.StringVar(&f.to, "to", "", "LSN to stop before (default: the end of the WAL)")
	fl.StringArrayVar(&f.rmgrs, "rmgr", nil, "only records of this resource manager, `NAME` as it is printed; may be given several times")
	fl.StringVar(&f.rel, "rel", "", "only records that reference this relation: TABLESPACE/DATABASE/RELFILENODE")
	fl.Int64Var(&f.block, "block", -1, "only records that reference this block of --rel")
	fl.StringVar(&f.fork, "fork", "", "only records that reference this fork: main, fsm, vm or init")
	fl.Int64Var(&f.xid, "xid", -1, "only records of this transaction")
	fl.StringVar(&f.stats, "stats", "", "print counts instead of records: rmgr, or record for each operation")
	fl.Lookup("stats").NoOptDefVal = "rmgr"
	return cmd
}

func (f *waldumpFlags) run(cmd *cobra.Command, locations []string) error {
	keep, err := f.filter()
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	if f.stats != "" && f.stats != "rmgr" && f.stats != "record" {
		return fmt.Errorf("unknown --stats=%s: want rmgr or record", f.stats)
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 1<<16)
	d := &dump{out: out, notes: cmd.ErrOrStderr(), keep: keep, json: f.format == "json", stats: f.stats, counts: make(map[string]*statLine)}
	for _, loc := range locations {
		if err = f.dump(cmd.Context(), loc, d); err != nil {
			break
		}
	}
	err = errors.Join(err, d.summary(), out.Flush())
	d.noteDialect()
	if errors.Is(err, syscall.EPIPE) {
		return nil // the reader had enough
	}
	return err
}

// filter builds the test of the flags.
func (f *waldumpFlags) filter() (func(*wal.Record) bool, error) {
	var tests []func(*wal.Record) bool
	if len(f.rmgrs) > 0 {
		var wanted [256]bool
		for _, name := range f.rmgrs {
			m, err := pg.ParseRmgr(name)
			if err != nil {
				return nil, fmt.Errorf("--rmgr: %w", err)
			}
			wanted[m] = true
		}
		tests = append(tests, func(r *wal.Record) bool { return wanted[r.Rmgr] })
	}
	if f.xid >= 0 {
		tests = append(tests, func(r *wal.Record) bool { return int64(r.XID) == f.xid })
	}
	if f.rel != "" || f.fork != "" || f.block >= 0 {
		ref, err := f.refFilter()
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(r *wal.Record) bool { return slices.ContainsFunc(r.Blocks, ref) })
	}
	return func(r *wal.Record) bool {
		return !slices.ContainsFunc(tests, func(ok func(*wal.Record) bool) bool { return !ok(r) })
	}, nil
}

func (f *waldumpFlags) refFilter() (func(wal.BlockRef) bool, error) {
	var rel pg.RelFileLocator
	var fork pg.ForkNumber
	var err error
	if f.rel != "" {
		if rel, err = pg.ParseRelFileLocator(f.rel); err != nil {
			return nil, fmt.Errorf("--rel: %w", err)
		}
	} else if f.block >= 0 {
		return nil, errors.New("--block needs --rel")
	}
	if f.fork != "" {
		if fork, err = pg.ParseFork(f.fork); err != nil {
			return nil, fmt.Errorf("--fork: %w", err)
		}
	}
	return func(b wal.BlockRef) bool {
		return (f.rel == "" || b.RelFileLocator == rel) && (f.fork == "" || b.Fork == fork) &&
			(f.block < 0 || int64(b.Number) == f.block)
	}, nil
}

// dump prints or counts the records of one location.
func (f *waldumpFlags) dump(ctx context.Context, loc string, d *dump) (err error) {
	r, err := f.extent(loc)
	if err != nil {
		return err
	}
	dir := loc
	if r.file {
		dir = filepath.Dir(loc)
		if f.layout == "auto" {
			f.layout = "plain"
		}
	}
	t, store, err := openTimeline(ctx, dir, f.layout, f.cluster, f.pages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	src, from, err := r.locate(ctx, t, loc)
	if err != nil {
		return err
	}
	ws, err := src.Open(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ws.Close()) }()
	reader := wal.NewReader(ws.ReadPages, wal.Config{Start: from, SegmentSize: src.SegmentSize(), FindFirst: true, MayBeginLate: r.from == 0})
	err = d.records(reader, r.to)
	if late := reader.Late(); late != 0 {
		fmt.Fprintf(d.notes, "%s: zeros up to %s, where the first record is: a timeline of Neon begins so, or the WAL before was lost\n", loc, late)
	}
	return r.end(ctx, t, src, reader, err)
}

// extent is what part of a location's WAL is asked for.
type extent struct {
	from, to pg.LSN
	file     bool // the location is one segment's file
}

func (f *waldumpFlags) extent(loc string) (r extent, err error) {
	if r.from, err = parseLSNFlag("--from", f.from); err != nil {
		return r, err
	}
	if r.to, err = parseLSNFlag("--to", f.to); err != nil {
		return r, err
	}
	if st, err := os.Stat(loc); err == nil && st.Mode().IsRegular() {
		r.file = true
		if walfile.SegmentPart(filepath.Base(loc)) == "" {
			return r, fmt.Errorf("open %s: its name is not that of a WAL segment, such as 000000010000000000000004.zst", loc)
		}
	}
	return r, nil
}

// locate finds where to start: --from, the file's segment, or the first segment there is.
func (r *extent) locate(ctx context.Context, t *archive.Timeline, loc string) (*archive.Source, pg.LSN, error) {
	id, err := t.Identify(ctx)
	if err != nil {
		return nil, 0, err
	}
	target := pg.TLI(0)
	start := r.from
	switch {
	case r.file:
		tli, n, err := pg.ParseSegmentName(filepath.Base(loc)[:min(24, len(filepath.Base(loc)))], id.SegmentSize)
		if err != nil {
			return nil, 0, err
		}
		target, start = tli, max(r.from, n.Start(id.SegmentSize))
		if end := (n + 1).Start(id.SegmentSize); r.to == 0 || r.to > end {
			r.to = end
		}
	case start == 0:
		if start, err = firstSegment(ctx, t, id.SegmentSize); err != nil {
			return nil, 0, err
		}
	}
	src, err := t.Source(ctx, target)
	return src, start, err
}

// end judges where and why the records ended: the end of the WAL is none if
// there is WAL behind it, or if it comes before --to.
func (r *extent) end(ctx context.Context, t *archive.Timeline, src *archive.Source, reader *wal.Reader, err error) error {
	var missing *wal.MissingError
	var end *wal.EndError
	var damaged *archive.DamagedError
	var at pg.LSN
	switch {
	case errors.As(err, &missing):
		at = missing.Range.From
	case errors.As(err, &end) && (end.Reason == wal.EndZeroPage || end.Reason == wal.EndZeroLength):
		at = end.LSN
	case errors.As(err, &end) && r.to != 0 && end.LSN >= r.to:
		return nil
	case errors.As(err, &end), errors.As(err, &damaged):
		return exitWith(exitFindings, err)
	default:
		return exitWith(exitInconclusive, err)
	}
	switch {
	case r.file, r.to != 0 && reader.End() >= r.to:
		return nil
	case r.to != 0:
		return exitWith(exitInconclusive, fmt.Errorf("%w; that is before --to %s", err, r.to))
	}
	name, lerr := later(ctx, t, src, at)
	switch {
	case lerr != nil:
		return exitWith(exitInconclusive, lerr)
	case name != "":
		return exitWith(exitInconclusive, fmt.Errorf("%w; there is WAL behind it, such as %s: go on there with --from", err, name))
	}
	return nil
}

// later names a segment of the newest TLI that starts behind at, if there is one.
func later(ctx context.Context, t *archive.Timeline, src *archive.Source, at pg.LSN) (string, error) {
	history := src.History()
	for e, err := range t.List(ctx) {
		if err != nil {
			return "", err
		}
		if e.Kind == wal.SegmentFile && e.TLI == history[len(history)-1].TLI && e.Segment.Start(src.SegmentSize()) > at {
			return e.Key, nil
		}
	}
	return "", nil
}

// firstSegment is where the first segment begins or, where there is no whole
// one, the first that is partial.
func firstSegment(ctx context.Context, t *archive.Timeline, size int64) (pg.LSN, error) {
	none := ^pg.LSN(0)
	whole, partial := none, none
	for e, err := range t.List(ctx) {
		if err != nil {
			return 0, err
		}
		switch e.Kind {
		case wal.SegmentFile:
			whole = min(whole, e.Segment.Start(size))
		case wal.PartialFile:
			partial = min(partial, e.Segment.Start(size))
		}
	}
	if whole == none {
		return partial, nil
	}
	return whole, nil
}
