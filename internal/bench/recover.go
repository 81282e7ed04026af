package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"redoubt/internal/pgtest"
)

// recoveries makes a data directory at the end of the WAL, in turns: with
// `redoubt recover` and PostgreSQL's first start on the result, and by a copy
// of the base in which PostgreSQL recovers alone. Wall time is all of it, for
// us with every file made durable, until recovery is complete; CPU time is
// ours, without the server's, and the startup process's redo.
func (l *history) recoveries(h *host, redoubt string, v verified, runs int) (c contest, err error) {
	c = contest{title: "recover", ours: "redoubt recover, and start", theirs: "cp, PostgreSQL's recovery"}
	for range runs {
		mark := len(h.cleanups)
		ours, err := l.recover(redoubt)
		if err != nil {
			return c, err
		}
		h.undo(mark)
		copied, err := l.copyBase()
		if err != nil {
			return c, err
		}
		theirs, err := l.recovery(v)
		if err != nil {
			return c, err
		}
		h.undo(mark)
		theirs.wall += copied
		c.add(ours, theirs)
	}
	return c, nil
}

// recover runs the command and starts a server on what it made.
func (l *history) recover(redoubt string) (s sample, err error) {
	r := l.Beside()
	s, err = command(redoubt, "recover", "--base", l.backup.Dir, "--wal", l.wal, "--layout", "plain", "--scratch", l.scratch,
		"--to-dir", r.Data, "--progress", "never")
	if err != nil {
		return s, err
	}
	r.Adopt("shared_buffers = '1GB'", "max_wal_size = '20GB'", "checkpoint_timeout = '1h'", "log_line_prefix = '%m '")
	log := r.LogTail(1000)
	r.Stop(pgtest.Fast)
	started, err := when(log, "starting PostgreSQL")
	if err != nil {
		return s, err
	}
	ended, err := when(log, "archive recovery complete")
	s.wall += ended.Sub(started)
	return s, err
}

// copyBase is how long a plain copy of the base takes.
func (l *history) copyBase() (time.Duration, error) {
	to := filepath.Join(l.scratch, "copied")
	start := time.Now()
	if err := exec.Command("cp", "-a", l.backup.Dir, to).Run(); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, os.RemoveAll(to)
}
