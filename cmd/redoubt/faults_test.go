package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"redoubt/internal/finding"
)

// disk is a directory that holds so many bytes: a file system of its own, or,
// where none may be mounted, a limit on the length of each file the process writes.
type disk struct {
	dir     string
	size    int
	mounted bool
}

func smallDisk(t *testing.T, size int) disk {
	t.Helper()
	d := disk{dir: t.TempDir(), size: size}
	err := syscall.Mount("none", d.dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("size=%d", size))
	if err != nil {
		t.Logf("mount tmpfs: %v: the length of files is limited instead", err)
		return d
	}
	d.mounted = true
	t.Cleanup(func() { must(t, syscall.Unmount(d.dir, syscall.MNT_DETACH)) })
	return d
}

// run runs a redoubt that finds the disk as small as it is.
func (d disk) run(t testing.TB, args ...string) outcome {
	t.Helper()
	c := command(t, args...)
	if !d.mounted {
		limit := exec.CommandContext(t.Context(), "sh", append([]string{"-c", fmt.Sprintf(`ulimit -f %d; exec "$0" "$@"`, d.size/512), "redoubt"}, args...)...)
		limit.Env = append(os.Environ(), "PATH="+withRedoubt(t, c.Path)+":"+os.Getenv("PATH"))
		c = limit
	}
	return finish(t, c)
}

// withRedoubt is a directory in which a binary is named redoubt.
func withRedoubt(t testing.TB, binary string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Symlink(binary, filepath.Join(dir, "redoubt")))
	return dir
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	bucket, faults := plantedSpan(t)
	s := spanIn(bucket, "acme", "main", faults.write.Previous, faults.write.Snapshot)

	t.Run("scratch", func(t *testing.T) {
		d := smallDisk(t, 64<<10)
		o := d.run(t, s.args("--memory", "1B", "--scratch", d.dir)...)
		o.want(t, exitInconclusive, "scratch", d.dir, "give more --memory, or another --scratch")
		if v := o.verification(t); v.Verdict != finding.Inconclusive {
			t.Errorf("%+v", v)
		}
	})
	t.Run("scratch for pages that differ", func(t *testing.T) {
		d := smallDisk(t, 64<<10)
		s := s
		s.official = changed(t, s.official, false, table, zeroed(0, 26*8192))
		o := d.run(t, s.args("--scratch", d.dir)...)
		o.want(t, exitInconclusive, "scratch", d.dir, "another --scratch")
	})
	t.Run("page", func(t *testing.T) {
		d := smallDisk(t, 8<<10)
		if !d.mounted {
			return // the limit would hold for scratch too; TestResultNotDelivered has the like
		}
		page := filepath.Join(d.dir, "report.html")
		o := d.run(t, s.args("--html", page)...)
		o.want(t, exitFindings, "write report "+page)
		if v := o.verification(t); len(v.Discrepancies) != 1 {
			t.Errorf("%+v", v)
		}
		empty(t, d.dir)
	})
	t.Run("reports", func(t *testing.T) {
		d := smallDisk(t, 32<<10)
		if !d.mounted {
			return // the limit would hold for the ledger too; TestResultNotDelivered has the like
		}
		dir := configured(t, bucket, fmt.Sprintf("reports: {dir: %s}", d.dir))
		o := d.run(t, "run", "-c", filepath.Join(dir, "config.yaml"), "--format", "json", "--seed", "1")
		o.want(t, exitFindings, "write report", "redoubt report --html FILE", "no space left on device")
		run := parse[finding.Run](t, o.stdout)
		// The page does not fit; the same as JSON does.
		noneUnfinished(t, d.dir)
		must(t, os.RemoveAll(filepath.Join(d.dir, "run-"+run.ID+".json")))
		empty(t, d.dir)
		page := filepath.Join(dir, "again.html")
		redoubt(t, "report", "-c", filepath.Join(dir, "config.yaml"), "--html", page, run.ID).want(t, exitFindings)
		checkPage(t, page, run.ID, "lost write", table)
	})
	for _, size := range []int{16 << 10, 100 << 10, 200 << 10, 280 << 10} {
		t.Run(fmt.Sprintf("ledger in %d bytes", size), func(t *testing.T) {
			d := smallDisk(t, size)
			dir := configured(t, bucket, "")
			config := strings.Replace(string(read(t, filepath.Join(dir, "config.yaml"))), "data_dir: ./data", "data_dir: "+d.dir, 1)
			put(t, filepath.Join(dir, "config.yaml"), []byte(config))
			o := d.run(t, "run", "-c", filepath.Join(dir, "config.yaml"), "--format", "json")
			if o.code == exitFindings && parse[finding.Run](t, o.stdout).FinishedAt != nil {
				return // it was enough
			}
			if o.code != exitInconclusive && o.code != exitUsage || o.stdout != "" {
				t.Errorf("exit code %d, stdout %q", o.code, o.stdout)
			}
			o.want(t, o.code, "ledger", "disk")
			empty(t, filepath.Join(dir, "reports"))
		})
	}
}

// configured is a directory with a configuration for a bucket, as the demo has it.
func configured(t testing.TB, bucket, more string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	config := strings.Replace(demoConfig, "./bucket", bucket, 1)
	if more != "" {
		config = strings.Replace(config, "reports: {dir: ./reports}\n", "", 1) + more + "\n"
	}
	put(t, filepath.Join(dir, "config.yaml"), []byte(config))
	return dir
}

func empty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left in %s", e.Name(), dir)
	}
}

// TestResultNotDelivered: a result that nobody could read is told by the exit
// code and on stderr; findings stay findings.
func TestResultNotDelivered(t *testing.T) {
	t.Parallel()
	bucket, faults := plantedSpan(t)
	dirty := spanIn(bucket, "acme", "main", faults.write.Previous, faults.write.Snapshot)
	whole := pristine(t)
	clean := spanIn(whole, "acme", "main", "nightly-1", "nightly-2")
	dir := configured(t, bucket, "")
	config := filepath.Join(dir, "config.yaml")
	redoubt(t, "run", "-c", config, "--seed", "1").want(t, exitFindings)
	notADir := filepath.Join(dir, "config.yaml", "reports")
	unwritable := configured(t, bucket, fmt.Sprintf("reports: {dir: %s}", notADir))

	for _, c := range []struct {
		name string
		args []string
		code int
	}{
		{"clean", clean.args(), exitInconclusive},
		{"findings", dirty.args(), exitFindings},
		{"findings as text", append(dirty.args(), "--format", "table"), exitFindings},
		{"run", []string{"run", "-c", config, "--seed", "1"}, exitFindings},
		{"report", []string{"report", "-c", config}, exitFindings},
		{"scan", []string{"scan", "--wal", clean.wal}, exitInconclusive},
		{"scan with findings", []string{"scan", "--wal", clean.wal, "--to", "0/9000000"}, exitFindings},
		{"list", []string{"report", "-c", config, "--list"}, exitInconclusive},
	} {
		t.Run(c.name+" to a closed pipe", func(t *testing.T) {
			cmd := command(t, c.args...)
			cmd.Stdout = closedPipe(t)
			finish(t, cmd).want(t, c.code, "write the result", "broken pipe")
		})
		t.Run(c.name+" to a full disk", func(t *testing.T) {
			cmd := command(t, c.args...)
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			must(t, err)
			defer func() { must(t, full.Close()) }()
			cmd.Stdout = full
			finish(t, cmd).want(t, c.code, "write the result", "no space left on device")
		})
	}
	t.Run("demo to a closed pipe", func(t *testing.T) {
		cmd := command(t, "demo", "--keep", filepath.Join(t.TempDir(), "demo"))
		cmd.Stdout = closedPipe(t)
		finish(t, cmd).want(t, exitInconclusive, "write the result", "broken pipe")
	})
	t.Run("waldump to a closed pipe", func(t *testing.T) {
		cmd := command(t, "waldump", clean.wal)
		cmd.Stdout = closedPipe(t)
		if o := finish(t, cmd); o.code != exitClean || o.stderr != "" {
			t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
		}
	})
	t.Run("waldump to head", func(t *testing.T) {
		cmd := command(t, "waldump", clean.wal)
		r, w, err := os.Pipe()
		must(t, err)
		cmd.Stdout = w
		go func() {
			_, _ = r.Read(make([]byte, 1000))
			_ = r.Close() // it has read enough
		}()
		if o := finish(t, cmd); o.code != exitClean || o.stderr != "" {
			t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
		}
		must(t, w.Close())
	})
	t.Run("page", func(t *testing.T) {
		o := redoubt(t, dirty.args("--html", filepath.Join(notADir, "x.html"))...)
		o.want(t, exitFindings, "x.html", "not a directory")
		o = redoubt(t, clean.args("--html", filepath.Join(notADir, "x.html"))...)
		o.want(t, exitInconclusive, "x.html", "not a directory")
		if v := o.verification(t); v.Verdict != finding.Clean {
			t.Errorf("%+v", v)
		}
	})
	t.Run("reports", func(t *testing.T) {
		o := redoubt(t, "run", "-c", filepath.Join(unwritable, "config.yaml"), "--format", "json", "--seed", "1")
		o.want(t, exitFindings, filepath.Dir(notADir), "redoubt report --html FILE")
		if run := parse[finding.Run](t, o.stdout); run.FinishedAt == nil || run.Verdict != finding.Findings {
			t.Errorf("%+v", run)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		file := filepath.Join(notADir, "redoubt.prom")
		redoubt(t, "run", "-c", config, "--seed", "1", "--metrics-textfile", file).want(t, exitFindings, file)
		redoubt(t, "run", "-c", config, "--seed", "1", "--pushgateway", "http://127.0.0.1:9").want(t, exitFindings, "127.0.0.1:9")
	})
}

// closedPipe is the writing end of a pipe that nobody reads.
func closedPipe(t testing.TB) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	must(t, r.Close())
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}
