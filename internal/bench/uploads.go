package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/storage/storagetest"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/names"
)

// parallel is how many files are uploaded at once, by the agent and by the
// plain copy. It is the agent's default.
const parallel = 4

// backup is the WAL of a cluster and a real S3 server for it.
type backup struct {
	h        *host
	redoubt  string
	dir      string   // of the WAL
	segments []string // by name
	size     int64    // of a segment
	tli      pg.TLI
	s3       *storagetest.Killable
	buckets  int // made so far
}

// walBackup measures what becomes of the cluster's WAL on its way to a bucket.
func (l *history) walBackup(h *host, s settings) error {
	b := &backup{h: h, redoubt: s.redoubt, dir: l.wal, s3: storagetest.KillableS3(h), tli: 1, size: pg.DefaultSegmentSize}
	for _, v := range b.s3.Env() {
		name, value, _ := strings.Cut(v, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	found, err := os.ReadDir(l.wal)
	if err != nil {
		return err
	}
	for _, f := range found {
		if pg.IsSegmentName(f.Name()) {
			b.segments = append(b.segments, f.Name())
		}
	}
	if len(b.segments) < 3 {
		return fmt.Errorf("%d segments are too few to measure uploads: make more with -wal", len(b.segments))
	}
	fmt.Printf("\nWAL backup, %d segments of %d MiB\n\n", len(b.segments), b.size>>20)
	if err := b.uploads(s.uploads); err != nil {
		return err
	}
	return b.pushes(s.uploads)
}

// compressions are those that Redoubt writes, by their names in a configuration.
var compressions = []string{"none", "zstd", "lz4", "gzip"}

// uploads lets the agent upload the segments, with each compression, and a
// plain copy do the same without any, in turns. The first segment is uploaded
// before the time is taken, so that the agent is at work.
func (b *backup) uploads(runs int) error {
	timed := b.segments[1:]
	bytes := int64(len(timed)) * b.size
	c := contest{title: "upload", ours: "agent, none", theirs: "plain PutObject"}
	packed := make([]figures, len(compressions))
	for range runs {
		theirs, err := b.plain(timed)
		if err != nil {
			return err
		}
		for i, how := range compressions {
			ours, stored, err := b.agent(how)
			if err != nil {
				return fmt.Errorf("upload with compression %s: %w", how, err)
			}
			if i == 0 {
				c.add(ours, theirs)
			}
			packed[i].add(ours, stored)
		}
	}
	printTable(os.Stdout, bytes, 0, c)
	fmt.Printf("%-8s of the plain copy's throughput: %.2f\n\n", "", summarise(c.t).wall/summarise(c.o).wall)
	printFigures("agent", bytes, packed)
	return nil
}

// figures are the runs of one compression and the size of what they stored.
type figures struct {
	samples []sample
	stored  int64
}

func (f *figures) add(s sample, stored int64) { f.samples, f.stored = append(f.samples, s), stored }

func printFigures(title string, bytes int64, packed []figures) {
	fmt.Printf("%-8s %-6s %9s %9s %12s %8s\n", title, "", "median s", "MB/s", "CPU s per GB", "stored")
	for i, p := range packed {
		s := summarise(p.samples)
		fmt.Printf("%-8s %-6s %9.3f %9.0f %12.2f %7.1f%%\n", "", compressions[i], s.wall, mb(bytes)/s.wall, s.cpu/mb(bytes)*1000, 100*float64(p.stored)/float64(bytes))
	}
	fmt.Println()
}

// bucket makes an empty bucket; remove takes it away with all that is in it.
func (b *backup) bucket() (location string, remove func()) {
	b.buckets++
	name := fmt.Sprintf("bench-%d", b.buckets)
	return b.s3.Bucket(name), func() { _ = os.RemoveAll(filepath.Join(b.s3.Dir, name)) }
}

func (b *backup) plain(files []string) (s sample, err error) {
	loc, remove := b.bucket()
	defer remove()
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return s, err
	}
	start := time.Now()
	if err := storagetest.PlainCopy(context.Background(), loc, b.dir, files, parallel); err != nil {
		return s, err
	}
	s.wall = time.Since(start)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		return s, err
	}
	s.cpu = cpuTime(&after) - cpuTime(&before)
	return s, nil
}

const agentFile = `data_dir: %s
walbackup:
  bucket: %q
  compression: %s
  sources: [{path: %s, kind: segments, tenant: bench}]
  agent: {listen: "127.0.0.1:0", parallel: %d, first_wait: 50ms}
log: {level: error}
`

// agent starts a `redoubt walbackup`, lets segments appear in its directory,
// and takes the time until the WAL backup LSN is behind the last of them.
func (b *backup) agent(compression string) (s sample, stored int64, err error) {
	loc, remove := b.bucket()
	defer remove()
	mark := len(b.h.cleanups)
	defer b.h.undo(mark)
	data, in := b.h.TempDir(), b.h.TempDir()
	file := filepath.Join(data, "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, agentFile, data, loc, compression, in, parallel), 0o600); err != nil {
		return s, 0, err
	}
	cmd := exec.Command(b.redoubt, "walbackup", "-c", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return s, 0, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // what it uploaded is what counts
	}()
	etcd, err := coord.Dial(context.Background(), coord.Config{Endpoints: []string{coord.EmbeddedEndpoint(filepath.Join(data, "etcd"))}, Prefix: "/redoubt"})
	if err != nil {
		return s, 0, err
	}
	defer func() { err = errors.Join(err, etcd.Close()) }()
	if _, err := b.backedUp(etcd, in, b.segments[:1]); err != nil {
		return s, 0, err
	}
	before, err := processCPU(cmd.Process.Pid)
	if err != nil {
		return s, 0, err
	}
	if s.wall, err = b.backedUp(etcd, in, b.segments[1:]); err != nil {
		return s, 0, err
	}
	after, err := processCPU(cmd.Process.Pid)
	if err != nil {
		return s, 0, err
	}
	s.cpu = after - before
	stored, err = storedBytes(filepath.Join(b.s3.Dir, fmt.Sprintf("bench-%d", b.buckets)), b.segments[1:])
	return s, stored, err
}

// backedUp puts segments into the agent's directory and waits until the WAL
// backup LSN is at the end of the last.
func (b *backup) backedUp(etcd *coord.Client, dir string, segments []string) (time.Duration, error) {
	_, last, err := pg.ParseSegmentName(segments[len(segments)-1], b.size)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	start := time.Now()
	for _, name := range segments {
		if err := os.Link(filepath.Join(b.dir, name), filepath.Join(dir, name)); err != nil {
			return 0, err
		}
	}
	for {
		states, err := etcd.States(ctx, names.ID{Tenant: "bench", Timeline: "main"})
		if err == nil && states[b.tli].Backup >= (last+1).Start(b.size) {
			return time.Since(start), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for the agent to upload %s: %w", segments[len(segments)-1], errors.Join(ctx.Err(), err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// processCPU is the CPU time of a process that runs, in ticks of 10 ms.
func processCPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	const user, system, tick = 11, 12, 10 * time.Millisecond // fields behind the name; see proc(5)
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int64
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// storedBytes is how long the objects of segments are.
func storedBytes(dir string, segments []string) (n int64, err error) {
	wanted := make(map[string]bool)
	for _, s := range segments {
		wanted[s] = true
	}
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || len(d.Name()) < 24 || !wanted[d.Name()[:24]] {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}
