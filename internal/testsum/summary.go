package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// event is what `go test -json` writes (cmd/test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Elapsed    float64
	Output     string
}

// test names a test, or with an empty name a package.
type test struct{ pkg, name string }

// summary collects events.
type summary struct {
	mu      sync.Mutex // of line, for runs at the same time
	w       io.Writer
	output  map[test][]string          // of tests and packages under way
	passed  int                        // tests and subtests
	failed  int                        // the same, and packages that fail without a test that does
	skipped []string                   // what and why
	allowed []string                   // skipped for data that is not in the repository, or for make prove
	putOff  map[string]map[string]bool // top-level tests for the second pass, by package
	proofs  int                        // how many of skipped are proofs
	failing map[string]bool            // packages with a failed test
	times   []timed                    // of top-level tests
}

type timed struct {
	test
	seconds float64
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, output: map[test][]string{}, failing: map[string]bool{}, putOff: map[string]map[string]bool{}}
}

func (s *summary) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		s.printf("%s", line) // go's own words
		return
	}
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		s.output[t] = append(s.output[t], e.Output)
	case "build-output":
		s.printf("%s", e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.packageEnd(t, e)
		} else {
			s.testEnd(t, e)
		}
		delete(s.output, t)
	}
}

func (s *summary) testEnd(t test, e event) {
	out := strings.Join(s.output[t], "")
	if !strings.Contains(t.name, "/") {
		s.times = append(s.times, timed{t, e.Elapsed})
	}
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		s.failing[t.pkg] = true
		s.printf("--- FAIL: %s %s (%.2fs)\n%s", t.pkg, t.name, e.Elapsed, out)
	case "skip":
		s.skip(t, out)
	}
}

func (s *summary) skip(t test, out string) {
	why := t.pkg + " " + t.name + ": " + reason(out)
	switch {
	case strings.Contains(out, "PUT OFF"):
		top, _, _ := strings.Cut(t.name, "/")
		if s.putOff[t.pkg] == nil {
			s.putOff[t.pkg] = map[string]bool{}
		}
		s.putOff[t.pkg][top] = true
		return
	case strings.Contains(out, "SKIPPED, DATA"), strings.Contains(out, "SKIPPED, PROVE"):
		s.allowed = append(s.allowed, why)
		return
	case strings.Contains(out, "SKIPPED PROOF"):
		s.proofs++
	}
	s.skipped = append(s.skipped, why)
}

// reason is the line that a skipped test printed, without the frame around it.
func reason(out string) string {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}

func (s *summary) packageEnd(t test, e event) {
	word := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "none"}[e.Action]
	s.printf("%s %s %.1fs\n", word, t.pkg, e.Elapsed)
	if e.Action != "fail" || s.failing[t.pkg] {
		return
	}
	// It did not build, panicked or ran out of time: whatever was said is wanted.
	s.failed++
	for u, out := range s.output {
		if u.pkg == t.pkg {
			s.printf("%s", strings.Join(out, ""))
			delete(s.output, u)
		}
	}
}

// slowest prints the tests that took longest: where to look when all takes too long.
func (s *summary) slowest(n int) {
	slices.SortFunc(s.times, func(a, b timed) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, t := range s.times[:min(n, len(s.times))] {
		if t.seconds >= 1 {
			s.printf("slow %6.1fs %s %s\n", t.seconds, t.pkg, t.name)
		}
	}
}

// close prints the end and reports whether all is well. err is how go test ended.
func (s *summary) close(noSkip bool, err error) bool {
	s.slowest(20)
	for _, line := range slices.Concat(s.allowed, s.skipped) {
		s.printf("skipped: %s\n", line)
	}
	ok := s.failed == 0
	if err != nil && ok {
		s.printf("go test: %v\n", err)
		s.failed, ok = 1, false
	}
	if noSkip && len(s.skipped) > 0 {
		s.printf("REDOUBT_NO_SKIP=1 and %d tests were skipped: that is a failure\n", len(s.skipped))
		s.failed, ok = s.failed+len(s.skipped), false
	}
	s.printf("%d skipped proofs\n%d passed, %d failed, %d skipped\n", s.proofs, s.passed, s.failed, len(s.skipped)+len(s.allowed))
	return ok && s.passed > 0
}

func (s *summary) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(s.w, format, args...) // nowhere to complain to
}
