package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
)

// snapshots compares `redoubt snapshot create`, from the base and the WAL
// alone, with pg_basebackup of the server that they are of, compressed by the
// client with zstd on as many threads as there are cores. Both leave
// base.tar.zst and backup_manifest of the same data in a directory, durable;
// ours has replayed the WAL and has read its tar back. It is the last that is
// measured: the server goes on.
func (l *history) snapshots(h *host, redoubt string, v verified, runs int) error {
	tool := pgtest.Tool(h, major, "pg_basebackup")
	l.Start()
	defer l.Stop(pgtest.Fast)
	c := contest{title: "snapshot", ours: "snapshot create", theirs: "pg_basebackup, zstd"}
	var ours, theirs backupSize
	for i := range runs + 1 {
		s, err := l.snapshot(redoubt, &ours, v)
		if err != nil {
			return err
		}
		to := filepath.Join(l.scratch, "pg_basebackup")
		t, err := command(tool, "-h", l.Socket, "-p", strconv.Itoa(l.Port), "-U", "postgres", "-D", to,
			"-Ft", "-X", "fetch", "-c", "fast", "--compress", fmt.Sprintf("client-zstd:level=3,workers=%d", runtime.NumCPU()))
		if err == nil {
			theirs, err = sizeOf(to)
		}
		if err = errors.Join(err, os.RemoveAll(to)); err != nil {
			return err
		}
		if i > 0 { // the first of each warms up
			c.add(s, t)
		}
	}
	fmt.Printf("\nsnapshot of %.0f MB, by replay of %.0f MB of WAL over %.0f MB; MB/s are of the snapshot\n\n", mb(ours.files), mb(v.wal), mb(l.baseSize))
	printTable(os.Stdout, ours.files, 0, c)
	fmt.Printf("%-8s stored: %.1f MB of %.0f, and %.1f MB of %.0f\n", "", mb(ours.stored), mb(ours.files), mb(theirs.stored), mb(theirs.files))
	return l.snapshotMemory(redoubt, &ours, v)
}

// snapshotMemory makes the snapshot in a cgroup that would kill what takes
// more than it may.
func (l *history) snapshotMemory(redoubt string, size *backupSize, v verified) error {
	const mib = 64
	limit := int64(2*mib<<20 + besides)
	group, err := limited(limit)
	if err != nil {
		fmt.Printf("%-8s NOT LIMITED: %v\n", "", err)
		group = new(cgroup)
	}
	took, err := l.snapshotIn(group, redoubt, size, v, "--memory", fmt.Sprintf("%dMiB", mib))
	if err = errors.Join(err, group.remove()); err != nil {
		return fmt.Errorf("snapshot create with --memory %dMiB within %.0f MB: %w", mib, mb(limit), err)
	}
	fmt.Printf("%-8s --memory %4dMiB: %4.0f MB resident at most, limit %4.0f MB, %.2f s\n", "", mib, mb(took.rss), mb(limit), took.wall.Seconds())
	return nil
}

func (l *history) snapshot(redoubt string, size *backupSize, v verified) (sample, error) {
	return l.snapshotIn(new(cgroup), redoubt, size, v)
}

// snapshotIn makes a snapshot of the end of the WAL, and takes it away again.
func (l *history) snapshotIn(g *cgroup, redoubt string, size *backupSize, v verified, more ...string) (s sample, err error) {
	to := filepath.Join(l.scratch, "snapshots")
	if err := os.Mkdir(to, 0o700); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	s, err = timed(g.command(redoubt, append([]string{"snapshot", "create", "--wal", l.wal, "--layout", "plain", "--base", l.backup.Dir,
		"--to", to, "--scratch", l.scratch, "--progress", "never"}, more...)...))
	if err != nil {
		return s, err
	}
	made := filepath.Join(to, fmt.Sprintf("lsn-%016X-tli1", uint64(v.span.To)))
	*size, err = sizeOf(made)
	return s, err
}

// backupSize is how large a base backup is.
type backupSize struct{ files, stored int64 }

// sizeOf reads a base backup's manifest, and looks at its tar.
func sizeOf(dir string) (s backupSize, err error) {
	content, err := os.ReadFile(filepath.Join(dir, datadir.ManifestPath))
	if err != nil {
		return s, err
	}
	m, err := datadir.ParseManifest(content)
	if err != nil {
		return s, err
	}
	for _, f := range m.Files {
		s.files += f.Size
	}
	tar, err := os.Stat(filepath.Join(dir, "base.tar.zst"))
	if err == nil {
		s.stored = tar.Size()
	}
	return s, err
}
