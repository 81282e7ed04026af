package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// recoveries makes a data directory at the end of the WAL, in turns: with
// `redoubt recover` and PostgreSQL's first start on the result, and by a copy
// of the base in which PostgreSQL recovers alone. Wall time is all of it until
// the server takes connections, every file made durable by either; CPU time is
// ours, without the server's, and the startup process's redo. What others left
// to be written is written before each.
func (l *history) recoveries(h *host, redoubt string, v verified, runs int) (c contest, err error) {
	c = contest{title: "recover", ours: "redoubt recover, and start", theirs: "cp, PostgreSQL's recovery"}
	err = c.inTurns(h, runs, func() (sample, error) { return l.recover(redoubt) }, func() (sample, error) { return l.copyAndRecover(v) })
	return c, err
}

// recover runs the command and starts a server on what it made.
func (l *history) recover(redoubt string) (s sample, err error) {
	syscall.Sync()
	r := l.Beside()
	s, err = command(redoubt, "recover", "--base", l.backup.Dir, "--wal", l.wal, "--layout", "plain", "--scratch", l.scratch,
		"--to-dir", r.Data, "--progress", "never")
	if err != nil {
		return s, err
	}
	r.Adopt(serverSettings("fsync = on")...)
	_, took, err := recoveryOf(r, ready)
	s.wall += took
	return s, err
}

// copyAndRecover copies the base and has PostgreSQL recover the copy.
func (l *history) copyAndRecover(v verified) (s sample, err error) {
	syscall.Sync()
	r := l.Beside()
	start := time.Now()
	if err := exec.Command("cp", "-a", l.backup.Dir, r.Data).Run(); err != nil {
		return s, fmt.Errorf("copy the base: %w", err)
	}
	copied := time.Since(start)
	if err := os.WriteFile(filepath.Join(r.Data, "recovery.signal"), nil, 0o600); err != nil {
		return s, err
	}
	r.Adopt(serverSettings("fsync = on", "archive_mode = off", "restore_command = 'cp "+l.wal+"/%f %p'")...)
	log, took, err := recoveryOf(r, ready)
	if err != nil {
		return s, err
	}
	s.wall = copied + took
	s.cpu, err = redoOf(log, v)
	return s, err
}

// recoverAlone measures recovery, and the memory that it takes, and prints.
func (l *history) recoverAlone(h *host, s settings, v verified) error {
	c, err := l.recoveries(h, s.redoubt, v, s.replays)
	if err != nil {
		return err
	}
	printTable(os.Stdout, v.wal, v.records, c)
	return l.recoverWithin(s.redoubt)
}

// recoverWithin recovers once under a cgroup's limit that would kill it if it
// took more memory than it may, and prints how much that was.
func (l *history) recoverWithin(redoubt string) error {
	const mib = 256
	return within(2*mib<<20+besides, func(g *cgroup) error {
		to := filepath.Join(l.scratch, "recovered")
		cmd := g.command(redoubt, "recover", "--base", l.backup.Dir, "--wal", l.wal, "--layout", "plain", "--scratch", l.scratch,
			"--to-dir", to, "--progress", "never", "--memory", fmt.Sprintf("%dMiB", mib))
		took, err := timed(cmd)
		if err != nil {
			return err
		}
		fmt.Printf("\n%-8s --memory %4dMiB: %4.0f MB resident at most, %.2f s\n", "memory", mib, mb(took.rss), took.wall.Seconds())
		return os.RemoveAll(to)
	})
}
