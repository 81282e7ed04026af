package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"redoubt/internal/archive"
	"redoubt/internal/pg/wal"
	"redoubt/internal/storage"
)

// decoders runs both decoders over the span, one after the other, in turns.
func (l *history) decoders(waldump string, v verified, runs int) (c contest, err error) {
	c = contest{title: "decode", ours: "redoubt's reader", theirs: "pg_waldump -q"}
	n, err := l.countByWaldump(waldump, v)
	if err != nil {
		return c, err
	}
	if n != v.records {
		return c, fmt.Errorf("pg_waldump counts %d records in %s, redoubt %d", n, v.span, v.records)
	}
	for i := range runs + 1 {
		ours, err := l.decode(v)
		if err != nil {
			return c, err
		}
		theirs, err := command(waldump, append(l.waldumpArgs(v), "-q")...)
		if err != nil {
			return c, err
		}
		if i > 0 { // the first of each warms up
			c.add(ours, theirs)
		}
	}
	return c, nil
}

// decode reads every record of the span as verify does: page headers, CRC and
// the chain of xl_prev are checked, block references decoded.
func (l *history) decode(v verified) (s sample, err error) {
	ctx := context.Background()
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return s, err
	}
	start := time.Now()
	store, err := storage.Open(ctx, l.wal)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	n, err := records(ctx, store, v)
	if err != nil {
		return s, err
	}
	s.wall = time.Since(start)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		return s, err
	}
	s.cpu = cpuTime(&after) - cpuTime(&before)
	if n != v.records {
		return s, fmt.Errorf("read %d records of %s, want %d", n, v.span, v.records)
	}
	return s, nil
}

// records counts the records of the span by reading them.
func records(ctx context.Context, store *storage.Store, v verified) (n int64, err error) {
	a, err := archive.Open(ctx, store, archive.Plain, archive.Options{})
	if err != nil {
		return 0, err
	}
	found, _, err := a.Timelines(ctx)
	if err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%d timelines in the WAL directory, want one", len(found))
	}
	src, err := found[0].Source(ctx, 0)
	if err != nil {
		return 0, err
	}
	pages, err := src.Open(ctx, v.span.From)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, pages.Close()) }()
	r := wal.NewReader(pages.ReadPages, wal.Config{Start: v.span.From, SegmentSize: src.SegmentSize(), History: src.History()})
	var rec wal.Record
	for {
		if err := r.Next(&rec); err != nil {
			return n, err
		}
		if rec.LSN >= v.span.To {
			return n, nil
		}
		n++
	}
}

func cpuTime(r *syscall.Rusage) time.Duration {
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// waldumpArgs name the span. Where its end is the first record of a page,
// which a clean stop with archiving makes the rule, pg_waldump 15 looks for
// that record in bytes that it has not read; the page's start is as good.
func (l *history) waldumpArgs(v verified) []string {
	to := v.span.To
	if off := to % wal.PageSize; off == wal.ShortHeaderSize || off == wal.LongHeaderSize {
		to -= off
	}
	return []string{"-p", l.wal, "-s", v.span.From.String(), "-e", to.String()}
}

var totalLine = regexp.MustCompile(`(?m)^Total +(\d+) `)

// countByWaldump is how many records pg_waldump finds in the span.
func (l *history) countByWaldump(waldump string, v verified) (int64, error) {
	out, err := exec.Command(waldump, append(l.waldumpArgs(v), "--stats")...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run pg_waldump --stats: %w\n%s", err, out)
	}
	m := totalLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("read what pg_waldump --stats printed: no total in\n%s", out)
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}

// printers lets both programs print every record of the span.
func (l *history) printers(redoubt, waldump string, v verified, runs int) (c contest, err error) {
	c = contest{title: "print", ours: "redoubt waldump", theirs: "pg_waldump"}
	for i := range runs + 1 {
		ours, err := command(redoubt, "waldump", l.wal, "--from", v.span.From.String(), "--to", v.span.To.String())
		if err != nil {
			return c, err
		}
		theirs, err := command(waldump, l.waldumpArgs(v)...)
		if err != nil {
			return c, err
		}
		if i > 0 { // the first of each warms up
			c.add(ours, theirs)
		}
	}
	return c, nil
}

// command times a program, whose output goes nowhere.
func command(path string, args ...string) (sample, error) { return timed(exec.Command(path, args...)) }

func timed(cmd *exec.Cmd) (sample, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("run %s: %w\n%s", cmd.Path, err, stderr.Bytes())
	}
	return sample{wall: wall}.of(cmd.ProcessState), nil
}
