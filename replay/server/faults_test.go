package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
)

// helperEnv makes the test binary a process that replays and waits to be killed.
const helperEnv = "REDOUBT_TEST_SERVER_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		helper()
		return
	}
	goleak.VerifyTestMain(m)
}

// short is a history of a few records.
func short(t *testing.T, major int, opts ...pgtest.Option) *world {
	t.Helper()
	return history(t, major, func(c *pgtest.Cluster) {
		c.Exec("CREATE TABLE s (id int, v text)", "INSERT INTO s SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i")
	}, opts...)
}

func (w *world) end(t *testing.T) pg.LSN {
	t.Helper()
	return w.ends(t, 1)[0]
}

func (w *world) span(to pg.LSN) Span {
	return Span{Range: pg.Range{From: w.start, To: to}, Major: w.major}
}

// leftNothing checks that no process works in the scratch directory and no file is left in it.
func leftNothing(t *testing.T, scratch string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		left, err := os.ReadDir(scratch)
		pids := workingIn(scratch)
		if err == nil && len(left) == 0 && len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: files %v (%v), processes %v", left, err, pids)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// workingIn are the processes whose working directory is below dir.
func workingIn(dir string) (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir+"/") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(l))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// TestFaults: whatever is in the way, the error says so and nothing is left.
func TestFaults(t *testing.T) {
	w := short(t, 17)
	end := w.end(t)
	limit := func(what string) func(error) bool {
		return func(err error) bool {
			var l *LimitError
			return errors.As(err, &l) && l.What == what && l.Limit != ""
		}
	}
	none := func(words string) func(error) bool {
		return func(err error) bool {
			var u *UnavailableError
			return errors.As(err, &u) && strings.Contains(err.Error(), words)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   func(error) bool
	}{
		{"disk, base too large", func(c *Config) { c.Disk = 8 << 20 }, limit("disk")},
		{"disk, grown by recovery", func(c *Config) { c.Disk = 0; c.Disk = w.copied(t, end) + 256<<10 }, limit("disk")},
		{"disk, floor", func(c *Config) { c.MinFree = 1 << 60 }, limit("disk")},
		{"memory", func(c *Config) { c.Memory = 24 << 20 }, limit("memory")},
		{"time", func(c *Config) { c.Time = 100 * time.Millisecond }, limit("time")},
		{"no binary", func(c *Config) { c.Bins = Bins{Dir: w.cluster.Dir("empty")} }, none("postgres --version")},
		{"another major", func(c *Config) { c.Bins = Bins{Dirs: map[int]string{17: "/usr/lib/postgresql/15/bin"}} }, none("")},
		{"no user", func(c *Config) { c.User = "no-such-user" }, none("no-such-user")},
		{"library that is not there", func(c *Config) { c.Libraries = []string{"no_such_library"} }, none("no_such_library")},
		{"library with a quote", func(c *Config) { c.Libraries = []string{"a'\nb"} }, none("no name of a library")},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := w.config()
			c.change(&cfg)
			res, err := Run(context.Background(), cfg, w.wal, w.base, w.span(end))
			if err == nil {
				t.Errorf("no error; failed %v\n%s", res.Failed, res.Log)
				must(t, res.Close())
			} else if !c.want(err) {
				t.Errorf("unexpected error: %v", err)
			}
			t.Log(err)
			leftNothing(t, w.scratch)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			awaitServer(w.scratch)
			cancel()
		}()
		_, err := Run(ctx, w.config(), w.wal, w.base, w.span(end))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		leftNothing(t, w.scratch)
	})
	t.Run("killed", func(t *testing.T) {
		go func() {
			for _, pid := range awaitServer(w.scratch) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}()
		_, err := Run(context.Background(), w.config(), w.wal, w.base, w.span(end))
		if err == nil || !strings.Contains(err.Error(), "ended from outside") {
			t.Errorf("error %v", err)
		}
		leftNothing(t, w.scratch)
	})
}

// copied is about how much a server's directory holds before it starts.
func (w *world) copied(t *testing.T, to pg.LSN) int64 {
	t.Helper()
	d := newDump()
	must(t, w.base.Walk(context.Background(), d))
	n := int64(0)
	for _, b := range d.rels {
		n += int64(len(b))
	}
	seg := w.wal.SegmentSize()
	return n + int64(pg.SegmentOf(to, seg)-pg.SegmentOf(w.start, seg)+1)*seg
}

// awaitServer waits until a server works below dir and names its processes.
func awaitServer(dir string) []int {
	for range 2000 {
		if pids := workingIn(dir); len(pids) > 0 {
			return pids
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// TestBrokenWAL: WAL that ends early is an error that says where; a record
// that no server redoes is data, with the record.
func TestBrokenWAL(t *testing.T) {
	w := short(t, 15)
	end := w.end(t)
	if _, err := Run(context.Background(), w.config(), w.wal, w.base, w.span(end+1<<30)); err == nil || !strings.Contains(err.Error(), "copy WAL") {
		t.Errorf("WAL that ends early: %v", err)
	}
	least := w.config()
	least.Memory = 256 << 20
	res, err := Run(context.Background(), least, w.wal, w.base, w.span(end))
	must(t, err)
	if res.Failed != nil {
		t.Errorf("with the least memory: %v\n%s", res.Failed, res.Log)
	}
	must(t, res.Close())
	res, err = Run(context.Background(), w.config(), w.wal, w.base, w.span(w.start+8))
	must(t, err)
	if res.Failed == nil || !strings.Contains(res.Failed.Error(), "WAL ends before end of online backup") {
		t.Errorf("up to before the base is consistent: %v\n%s", res.Failed, res.Log)
	}
	if err := res.Walk(context.Background(), newDump()); err == nil {
		t.Error("what a failed server left can be read")
	}
	must(t, res.Close())
	leftNothing(t, w.scratch)
}

// TestKilledRedoubt: a replay whose own process is killed leaves no server,
// and the next one removes its directory.
func TestKilledRedoubt(t *testing.T) {
	w := short(t, 17)
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "-test.run=^$")
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join([]string{
		w.cluster.Bin, w.scratch, w.dirs[0], w.dirs[1], w.start.String(), w.end(t).String()}, "\n"))
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	if len(awaitServer(w.scratch)) == 0 {
		t.Fatal("no server was started")
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	deadline := time.Now().Add(30 * time.Second)
	for len(workingIn(w.scratch)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("processes %v live on", workingIn(w.scratch))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if left, _ := os.ReadDir(w.scratch); len(left) != 1 {
		t.Errorf("after the kill: %v, want the server's directory", left)
	}
	sweep(w.scratch)
	leftNothing(t, w.scratch)
}

// helper replays as helperEnv says, over and over until it is killed.
func helper() {
	arg := strings.Split(os.Getenv(helperEnv), "\n")
	w := &world{major: 17, bins: Bins{Dir: arg[0]}, scratch: arg[1]}
	t := &testing.T{}
	w.open(t, arg[2], arg[3])
	w.start, _ = pg.ParseLSN(arg[4])
	to, _ := pg.ParseLSN(arg[5])
	for {
		res, err := Run(context.Background(), w.config(), w.wal, w.base, w.span(to))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = res.Close()
	}
}

// TestHostileBase: of a base's configuration, signal files, links and odd
// files nothing reaches the server.
func TestHostileBase(t *testing.T) {
	w := short(t, 17)
	end := w.end(t)
	dir := w.dirs[0]
	proof := filepath.Join(w.cluster.Dir("proof"), "touched")
	must(t, os.Chmod(filepath.Dir(proof), 0o777))
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		must(t, os.Chmod(filepath.Join(dir, name), mode))
	}
	evil := "shared_preload_libraries = 'nope'\narchive_mode = on\narchive_command = 'touch " + proof + "'\nrestore_command = 'touch " + proof +
		"'\nssl = on\nlisten_addresses = '*'\nport = 1\nrecovery_end_command = 'touch " + proof + "'\n"
	write("postgresql.auto.conf", evil, 0o600)
	write("postgresql.conf", evil+"include_dir = '/etc'\n", 0o600)
	write("pg_hba.conf", "host all all all trust\n", 0o600)
	write("standby.signal", "", 0o600)
	write("promote.signal", "", 0o600)
	write("pg_stat/evil", "#!/bin/sh\ntouch "+proof+"\n", 0o4755|os.ModeSetuid)
	must(t, unix.Mkfifo(filepath.Join(dir, "pg_stat/fifo"), 0o600))
	must(t, os.Symlink("/etc", filepath.Join(dir, "pg_logical/snapshots/out")))
	w.base = openBase(t, dir)
	res := w.serve(t, end)
	if _, err := os.Stat(proof); err == nil {
		t.Error("a command of the base was run")
	}
	for _, name := range []string{"postgresql.auto.conf", "standby.signal", "promote.signal", "pg_stat/evil", "pg_stat/fifo", "pg_logical/snapshots/out"} {
		if _, err := os.Lstat(filepath.Join(res.dir.path, dataDir, name)); err == nil && name != "postgresql.auto.conf" {
			t.Errorf("%s got into the server's directory", name)
		}
	}
	conf, err := os.ReadFile(filepath.Join(res.dir.path, dataDir, "postgresql.conf"))
	must(t, err)
	if strings.Contains(string(conf), proof) || !strings.Contains(string(conf), "listen_addresses = ''") {
		t.Errorf("the server's configuration is\n%s", conf)
	}
	// In the place of a relation a link or a pipe is refused.
	for want, make := range map[string]func(path string) error{
		"symbolic link":  func(path string) error { return os.Symlink("/etc/passwd", path) },
		"neither a file": func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		path := filepath.Join(dir, "base/5/77777")
		must(t, make(path))
		s, err := snapshot.Open(context.Background(), dir, snapshot.Options{})
		if err == nil {
			_, err = Run(context.Background(), w.config(), w.wal, s, w.span(end))
			must(t, s.Close())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a relation that is a %s: %v", want, err)
		}
		must(t, os.Remove(path))
	}
}

// TestNamesOfFiles: a visitor's paths decide nothing; names are made of numbers.
func TestNamesOfFiles(t *testing.T) {
	dir, err := newScratch(Config{Scratch: t.TempDir()}.withDefaults(), account{})
	must(t, err)
	defer func() { must(t, dir.close()) }()
	b := &baseWriter{dir: dir, major: 17}
	rel := pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 16400, DB: 5, Rel: 16384}}
	for _, p := range []string{"../../../../etc/x", "pg_tblspc/16400/../../../../x/5/16384", "/etc/passwd", "pg_tblspc/16400/PG_17_202406281/5/16384"} {
		must(t, b.Blocks(datadir.RelFile{RelFork: rel, Path: p}, 0, make([]byte, pg.BlockSize)))
		must(t, b.EndRelation(datadir.RelFile{RelFork: rel, Path: p}, pg.BlockSize))
		rel.Rel++
	}
	for _, p := range []string{"../../evil", "postgresql.auto.conf", "pg_hba.conf", "recovery.signal", "pg_wal/000000010000000000000001", "pg_xact/../../evil"} {
		must(t, b.File(p, []byte("x")))
	}
	for _, name := range []string{"postgresql.auto.conf", "pg_hba.conf", "recovery.signal", "pg_wal/000000010000000000000001", "../evil", "../../evil"} {
		if _, err := os.Lstat(filepath.Join(dir.path, dataDir, name)); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if link, err := os.Readlink(filepath.Join(dir.path, dataDir, "pg_tblspc/16400")); err != nil || link != "../../tblspc/16400" {
		t.Errorf("link to the tablespace: %q, %v", link, err)
	}
}
