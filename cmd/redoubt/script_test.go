package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script. A script has a copy of the demo's bucket,
// without faults, in bucket/, and the command
//
//	exits CODE redoubt ARGS...
func TestScripts(t *testing.T) {
	bucket := pristine(t)
	binary, err := fast()
	must(t, err)
	bin := withRedoubt(t, binary)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ACME", "bucket/acme/main")
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return os.CopyFS(filepath.Join(env.WorkDir, "bucket"), os.DirFS(bucket))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command that must end with the exit code given.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	if said := ts.ReadFile("stderr") + ts.ReadFile("stdout"); panicked.MatchString(said) {
		ts.Fatalf("it panicked")
	}
}

// panicked recognises the last words of a Go program.
var panicked = regexp.MustCompile(`panic: |fatal error: |goroutine \d+ \[|WARNING: DATA RACE`)
