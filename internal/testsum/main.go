// Command testsum runs `go test -json` with the arguments it is given and says
// what a reader wants to know: a line per package, the whole output of what
// failed, the proofs that were skipped and why, and a closing line
//
//	N passed, N failed, N skipped
//
// It fails if a test or a package did and, where REDOUBT_NO_SKIP=1 is set, if
// any test was skipped.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	s := newSummary(os.Stdout)
	err := run(os.Args[1:], s)
	if ok := s.close(os.Getenv("REDOUBT_NO_SKIP") == "1", err); !ok {
		os.Exit(1)
	}
}

func run(args []string, s *summary) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:noctx // it ends with its group at ^C
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
			s.line(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
