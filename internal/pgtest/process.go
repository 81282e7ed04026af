package pgtest

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
	"time"

	"github.com/jackc/pgx/v5"
)

// Start starts the server and waits until it takes connections; after a crash
// that includes recovery.
func (c *Cluster) Start() {
	c.t.Helper()
	c.check(c.TryStart())
}

// TryStart is Start for a server that may refuse: its log is in the error.
func (c *Cluster) TryStart() error { return c.start() }

// StartWith is Start with arguments for the server.
func (c *Cluster) StartWith(args ...string) {
	c.t.Helper()
	c.check(c.start(args...))
}

func (c *Cluster) start(args ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return errors.New("start server: it runs")
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := c.command(context.Background(), "postgres", append([]string{"-D", c.Data}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	c.server, c.exited = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // how it ended is in its log
		close(done)
	}(c.exited)
	if err := c.awaitReady(); err != nil {
		c.kill()
		return fmt.Errorf("start server: %w\n%s", err, c.LogTail(20))
	}
	return nil
}

func (c *Cluster) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.exited:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it takes no connections: %w", err)
		case <-tick.C:
		}
	}
}

// StopMode is a mode of shutdown.
type StopMode syscall.Signal

// The modes: Fast writes a shutdown checkpoint, Immediate does not, so that
// the next Start recovers from a crash.
const (
	Fast      = StopMode(syscall.SIGINT)
	Immediate = StopMode(syscall.SIGQUIT)
)

// Stop ends the server and waits until it has.
func (c *Cluster) Stop(mode StopMode) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return
	}
	c.check(c.server.Process.Signal(syscall.Signal(mode)))
	select {
	case <-c.exited:
		c.server = nil
	case <-time.After(startTimeout):
		c.kill()
		c.t.Fatalf("PostgreSQL %s: stop server: still there after %s\n%s", c.Version, startTimeout, c.LogTail(20))
	}
}

// Restart is a Stop with Start behind it.
func (c *Cluster) Restart(mode StopMode) {
	c.t.Helper()
	c.Stop(mode)
	c.Start()
}

// Running reports whether the server was started and has not ended.
func (c *Cluster) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return false
	}
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// Kill ends the postmaster and all its children with SIGKILL, as a power cut
// would, except that the operating system's cache survives.
func (c *Cluster) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kill()
}

func (c *Cluster) kill() {
	if c.server == nil {
		return
	}
	pid := c.server.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // no new children while we look
	killed := children(pid)
	for _, child := range killed {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = c.server.Process.Kill()
	<-c.exited
	c.server = nil
	// A child that is not quite gone still holds the shared memory, and the next start would refuse.
	for _, child := range killed {
		for deadline := time.Now().Add(10 * time.Second); alive(child) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
}

// children are the processes whose parent is pid.
func children(pid int) []int {
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		n, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if _, parent := processState(n); parent == strconv.Itoa(pid) {
			found = append(found, n)
		}
	}
	return found
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	state, _ := processState(pid)
	return state != "" && state != "Z" && state != "X"
}

// processState reads state and parent from /proc/N/stat: "N (name) S parent …".
func processState(pid int) (state, parent string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "" // it has ended
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	if f := strings.Fields(rest); len(f) > 1 {
		return f[0], f[1]
	}
	return "", ""
}

// Run runs a client program or tool with the cluster's connection in its
// environment (PGHOST, PGPORT, PGUSER, PGDATABASE) and returns its output.
func (c *Cluster) Run(path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "PGHOST="+c.Socket, "PGPORT="+strconv.Itoa(c.Port), "PGUSER=postgres", "PGDATABASE=postgres")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run %s %s: %w\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Psql runs SQL with psql, for scripts that need its commands; it skips the
// proof where there is no psql.
func (c *Cluster) Psql(sql string) string {
	c.t.Helper()
	out, err := c.Run(Tool(c.t, 0, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql)
	c.check(err)
	return strings.TrimSuffix(out, "\n")
}

// Pgbench runs pgbench with these arguments; it skips the proof where there is none.
func (c *Cluster) Pgbench(args ...string) string {
	c.t.Helper()
	out, err := c.Run(Tool(c.t, 0, "pgbench"), args...)
	c.check(err)
	return out
}
