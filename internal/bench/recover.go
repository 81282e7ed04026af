package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// recoveries makes a data directory at the end of the WAL, in turns: with
// `redoubt recover` and PostgreSQL's first start on the result, and by a copy
// of the base in which PostgreSQL recovers alone. Wall time is all of it, for
// us with every file made durable, until recovery is complete; CPU time is
// ours, without the server's, and the startup process's redo.
func (l *history) recoveries(h *host, redoubt string, v verified, runs int) (c contest, err error) {
	c = contest{title: "recover", ours: "redoubt recover, and start", theirs: "cp, PostgreSQL's recovery"}
	err = c.inTurns(h, runs, func() (sample, error) { return l.recover(redoubt) }, func() (sample, error) {
		copied, err := l.copyBase()
		if err != nil {
			return sample{}, err
		}
		theirs, err := l.recovery(v)
		theirs.wall += copied
		return theirs, err
	})
	return c, err
}

// recover runs the command and starts a server on what it made.
func (l *history) recover(redoubt string) (s sample, err error) {
	r := l.Beside()
	s, err = command(redoubt, "recover", "--base", l.backup.Dir, "--wal", l.wal, "--layout", "plain", "--scratch", l.scratch,
		"--to-dir", r.Data, "--progress", "never")
	if err != nil {
		return s, err
	}
	r.Adopt(serverSettings()...)
	_, took, err := recoveryOf(r)
	s.wall += took
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
