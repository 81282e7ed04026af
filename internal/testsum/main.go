// Command testsum runs `go test -json` with the arguments it is given and says
// what a reader wants to know: a line per package, the whole output of what
// failed, the tests that took longest, the proofs that were skipped and why, and
// a closing line
//
//	N passed, N failed, N skipped
//
// With -race it makes two passes: what a test puts off for being a proof with
// servers (internal/pgtest) runs once more without the race detector.
//
// It fails if a test or a package did and, where REDOUBT_NO_SKIP=1 is set, if
// any test was skipped; but for those that want data which may not be in the
// repository ("SKIPPED, DATA") and those of make prove ("SKIPPED, PROVE"), which
// it names loudly.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

func main() {
	s := newSummary(os.Stdout)
	args := os.Args[1:]
	err := run(args, s)
	err = errors.Join(err, s.runAll(s.secondPass(args)))
	if ok := s.close(os.Getenv("REDOUBT_NO_SKIP") == "1", err); !ok {
		os.Exit(1)
	}
}

// atOnce is how many packages' proofs run at the same time: servers leave most
// of a core idle.
const atOnce = 2

func (s *summary) runAll(runs [][]string) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	errs := make([]error, len(runs))
	for i, args := range runs {
		g.Go(func() error {
			errs[i] = run(args, s)
			return nil
		})
	}
	_ = g.Wait() // it has only nil to say
	return errors.Join(errs...)
}

// secondPass makes the arguments of the runs, one per package, for what was
// put off; packages with many such tests come first, so that they don't end last.
func (s *summary) secondPass(args []string) (runs [][]string) {
	var flags []string
	for _, a := range args {
		if a != "-race" && !strings.HasPrefix(a, "./") {
			flags = append(flags, a)
		}
	}
	for _, pkg := range slices.SortedFunc(maps.Keys(s.putOff), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(s.putOff[b]), len(s.putOff[a])), cmp.Compare(a, b))
	}) {
		names := slices.Sorted(maps.Keys(s.putOff[pkg]))
		runs = append(runs, append(slices.Clone(flags), "-run", "^("+strings.Join(names, "|")+")$", pkg))
	}
	return runs
}

func run(args []string, s *summary) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:noctx // it ends with its group at ^C
	cmd.Env = append(os.Environ(), "REDOUBT_PUT_OFF=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := s.read(out); err != nil {
		return fmt.Errorf("read go test's output: %w", err)
	}
	return cmd.Wait()
}

// read takes the stream of events, one JSON object a line.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r) // a line may be long
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			s.mu.Lock()
			s.line(line)
			s.mu.Unlock()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
