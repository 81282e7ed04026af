package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"redoubt/internal/demo"
	"redoubt/internal/finding"
)

// The tests run redoubt as a process of its own: its exit code, its streams
// and its death are what is tested. The process is the test binary under
// another name (main calls os.Exit like any main).
func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"redoubt": main, "lay-out": layOut, "peak": peak, "etcd-member": etcdMember})
}

// tidy removes what the tests share.
type tidy struct{ *testing.M }

func (m tidy) Run() int {
	dir, err := os.MkdirTemp("", "redoubt-cmd-test-")
	if err != nil {
		panic(err)
	}
	shared = dir
	code := m.M.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	return code
}

var shared string // a directory for what several tests use

// fast is the test binary without the race detector, which makes redoubt eight
// times as slow: for the many runs under faults.
var fast = sync.OnceValues(func() (string, error) {
	if !raceDetector {
		return os.Executable()
	}
	path := filepath.Join(shared, "fast.test")
	out, err := exec.Command("go", "test", "-c", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build redoubt: %w\n%s", err, out)
	}
	return path, err
})

// buckets are the demo's: as unpacked, and with its faults.
type buckets struct {
	Fixture *demo.Fixture
	Write   demo.LostWrite
	Gap     demo.Removed
}

// layOut makes the buckets in pristine and planted below a directory and
// describes them on stdout. It is a command, so that it is fast.
func layOut() {
	dir := os.Args[1]
	var b buckets
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	for _, bucket := range []string{"pristine", "planted"} {
		f, err := demo.Unpack(filepath.Join(dir, bucket))
		note(err)
		b.Fixture = f
	}
	if errors.Join(errs...) == nil {
		var err error
		b.Write, err = b.Fixture.PlantLostWrite(filepath.Join(dir, "planted"))
		note(err)
		b.Gap, err = b.Fixture.RemoveSegment(filepath.Join(dir, "planted"))
		note(err)
		note(json.NewEncoder(os.Stdout).Encode(b))
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var laidOut = sync.OnceValues(func() (b buckets, err error) {
	path, err := fast()
	if err != nil {
		return b, err
	}
	c := exec.Command(path, shared)
	c.Args[0] = "lay-out"
	out, err := c.Output()
	if err != nil {
		return b, fmt.Errorf("lay out the demo's bucket: %w", err)
	}
	return b, json.Unmarshal(out, &b)
})

// pristine is the demo's bucket without faults. Nobody changes a file in it.
func pristine(t testing.TB) (bucket string) {
	t.Helper()
	_, err := laidOut()
	must(t, err)
	return filepath.Join(shared, "pristine")
}

// planted is the demo's bucket with its two faults. Nobody changes a file in it.
func planted(t testing.TB) (bucket string, p plantedFaults) {
	t.Helper()
	b, err := laidOut()
	must(t, err)
	return filepath.Join(shared, "planted"), plantedFaults{write: b.Write, gap: b.Gap}
}

// command is redoubt, to be started.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := fast()
	must(t, err)
	c := exec.CommandContext(t.Context(), path, args...)
	c.Args[0] = "redoubt"
	return c
}

// raced is redoubt with the race detector where the tests have it.
func raced(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	c := command(t, args...)
	exe, err := os.Executable()
	must(t, err)
	c.Path = exe
	return c
}

// outcome is what became of a redoubt.
type outcome struct {
	code           int
	stdout, stderr string
}

// redoubt runs to its end.
func redoubt(t testing.TB, args ...string) outcome {
	t.Helper()
	return finish(t, command(t, args...))
}

func finish(t testing.TB, c *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if c.Stdout == nil {
		c.Stdout = &stdout
	}
	c.Stderr = &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if panicked.MatchString(o.stderr + o.stdout) {
		t.Errorf("%v panicked:\n%s", c.Args, o.stderr)
	}
	return o
}

// want checks the exit code and that each of words is in what was said.
func (o outcome) want(t testing.TB, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %.2000s\nstderr: %s", o.code, code, o.stdout, o.stderr)
	}
	for _, w := range words {
		if !strings.Contains(o.stdout+o.stderr, w) {
			t.Errorf("nothing says %q\nstdout: %.20000s\nstderr: %s", w, o.stdout, o.stderr)
		}
	}
}

// parse reads stdout, which must be exactly one JSON document with known keys
// only, and what the published schema says.
func parse[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %.500q", err, text)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("something follows the JSON document: %v", err)
	}
	if name := schemaFor(v); name != "" {
		checkSchema(t, name, text)
	}
	return v
}

// verification is the JSON of a verify, without what differs from run to run.
func (o outcome) verification(t testing.TB) finding.Verification {
	t.Helper()
	v := parse[finding.Verification](t, o.stdout)
	v.Timing = finding.Timing{}
	return v
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// link copies a tree by hard links. Whoever changes a file of the copy must replace it.
func link(t testing.TB, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return os.Link(path, filepath.Join(to, rel))
	}))
}

// put replaces a file.
func put(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	must(t, os.WriteFile(path, content, 0o600))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}
