package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// sqlTimeout is what one statement, or a few, may take: longer in the proofs, which build
// large indexes on machines that do other things as well.
var sqlTimeout = map[bool]time.Duration{false: 5 * time.Minute, true: 30 * time.Minute}[Prove()]

// How long other things may take before a test fails instead of hanging.
const (
	initTimeout  = 2 * time.Minute
	startTimeout = 3 * time.Minute // crash recovery included
	toolTimeout  = 10 * time.Minute
)

// Cluster is one PostgreSQL cluster of a test. Its methods fail the test on
// errors, except those that return one.
type Cluster struct {
	Install
	Data        string // data directory
	Archive     string // where archive_command puts segments; empty with NoArchive
	Socket      string // directory of the unix socket
	Port        int
	SegmentSize int64 // of WAL segments, bytes
	Checksums   bool

	t    T
	acct account
	dir  string // holds everything

	mu     sync.Mutex
	server *exec.Cmd     // the postmaster
	exited chan struct{} // closed once it has been waited for
}

// Server makes and starts a cluster of a major version. It ends with the test.
func Server(t T, major int, opts ...Option) *Cluster {
	t.Helper()
	later(t)
	in, err := Find(major)
	if err != nil {
		SkipProof(t, "%v", err)
	}
	return New(t, in, opts...)
}

// New is Server for an installation that was found already.
func New(t T, in Install, opts ...Option) *Cluster {
	t.Helper()
	o := options{segmentMiB: 16, checksums: true, archive: true}
	for _, f := range opts {
		f(&o)
	}
	c := &Cluster{Install: in, Port: 5432, SegmentSize: int64(o.segmentMiB) << 20, Checksums: o.checksums, t: t}
	c.check(c.place(o))
	c.check(c.initdb(o))
	c.check(c.configure(o))
	if !o.noStart {
		c.Start()
	}
	return c
}

// check fails the test on an error.
func (c *Cluster) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("PostgreSQL %s: %v", c.Version, err)
	}
}

// place makes the directories and registers the clean-up.
func (c *Cluster) place(o options) (err error) {
	if c.acct, err = serverAccount(); err != nil {
		return err
	}
	if c.Install, err = c.acct.reachable(c.Install); err != nil {
		return err
	}
	if c.dir, err = c.acct.shortDir(); err != nil {
		return err
	}
	c.t.Cleanup(c.destroy)
	c.Data, c.Socket = filepath.Join(c.dir, "data"), filepath.Join(c.dir, "s")
	dirs := []string{c.Socket}
	if o.archive {
		c.Archive = filepath.Join(c.dir, "archive")
		dirs = append(dirs, c.Archive)
	}
	for _, d := range dirs {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
		if err := c.acct.own(d); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) initdb(o options) error {
	args := []string{
		"-D", c.Data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "--encoding=UTF8",
		fmt.Sprintf("--wal-segsize=%d", o.segmentMiB),
	}
	if o.checksums {
		args = append(args, "--data-checksums")
	} else if c.Major >= 18 {
		args = append(args, "--no-data-checksums")
	}
	ctx, cancel := context.WithTimeout(context.Background(), initTimeout)
	defer cancel()
	if out, err := c.command(ctx, "initdb", append(args, o.initdb...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("run initdb: %w\n%s", err, out)
	}
	return nil
}

func (c *Cluster) configure(o options) error {
	conf := []string{
		"listen_addresses = ''",
		fmt.Sprintf("unix_socket_directories = '%s'", c.Socket),
		fmt.Sprintf("port = %d", c.Port),
		"fsync = off", "synchronous_commit = off", "max_connections = 60", "shared_buffers = 64MB",
		"autovacuum = off", "max_prepared_transactions = 20", "wal_level = replica",
		"max_wal_senders = 4", "timezone = UTC", "log_timezone = UTC", "log_checkpoints = off",
		"restart_after_crash = off",
	}
	if o.archive {
		cmd, err := c.archiveCommand(o.compress)
		if err != nil {
			return err
		}
		conf = append(conf, "archive_mode = on", "archive_command = '"+cmd+"'")
	} else {
		conf = append(conf, "archive_mode = off", "wal_keep_size = '1TB'")
	}
	conf = append(conf, o.conf...)
	return c.AppendConf(conf...)
}

// archiveCommand copies or compresses under another name first, so that the
// archive never shows half a segment. The name has the shell's process id: a
// command that outlived a crashed server may still be at the same segment.
func (c *Cluster) archiveCommand(ext string) (string, error) {
	to := c.Archive + "/%f"
	switch ext {
	case "":
		return fmt.Sprintf("cp %%p %s.$$.tmp && mv %s.$$.tmp %s", to, to, to), nil
	case "zst", "gz", "lz4":
	default:
		return "", fmt.Errorf("archive with compression %q: want zst, gz or lz4", ext)
	}
	prog := map[string]string{"zst": "zstd", "gz": "gzip", "lz4": "lz4"}[ext]
	path, err := exec.LookPath(prog)
	if err != nil {
		SkipProof(c.t, "no %s to compress the archive with", prog)
	}
	return fmt.Sprintf("%s -q -c < %%p > %s.$$.tmp && mv %s.$$.tmp %s.%s", path, to, to, to, ext), nil
}

// AppendConf adds lines to postgresql.conf; they count from the next Start or Reload.
func (c *Cluster) AppendConf(lines ...string) error {
	f, err := os.OpenFile(filepath.Join(c.Data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// command prepares one of the installation's programs as the server's user.
func (c *Cluster) command(ctx context.Context, prog string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.Bin, prog), args...)
	cmd.SysProcAttr = c.acct.attr()
	cmd.Dir = c.dir
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + c.Bin + ":/usr/local/bin:/usr/bin:/bin"}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Dir is a new directory beside the data directory that the server may write
// to, for tablespaces and the like. It is removed with the cluster.
func (c *Cluster) Dir(name string) string {
	c.t.Helper()
	d := filepath.Join(c.dir, name)
	c.check(os.Mkdir(d, 0o700))
	c.check(c.acct.own(d))
	return d
}

// destroy ends the server and removes the cluster; a failed test gets the
// server's last words.
func (c *Cluster) destroy() {
	if c.t.Failed() {
		c.t.Logf("last lines of the server's log:\n%s", c.LogTail(30))
	}
	c.Kill()
	if err := os.RemoveAll(c.dir); err != nil {
		c.t.Logf("remove %s: %v", c.dir, err)
	}
}

// LogTail is the last n lines of the server's log.
func (c *Cluster) LogTail(n int) string {
	b, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
