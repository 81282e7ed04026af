package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"redoubt/internal/archive"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay/native"
	"redoubt/verify"
)

// pageFlags are the flags of `redoubt page`.
type pageFlags struct {
	output
	base, wal, official string
	layout, cluster     string
	pages               string
	rel, fork           string
	block               int64
	to, at, diff        string
	pageBytes           string
}

func pageCommand() *cobra.Command {
	f := &pageFlags{}
	cmd := &cobra.Command{
		Use:   "page --base LOC --wal LOC --rel SPC/DB/REL --block N",
		Short: "Print the history of one block: its records, its versions, its diff at two LSNs",
		Long: `Replay the WAL over one block of a base backup (or data directory) and print
each record that touched it and the page after it. With --at, take the page at
an LSN apart; with --diff, lay two versions side by side, in PostgreSQL's terms.

A version at an LSN is the page after all records that end at or before it:
"base" is that of the base, "end" the last one, "official" the page of the side
that --official names. What users stored in the page is not shown unless
--page-bytes shown is given.

Exit codes: 0; 1 the official page is not what the WAL says; 2 bad usage, or
there is no such block; 3 the WAL is not all there.`,
		Example: `  redoubt page --base /backups/mon --wal /archive --rel 1663/16384/16390 --block 1204
  redoubt page --base /backups/mon --wal /archive --official /backups/tue \
      --rel 1663/16384/16390 --block 1204 --diff official,end`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVar(&f.base, "base", "", "location of the pages the history starts from")
	fl.StringVar(&f.wal, "wal", "", "location of the WAL")
	fl.StringVar(&f.official, "official", "", "location of pages to hold against the history")
	fl.StringVar(&f.layout, "layout", "auto", "how the WAL lies there: auto, plain, redoubt or neon")
	fl.StringVar(&f.pages, "neon-pages", "", neonPagesUsage)
	fl.StringVar(&f.cluster, "cluster", "", "TENANT/TIMELINE, where the WAL's location holds several")
	fl.StringVar(&f.rel, "rel", "", "the relation: TABLESPACE/DATABASE/RELFILENODE")
	fl.StringVar(&f.fork, "fork", "main", "its fork: main, vm or init")
	fl.Int64Var(&f.block, "block", -1, "the block within the fork")
	fl.StringVar(&f.to, "to", "", "LSN of the history's end, exclusive (default: the official side's own, or the end of the WAL)")
	fl.StringVar(&f.at, "at", "", "also print the page at this LSN, or base, end, official")
	fl.StringVar(&f.diff, "diff", "", "also print the differences between the pages at two LSNs: LSN,LSN")
	fl.StringVar(&f.pageBytes, "page-bytes", "masked", "what users stored in the page: masked or shown")
	return cmd
}

// pageQuestion is what the flags ask.
type pageQuestion struct {
	block  pg.Block
	to     pg.LSN
	at     []string // versions wanted: --at, then the two of --diff
	masked bool
}

func (f *pageFlags) question() (q pageQuestion, err error) {
	if err := f.output.check(); err != nil {
		return q, err
	}
	for _, flag := range [][2]string{{"--base", f.base}, {"--wal", f.wal}, {"--rel", f.rel}} {
		if flag[1] == "" {
			return q, fmt.Errorf("%s is missing: see redoubt page --help", flag[0])
		}
	}
	if q.block.RelFileLocator, err = pg.ParseRelFileLocator(f.rel); err != nil {
		return q, fmt.Errorf("--rel: %w", err)
	}
	if q.block.Fork, err = pg.ParseFork(f.fork); err != nil {
		return q, fmt.Errorf("--fork: %w", err)
	}
	if q.block.Fork == pg.FSMFork {
		return q, errors.New("--fork fsm: the free space map is a hint that is not WAL-logged; it has no history")
	}
	if f.block < 0 || f.block >= math.MaxUint32 {
		return q, fmt.Errorf("--block %d: want the number of a block, from 0", f.block)
	}
	q.block.Number = pg.BlockNumber(f.block)
	if q.to, err = parseLSNFlag("--to", f.to); err != nil {
		return q, err
	}
	if f.pageBytes != "masked" && f.pageBytes != "shown" {
		return q, fmt.Errorf("unknown --page-bytes %q: want masked or shown", f.pageBytes)
	}
	q.masked = f.pageBytes == "masked"
	return q, f.versions(&q)
}

// versions reads --at and --diff.
func (f *pageFlags) versions(q *pageQuestion) error {
	q.at = []string{f.at}
	var check []string
	if f.at != "" {
		check = append(check, f.at)
	}
	if f.diff != "" {
		a, b, ok := strings.Cut(f.diff, ",")
		if !ok {
			return fmt.Errorf("--diff %s: want two LSNs, such as 0/5A3F5D8,0/61C2A10", f.diff)
		}
		q.at = append(q.at, a, b)
		check = append(check, a, b)
	}
	for _, v := range check {
		switch v {
		case "base", "end":
		case "official":
			if f.official == "" {
				return errors.New("the version official wants --official LOC")
			}
		default:
			if _, err := pg.ParseLSN(v); err != nil {
				return fmt.Errorf("the version %q: want an LSN, base, end or official: %w", v, err)
			}
		}
	}
	return nil
}

func (f *pageFlags) run(cmd *cobra.Command) (err error) {
	q, err := f.question()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	base, err := openSide(ctx, f.base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	query := verify.BlockQuery{Base: base, Block: q.block, At: q.lsns()}
	var tli pg.TLI
	var official verify.Meta
	if f.official != "" {
		side, err := openSide(ctx, f.official)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, side.Close()) }()
		if official, err = side.Meta(ctx); err != nil {
			return err
		}
		query.Official, tli = side, official.TLI
		if official.Online {
			query.OfficialFrom = official.Redo
		}
	}
	t, store, err := openTimeline(ctx, f.wal, f.layout, f.cluster, f.pages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	src, err := t.Source(ctx, tli)
	if err != nil {
		return err
	}
	query.WAL = src
	if err := settle(ctx, &query, base, official, q.to); err != nil {
		return err
	}
	h, err := verify.Block(ctx, query)
	if err != nil {
		return err
	}
	p := &pagePrinter{q: &q, query: &query, h: h, versions: q.pages(h)}
	if err := p.nothing(ctx, t, src); err != nil {
		return err
	}
	err = f.print(cmd.OutOrStdout(), p.json, p.text)
	if errors.Is(err, syscall.EPIPE) {
		err = nil // the reader had enough
	}
	return exitFor(p.verdict(), err)
}

// lsns are the versions to look for on the way; names are known at the end.
func (q *pageQuestion) lsns() []pg.LSN {
	out := make([]pg.LSN, len(q.at))
	for i, v := range q.at {
		switch v {
		case "", "base", "official":
		case "end":
			out[i] = math.MaxUint64
		default:
			out[i], _ = pg.ParseLSN(v) // checked before
		}
	}
	return out
}

// pages are the versions that were asked for.
func (q *pageQuestion) pages(h *verify.BlockHistory) [][]byte {
	out := h.At
	for i, v := range q.at {
		switch v {
		case "base":
			out[i] = h.Base
		case "official":
			out[i] = h.Official
		}
	}
	return out
}

// settle reads what redo must know of the base, and settles the span.
func settle(ctx context.Context, q *verify.BlockQuery, base snapshotSide, official verify.Meta, to pg.LSN) error {
	info, err := base.Peek(ctx)
	if err == nil && !info.HasControl { // a tar that has pg_control last
		if err = base.Walk(ctx, snapshot.Ignore{}); err == nil {
			info = base.Info()
		}
	}
	if err != nil {
		return err
	}
	q.Major, q.Span = info.Major, pg.Range{From: info.Redo, To: to}
	q.Settings = native.Base{Checksums: info.Checksums, WALLogHints: info.WALLogHints, CommitTs: info.TrackCommitTimestamp}
	if to != 0 && to < info.Redo {
		return fmt.Errorf("--to %s is before the base's start %s", to, info.Redo)
	}
	if q.Official == nil {
		return nil
	}
	if a, b := info.SystemIdentifier, official.SystemID; a != 0 && b != 0 && a != b {
		return fmt.Errorf("%s is of cluster %d, %s of cluster %d (system identifiers)", base.Name(), a, q.Official.Name(), b)
	}
	own, err := verify.ConsistentAt(ctx, official, q.WAL)
	switch {
	case err != nil:
		return exitWith(exitInconclusive, fmt.Errorf("look for the end of the backup %s: %w", q.Official.Name(), err))
	case to == 0:
		q.Span.To = own
	case to < own:
		return fmt.Errorf("--to %s: the official side %s is of %s; it cannot be taken back", to, q.Official.Name(), own)
	}
	if q.Span.To < info.Redo {
		return fmt.Errorf("the base %s starts at %s, after the official side %s, which is of %s", base.Name(), info.Redo, q.Official.Name(), own)
	}
	return nil
}

// nothing says why there is nothing to print, and whether the WAL that is
// missing is more than its end.
func (p *pagePrinter) nothing(ctx context.Context, t *archive.Timeline, src *archive.Source) error {
	h := p.h
	var missing *wal.MissingError
	var end *wal.EndError
	switch {
	case h.End == nil:
	case p.query.Span.To != 0:
		p.short = h.End
	case errors.As(h.End, &missing):
		name, err := later(ctx, t, src, missing.Range.From)
		if err != nil {
			return err
		}
		if name != "" {
			p.short = fmt.Errorf("%w; there is WAL behind it, such as %s", h.End, name)
		}
	case errors.As(h.End, &end) && end.Reason != wal.EndZeroPage && end.Reason != wal.EndZeroLength:
		p.short = h.End
	}
	switch {
	case h.Base != nil || h.Official != nil || len(h.Steps) > 0:
		return nil
	case p.short != nil:
		return exitWith(exitInconclusive, fmt.Errorf("nothing is known of %s: %w", p.q.block, p.short))
	}
	return fmt.Errorf("neither the base nor the WAL from %s on has %s: --rel is TABLESPACE/DATABASE/RELFILENODE, see pg_relation_filepath(); --block counts from 0",
		h.Span.From, p.q.block)
}
