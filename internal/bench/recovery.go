package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/pgtest"
)

// replays verifies and recovers the same base with the same WAL, in turns. A
// clean verdict is wanted of each verification, the last LSN of each recovery.
func (l *history) replays(h *host, redoubt string, v verified, runs int) (c contest, err error) {
	c = contest{title: "replay", ours: "redoubt verify", theirs: "PostgreSQL's recovery"}
	err = c.inTurns(h, runs, func() (sample, error) {
		ours, err := l.verify(redoubt)
		return ours.sample, err
	}, func() (sample, error) { return l.recovery(v) })
	return c, err
}

// recovery lets PostgreSQL recover a copy of the base, which is not timed,
// and be promoted at the end of the WAL. Wall time is from the start of the
// server to the end of recovery, CPU time the startup process's redo.
func (l *history) recovery(v verified) (s sample, err error) {
	r := l.Restore(l.backup, l.wal, serverSettings("fsync = off", "log_timezone = UTC")...)
	log, took, err := recoveryOf(r, complete)
	if err != nil {
		return s, err
	}
	s.wall = took
	s.cpu, err = redoOf(log, v)
	return s, err
}

// redoOf is the CPU time of a server's redo, which must have reached the
// span's end.
func redoOf(log string, v verified) (cpu time.Duration, err error) {
	m := redoDone.FindStringSubmatch(log)
	if m == nil {
		return 0, fmt.Errorf("read the server's log: no redo done in\n%s", log)
	}
	if m[1] != v.span.To.String() {
		return 0, fmt.Errorf("recovery ended with the record at %s, the span at %s", m[1], v.span.To)
	}
	for _, f := range m[2:] {
		seconds, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, err
		}
		cpu += time.Duration(seconds * float64(time.Second))
	}
	return cpu, nil
}

// What a server logs when recovery has ended, and when it takes connections,
// which may wait for a checkpoint.
const (
	complete = "archive recovery complete"
	ready    = "system is ready to accept connections"
)

// serverSettings are those that servers recover with here, and more.
func serverSettings(more ...string) []string {
	return append([]string{"shared_buffers = '1GB'", "max_wal_size = '20GB'", "checkpoint_timeout = '1h'", "log_line_prefix = '%m '"}, more...)
}

// recoveryOf stops a server that has recovered and returns its log and how long
// it took from its start until it logged a line with these words.
func recoveryOf(r *pgtest.Cluster, until string) (log string, took time.Duration, err error) {
	for range 1200 { // a minute: it may answer before it says that it is ready
		if log = r.LogTail(10000); strings.Contains(log, until) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.Stop(pgtest.Fast)
	started, err := when(log, "starting PostgreSQL")
	if err != nil {
		return log, 0, err
	}
	ended, err := when(log, until)
	return log, ended.Sub(started), err
}

// redoDone is what PerformWalRecovery logs (pg_rusage_show).
var redoDone = regexp.MustCompile(`redo done at (\S+) system usage: CPU: user: (\S+) s, system: (\S+) s,`)

// when is the time of the first line of the log that has the words.
func when(log, words string) (time.Time, error) {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, words) {
			continue
		}
		const layout = "2006-01-02 15:04:05.000"
		if len(line) < len(layout) {
			break
		}
		return time.Parse(layout, line[:len(layout)])
	}
	return time.Time{}, fmt.Errorf("read the server's log: no line %q in\n%s", words, log)
}
