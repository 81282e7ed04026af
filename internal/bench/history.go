package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

// history is a cluster's life: a base backup, pgbench, a clean stop.
type history struct {
	*pgtest.Cluster
	backup   pgtest.Backup
	baseSize int64
	wal      string // directory
	scratch  string
	setting  string // of full_page_writes
}

func live(h *host, server pgtest.Install, s settings, fullPageWrites bool) (*history, error) {
	c := pgtest.New(h, server, pgtest.Checksums(false), pgtest.FullPageWrites(fullPageWrites),
		pgtest.Conf("shared_buffers", "1GB"), pgtest.Conf("max_wal_size", "20GB"), pgtest.Conf("checkpoint_timeout", "1h"))
	l := &history{Cluster: c, wal: c.Dir("wal"), scratch: c.Dir("scratch"), setting: "off"}
	if fullPageWrites {
		l.setting = "on"
	}
	c.Pgbench("-i", "-q", "-s", fmt.Sprint(s.scale), "postgres")
	l.backup = c.BaseBackup(filepath.Join(c.Dir("backups"), "base"))
	for end := time.Now().Add(s.load); time.Now().Before(end) && int64(c.LSN()-l.backup.Start) < s.wal; {
		c.Pgbench("-n", "-M", "prepared", "-c", "4", "-T", "4", "postgres")
	}
	c.Stop(pgtest.Fast)
	c.CollectWAL(l.wal)
	err := filepath.WalkDir(l.backup.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			l.baseSize += info.Size()
		}
		return err
	})
	return l, err
}

// verified is one run of `redoubt verify`.
type verified struct {
	span            pg.Range
	wal             int64 // bytes
	records, images int64
	sample
}

// verify runs the command. Only a clean verdict counts.
func (l *history) verify(redoubt string) (v verified, err error) {
	cmd := exec.Command(redoubt, "verify", "--base", l.backup.Dir, "--official", l.Data, "--wal", l.wal,
		"--layout", "plain", "--scratch", l.scratch, "--format", "json", "--progress", "never")
	start := time.Now()
	out, err := cmd.Output()
	v.wall = time.Since(start)
	if err != nil {
		return v, fmt.Errorf("run redoubt verify: %w\n%s", err, out)
	}
	v.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	var f finding.Verification
	if err := json.Unmarshal(out, &f); err != nil {
		return v, fmt.Errorf("read what redoubt verify printed: %w", err)
	}
	if f.Verdict != finding.Clean {
		return v, fmt.Errorf("redoubt verify says %s: %q", f.Verdict, f.Reasons)
	}
	v.span, v.wal, v.records, v.images = f.Span, f.WAL.Bytes, f.WAL.Records, f.WAL.FullPageImages
	return v, nil
}
