package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/compress"
	"redoubt/internal/pg/walfile"
)

// TestAgentOnAFullDisk fills the disk under an agent's etcd and journal, and
// makes room again: whatever became of the agent, every segment gets into the
// bucket, and none vanished that is not there.
func TestAgentOnAFullDisk(t *testing.T) {
	t.Parallel()
	small, disk := smallDisk(t, 1<<20), smallDisk(t, 176<<20)
	if !disk.mounted {
		return // the limit would hold for the bucket, too
	}
	dir := t.TempDir()
	for _, d := range []string{"wal", "bucket", "staging"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	listen := freePort(t)
	config := func(name, data string) string {
		file := filepath.Join(dir, name)
		put(t, file, fmt.Appendf(nil, `
data_dir: %s
walbackup:
  bucket: ./bucket
  sources: [{path: ./wal, kind: segments, tenant: prod}]
  agent: {listen: %q, rescan: 200ms, first_wait: 50ms, max_wait: 500ms, remove: on, keep: 1}
`, data, listen))
		return file
	}
	o := redoubt(t, "walbackup", "-c", config("small.yaml", small.dir))
	o.want(t, exitUsage, "start etcd", "MiB free")

	names := segmentsInto(t, filepath.Join(dir, "staging"))
	truth := make(map[string][]byte)
	for _, n := range names {
		truth[n] = read(t, filepath.Join(dir, "staging", n))
	}
	complete := func(n string) {
		must(t, os.Rename(filepath.Join(dir, "staging", n), filepath.Join(dir, "wal", n)))
	}
	file := config("config.yaml", disk.dir)
	agent, ended, log := startAgent(t, file)
	complete(names[0])
	complete(names[1])
	awaitStored(t, dir, names[:2])
	filler := filepath.Join(disk.dir, "filler")
	fillDisk(t, filler)
	for _, n := range names[2:] {
		complete(n)
	}
	select {
	case <-ended: // etcd can't write: an agent without it is of no use
	case <-time.After(3 * time.Second):
	}
	must(t, os.Remove(filler))
	select {
	case <-ended:
		t.Logf("the agent ended: %s", lastLine(log))
		agent, _, _ = startAgent(t, file)
	default:
	}
	awaitStored(t, dir, names)
	for _, n := range names {
		if got := stored(t, dir, n); string(got) != string(truth[n]) {
			t.Errorf("%s has other content in the bucket", n)
		}
	}
	_ = agent.Process.Signal(syscall.SIGTERM)
}

// startAgent starts an agent, which is killed with the test.
func startAgent(t *testing.T, config string) (agent *exec.Cmd, ended chan struct{}, log string) {
	t.Helper()
	agent, log = command(t, "walbackup", "-c", config), filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	must(t, err)
	agent.Stderr = f
	must(t, agent.Start())
	must(t, f.Close())
	ended = make(chan struct{})
	go func() {
		_ = agent.Wait() // how it ended is not what is asked
		close(ended)
	}()
	t.Cleanup(func() {
		_ = agent.Process.Kill() // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("%s", read(t, log))
		}
	})
	return agent, ended, log
}

func lastLine(log string) string {
	b, _ := os.ReadFile(log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func objectOf(dir, name string) string {
	return filepath.Join(dir, "bucket/prod/main/wal", name+".zst")
}

func awaitStored(t *testing.T, dir string, names []string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var missing []error
		for _, n := range names {
			if _, err := os.Stat(objectOf(dir, n)); err != nil {
				missing = append(missing, err)
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatal(errors.Join(missing...))
		}
	}
}

func stored(t *testing.T, dir, name string) []byte {
	t.Helper()
	f, err := os.Open(objectOf(dir, name))
	must(t, err)
	r, err := compress.NewReader(f, walfile.Zstd)
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close(), f.Close()))
	return got
}

// fillDisk writes a file until its disk is full.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		if _, err := f.Write(piece); err != nil {
			piece = piece[:len(piece)/2]
		}
	}
	must(t, f.Close())
}

// TestArchiveGetOnAFullDisk: without room to fetch ahead archive-get works as
// without fetching ahead; without room for the segment itself it leaves nothing
// behind, and does not call it absent.
func TestArchiveGetOnAFullDisk(t *testing.T) {
	t.Parallel()
	ahead, target := smallDisk(t, 64<<10), smallDisk(t, 512<<10)
	if !ahead.mounted {
		return // the limit would hold for everything
	}
	dir := t.TempDir()
	for _, d := range []string{"wal", "bucket"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	names := segmentsInto(t, filepath.Join(dir, "wal"))
	config := filepath.Join(dir, "config.yaml")
	put(t, config, fmt.Appendf(nil, `
data_dir: ./data
walbackup:
  bucket: ./bucket
  sources: [{path: ./wal, kind: segments, tenant: prod}]
  prefetch: {segments: 4, dir: %s}
`, ahead.dir))
	for _, n := range names {
		redoubt(t, "archive-push", "-c", config, filepath.Join(dir, "wal", n)).want(t, exitClean)
	}
	for _, n := range names[:3] {
		dest := filepath.Join(dir, "segment")
		redoubt(t, "archive-get", "-c", config, n, dest).want(t, exitClean)
		same(t, n, string(read(t, filepath.Join(dir, "wal", n))), string(read(t, dest)))
	}
	redoubt(t, "archive-get", "-c", config, names[3], filepath.Join(target.dir, "segment")).want(t, exitTrouble, "no space left on device")
	empty(t, target.dir)
}
