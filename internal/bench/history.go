package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

// history is a cluster's life: a base backup, work, a clean stop.
type history struct {
	*pgtest.Cluster
	title    string
	backup   pgtest.Backup
	backups  string // directory: backup, and perhaps later ones
	baseSize int64
	wal      string // directory
	scratch  string
}

// workload is what a cluster does after its base backup.
type workload struct {
	title          string
	fullPageWrites bool
	spans          bool // later backups are taken
	prepare        func(*pgtest.Cluster)
	work           func(*history)
}

func workloads(s settings) []workload {
	init := func(c *pgtest.Cluster) { c.Pgbench("-i", "-q", "-s", fmt.Sprint(s.scale), "postgres") }
	pgbench := func(l *history) { l.pgbench(s, 0) }
	mixed := pgtest.Mixed{Seed: 1, Clients: 3, Rounds: s.rounds}
	return []workload{
		{fmt.Sprintf("pgbench, scale %d, full_page_writes on", s.scale), true, false, init, pgbench},
		{fmt.Sprintf("pgbench, scale %d, full_page_writes off", s.scale), false, false, init, pgbench},
		{"tables with indexes of all methods, full_page_writes on", true, false, nil, func(l *history) { mixed.Run(l.Cluster) }},
		{"PostgreSQL's regression SQL, full_page_writes on", true, false, nil, func(l *history) { regression.Run(l.Cluster) }},
		{fmt.Sprintf("pgbench, scale %d, full_page_writes on, %d spans", s.scale, spans), true, true, init,
			func(l *history) { l.pgbench(s, spans) }},
	}
}

// regression is PostgreSQL's own regression SQL, without that of contrib and
// without tests that mostly wait.
var regression = pgtest.Corpus{Contrib: []string{}}

func live(h *host, server pgtest.Install, w workload) (*history, error) {
	c := pgtest.New(h, server, pgtest.Checksums(false), pgtest.FullPageWrites(w.fullPageWrites),
		pgtest.Conf("shared_buffers", "1GB"), pgtest.Conf("max_wal_size", "20GB"), pgtest.Conf("checkpoint_timeout", "1h"))
	l := &history{Cluster: c, title: w.title, wal: c.Dir("wal"), scratch: c.Dir("scratch"), backups: c.Dir("backups")}
	if w.prepare != nil {
		w.prepare(c)
	}
	l.backup = c.BaseBackup(filepath.Join(l.backups, "base0"))
	w.work(l)
	c.Stop(pgtest.Fast)
	c.CollectWAL(l.wal)
	c.Own(l.wal) // servers fetch it from there
	return l, l.measureBase()
}

// save copies what verify reads to a directory that must not be there yet.
func (l *history) save(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, from := range map[string]string{"base": l.backup.Dir, "wal": l.wal, "data": l.Data} {
		if out, err := exec.Command("cp", "-a", from, filepath.Join(dir, name)).CombinedOutput(); err != nil {
			return fmt.Errorf("save %s: %w\n%s", from, err, out)
		}
	}
	return nil
}

// checkpointEvery is after how much WAL a server makes a checkpoint: as with
// PostgreSQL's own max_wal_size of 1 GB, so that much WAL is like that of a long life.
const checkpointEvery = 1 << 30

// pgbench runs until there is WAL enough, and takes later backups, evenly
// spread by WAL.
func (l *history) pgbench(s settings, backups int) {
	taken, checkpoint := 0, l.backup.Start
	for end := time.Now().Add(s.load); time.Now().Before(end) || taken < backups; {
		l.Pgbench("-n", "-M", "prepared", "-c", "4", "-T", "4", "postgres")
		at := l.LSN()
		written := int64(at - l.backup.Start)
		if at-checkpoint >= checkpointEvery {
			l.Exec("CHECKPOINT")
			checkpoint = at
		}
		if taken < backups && written >= s.wal*int64(taken+1)/int64(backups) {
			taken++
			l.BaseBackup(filepath.Join(l.backups, fmt.Sprintf("base%d", taken)))
		}
		if written >= s.wal && taken == backups {
			break
		}
	}
}

func (l *history) measureBase() error {
	return filepath.WalkDir(l.backup.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			l.baseSize += info.Size()
		}
		return err
	})
}

// verified is one run of `redoubt verify`.
type verified struct {
	span            pg.Range
	wal             int64 // bytes
	records, images int64
	touched         int64 // blocks
	sample
}

// verify runs the command. Only a clean verdict counts.
func (l *history) verify(redoubt string, more ...string) (verified, error) {
	return l.verifyAs(exec.Command(redoubt, l.verifyArgs(more...)...))
}

func (l *history) verifyArgs(more ...string) []string {
	return append([]string{"verify", "--base", l.backup.Dir, "--official", l.Data, "--wal", l.wal,
		"--layout", "plain", "--scratch", l.scratch, "--format", "json", "--progress", "never"}, more...)
}

// verifyAs runs a command that ends up as redoubt verify.
func (l *history) verifyAs(cmd *exec.Cmd) (v verified, err error) {
	start := time.Now()
	out, err := cmd.Output()
	v.wall = time.Since(start)
	if err != nil {
		return v, fmt.Errorf("run redoubt verify: %w\n%s", err, out)
	}
	v.sample = v.of(cmd.ProcessState)
	var f finding.Verification
	if err := json.Unmarshal(out, &f); err != nil {
		return v, fmt.Errorf("read what redoubt verify printed: %w", err)
	}
	if f.Verdict != finding.Clean {
		return v, fmt.Errorf("redoubt verify says %s: %q", f.Verdict, f.Reasons)
	}
	v.span, v.wal, v.records, v.images = f.Span, f.WAL.Bytes, f.WAL.Records, f.WAL.FullPageImages
	v.touched = f.Coverage.BlocksReplayed
	return v, nil
}
