package main

import (
	"fmt"
	"os"
)

// failure ends the program by a panic that makeFixture recovers.
type failure struct{ error }

// host is what a test would be to package pgtest.
type host struct {
	cleanups []func()
	failed   bool
}

func (h *host) Helper()          {}
func (h *host) Name() string     { return "makefixture" }
func (h *host) Failed() bool     { return h.failed }
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *host) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (h *host) Fatalf(format string, args ...any) {
	h.failed = true
	panic(failure{fmt.Errorf(format, args...)})
}

func (h *host) Skipf(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}

// close runs the cleanups, the last one first.
func (h *host) close() {
	for len(h.cleanups) > 0 {
		last := len(h.cleanups) - 1
		f := h.cleanups[last]
		h.cleanups = h.cleanups[:last]
		f()
	}
}
