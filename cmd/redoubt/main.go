// Command redoubt proves that PostgreSQL timelines can be rebuilt from their
// WAL, and that what production serves is what the WAL says.
//
// This package is the command line: it wires the rooms together and holds no
// logic of its own. One file per command.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of the contract.
const (
	exitClean        = 0
	exitFindings     = 1
	exitUsage        = 2
	exitInconclusive = 3
)

// exitError carries an exit code; without err there is nothing more to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitWith is err with an exit code, nil for nil.
func exitWith(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

func main() {
	runtime.MemProfileRate = 0 // nobody can ask for the profile that a dependency makes the runtime keep
	os.Exit(run(os.Args[1:]))
}

// isUnknown reports whether args name no command.
func isUnknown(root *cobra.Command, args []string) bool {
	cmd, _, err := root.Find(args)
	return err != nil || cmd == root
}

// run executes one command line and returns its exit code.
func run(args []string) int {
	// A reader that goes away, or a file that may not grow (ulimit -f), is an
	// error of the write, not our death: what was found must still be recorded.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C does not wait
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if len(args) > 0 && strings.HasPrefix(args[0], "archive") && isUnknown(root, args) {
		err = exitWith(exitTrouble, err) // a misspelt restore_command must not look like the end of the archive
	}
	var exit *exitError
	switch {
	case err == nil:
		return exitClean
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(os.Stderr, "redoubt:", exit.err)
		}
		return exit.code
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "redoubt: interrupted; nothing that was not finished counts")
		return exitInconclusive
	}
	fmt.Fprintln(os.Stderr, "redoubt:", err)
	return exitUsage
}
