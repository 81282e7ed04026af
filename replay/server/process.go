package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running server.
type process struct {
	cfg  Config
	bin  Binary
	acct account
	dir  *scratch // what is watched
	data string   // the data directory
	args []string // settings that overrule those of the directory
	cmd  *exec.Cmd
}

const (
	stopPatience = 20 * time.Second // for an immediate shutdown, before the processes are killed
	endPatience  = 30 * time.Second // between the postmaster's end and that of all its children
)

// run starts the server, stops it when it has recovered and promoted itself,
// and returns what it said. Its error is that of a limit, of the context, or
// that the server ended in a way that says nothing about base and WAL.
func (p *process) run(ctx context.Context) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out := &output{promoted: make(chan struct{})}
	p.cmd = p.command()
	p.cmd.Stderr, p.cmd.Stdout = w, w
	p.cmd.SysProcAttr, p.cmd.Env, p.cmd.Dir = p.acct.attr(), environment(), p.data
	exited, err := p.start()
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	read := make(chan struct{}) // closed when no process of the server has the pipe open any more
	go func() {
		defer close(read)
		out.read(r)
	}()
	limit := p.await(ctx, out, exited)
	if !ended(read, endPatience) {
		p.killChildren()
		ended(read, endPatience)
	}
	if err := r.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return nil, err
	}
	<-read
	p.forget()
	if limit != nil {
		return out, limit
	}
	return out, p.judge(out)
}

// command is the server under its limits: they hold for it and its children,
// from the first instruction on. No process of it leaves a core, which would
// hold pages.
func (p *process) command() *exec.Cmd {
	limits := fmt.Sprintf(`ulimit -c 0 && ulimit -v %d && exec "$0" "$@"`, p.cfg.Memory>>10)
	args := append([]string{"-c", limits, p.bin.Path, "-D", p.data}, p.args...)
	return exec.Command("/bin/sh", args...) //nolint:noctx // it is stopped in its own way
}

// start starts the server from a thread that lives as long as the server:
// the kernel sends Pdeathsig when the thread ends that started a process.
func (p *process) start() (exited chan struct{}, err error) {
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- p.cmd.Start()
		if p.cmd.Process != nil {
			_ = p.cmd.Wait() // its state says how it ended
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the server %s: %w", p.bin.Path, err)
	}
	return exited, nil
}

// await waits for the server's end, which it brings about: a clean stop when
// it has promoted itself, an immediate one at a limit. It returns the limit.
func (p *process) await(ctx context.Context, out *output, exited chan struct{}) error {
	watch := newDiskWatch(p.dir)
	defer watch.stop()
	promoted := out.promoted
	for {
		select {
		case <-exited:
			return p.dir.within()
		case <-promoted:
			promoted = nil
			_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown, with a checkpoint
		case err := <-watch.full:
			p.stop(exited)
			return err
		case <-ctx.Done():
			p.stop(exited)
			return context.Cause(ctx)
		}
	}
}

// stop ends the server at once.
func (p *process) stop(exited chan struct{}) {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	if ended(exited, stopPatience) {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // no new children while we look
	p.killChildren()
	_ = p.cmd.Process.Kill()
	<-exited
}

func ended(c chan struct{}, patience time.Duration) bool {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// killChildren kills the processes that work in the server's data directory:
// children of a postmaster are in sessions of their own, in no group with it.
func (p *process) killChildren() {
	cwds, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range cwds {
		to, err := os.Readlink(link)
		pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err == nil && perr == nil && to == p.data && pid != p.cmd.Process.Pid && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// forget removes the shared memory segment that a killed postmaster leaves;
// postmaster.pid names it (CreateDataDirLockFile, AddToDataDirLockFile,
// utils/init/miscinit.c: line 7 holds its key and id).
func (p *process) forget() {
	f, err := os.OpenInRoot(p.data, "postmaster.pid")
	if err != nil {
		return // it is gone, as it should be
	}
	defer func() { _ = f.Close() }()
	b, _ := io.ReadAll(io.LimitReader(f, 4096))
	lines := strings.Split(string(b), "\n")
	if len(lines) < 7 {
		return
	}
	fields := strings.Fields(lines[6])
	if len(fields) != 2 {
		return
	}
	if id, err := strconv.Atoi(fields[1]); err == nil {
		p.removeSegment(id)
	}
}

// removeSegment removes a System V shared memory segment, if it is the
// server's user's and nobody uses it.
func (p *process) removeSegment(id int) {
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err == nil && d.Perm.Uid == p.acct.uid && d.Nattch == 0 {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
}

// judge says whether the end of a server that met no limit of ours says
// anything about base and WAL.
func (p *process) judge(out *output) error {
	if kind := out.resource(); kind != nil {
		kind.Limit = map[string]string{"memory": bytesText(p.cfg.Memory), "disk": "the disk"}[kind.What]
		return kind
	}
	state := p.cmd.ProcessState
	ws, _ := state.Sys().(syscall.WaitStatus)
	switch {
	case ws.Signaled():
		return fmt.Errorf("the server was ended from outside (%s)", ws.Signal())
	case out.killed != "":
		return fmt.Errorf("the server was ended from outside: %s", out.killed)
	case state.ExitCode() != 0 && !out.started:
		return unavailable("the server %s does not start: %s", p.bin.Path, out.lastWords())
	case state.ExitCode() != 0 && out.fatal == "" && out.crash == "":
		return fmt.Errorf("the server ended with exit code %d: %s", state.ExitCode(), out.lastWords())
	}
	return nil
}
