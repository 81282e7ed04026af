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
	for range runs {
		ours, err := l.verify(redoubt)
		if err != nil {
			return c, err
		}
		mark := len(h.cleanups)
		theirs, err := l.recovery(v)
		if err != nil {
			return c, err
		}
		h.undo(mark)
		c.add(ours.sample, theirs)
	}
	return c, nil
}

// recovery lets PostgreSQL recover a copy of the base, which is not timed,
// and be promoted at the end of the WAL. Wall time is from the start of the
// server to the end of recovery, CPU time the startup process's redo.
func (l *history) recovery(v verified) (s sample, err error) {
	r := l.Restore(l.backup, l.wal, "shared_buffers = '1GB'", "fsync = off", "max_wal_size = '20GB'",
		"checkpoint_timeout = '1h'", "log_line_prefix = '%m '", "log_timezone = UTC")
	log := r.LogTail(1000)
	r.Stop(pgtest.Fast)
	started, err := when(log, "starting PostgreSQL")
	if err != nil {
		return s, err
	}
	ended, err := when(log, "archive recovery complete")
	if err != nil {
		return s, err
	}
	s.wall = ended.Sub(started)
	m := redoDone.FindStringSubmatch(log)
	if m == nil {
		return s, fmt.Errorf("read the server's log: no redo done in\n%s", log)
	}
	if m[1] != v.span.To.String() {
		return s, fmt.Errorf("recovery ended with the record at %s, the span at %s", m[1], v.span.To)
	}
	for _, f := range m[2:] {
		seconds, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return s, err
		}
		s.cpu += time.Duration(seconds * float64(time.Second))
	}
	return s, nil
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
