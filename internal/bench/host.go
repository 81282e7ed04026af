package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// failure ends the program by a panic that run recovers.
type failure struct{ error }

// host is what a test would be to package pgtest.
type host struct {
	cleanups []func()
	failed   bool
}

func (h *host) Helper()          {}
func (h *host) Name() string     { return "bench" }
func (h *host) Failed() bool     { return h.failed }
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *host) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (h *host) Fatalf(format string, args ...any) {
	h.failed = true
	panic(failure{fmt.Errorf(format, args...)})
}

func (h *host) Skipf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// TempDir makes a directory that goes with the cleanups. Its path is short
// enough for a socket in it.
func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "redoubt-bench")
	if err != nil {
		h.Fatalf("make directory: %v", err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// undo runs the cleanups down to the first n, the last one first.
func (h *host) undo(n int) {
	for len(h.cleanups) > n {
		last := len(h.cleanups) - 1
		f := h.cleanups[last]
		h.cleanups = h.cleanups[:last]
		f()
	}
}

// recovered turns a failure that was recovered back into an error.
func recovered(p any) error {
	if p == nil {
		return nil
	}
	if f, ok := p.(failure); ok {
		return f
	}
	panic(p)
}

func serverVersion(bin string) (string, error) {
	out, err := exec.Command(bin+"/postgres", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("run postgres --version: %w", err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "postgres (PostgreSQL) ")), nil
}

// machine says where the figures come from.
func machine(version string) string {
	return fmt.Sprintf("%d cores (%s), %s %s/%s, PostgreSQL %s\n%s",
		runtime.NumCPU(), cpu(), runtime.Version(), runtime.GOOS, runtime.GOARCH, version, load())
}

func cpu() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, "\t :\n")
		}
	}
	return "unknown"
}

// load says how busy the machine is: figures of a busy one are worth less.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) > 2 {
		return fmt.Sprintf("load average: %s, %s, %s", f[0], f[1], f[2])
	}
	return "load average: not known"
}
