package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Install is a PostgreSQL installation.
type Install struct {
	Major   int
	Version string // as `postgres --version` says it: 17.10
	Bin     string // directory of initdb and postgres
}

// Majors are the versions that there are servers of.
var Majors = []int{14, 15, 16, 17, 18}

// Thorough are the versions that a long proof runs on: two of them, or all
// where REDOUBT_PROVE=1 asks for it, as `make prove` does.
func Thorough() []int {
	if Prove() {
		return Majors
	}
	return []int{15, 17}
}

// Prove says whether proofs are to run in full, however long that takes.
func Prove() bool { return os.Getenv("REDOUBT_PROVE") == "1" }

// LeaveToProve skips a test that takes too long for every run; testsum allows that.
func LeaveToProve(t T) {
	t.Helper()
	if !Prove() {
		t.Skipf("SKIPPED, PROVE: make prove runs it")
	}
}

// Find returns the installation of a major version. Its errors name what was tried.
func Find(major int) (Install, error) {
	tried := candidates(major)
	for _, bin := range tried {
		in, err := inspect(bin, major)
		if err == nil {
			return in, nil
		}
		if bin == os.Getenv(envName(major)) {
			return Install{}, fmt.Errorf("use %s=%s: %w", envName(major), bin, err)
		}
	}
	return Install{}, fmt.Errorf("find PostgreSQL %d: not in %s; make test fetches it where npm is reached",
		major, strings.Join(tried, ", "))
}

// Builds are all installations of a major version: Find's, and others that
// differ in their minor release or in what they were built with.
func Builds(major int) []Install {
	dirs := candidates(major)
	if root, err := RepoRoot(); err == nil {
		dirs = append(dirs, filepath.Join(root, ".cache", "pg", fmt.Sprintf("debian-%d", major), "usr", "lib", "postgresql", strconv.Itoa(major), "bin"))
	}
	var all []Install
	for _, bin := range dirs {
		if in, err := inspect(bin, major); err == nil {
			all = append(all, in)
		}
	}
	return all
}

func envName(major int) string { return "REDOUBT_PG" + strconv.Itoa(major) }

func candidates(major int) []string {
	var dirs []string
	if d := os.Getenv(envName(major)); d != "" {
		dirs = append(dirs, d)
	}
	if root, err := RepoRoot(); err == nil {
		dirs = append(dirs, filepath.Join(root, ".cache", "pg", strconv.Itoa(major), "bin"))
	}
	return append(dirs, debianBin(major))
}

func debianBin(major int) string { return fmt.Sprintf("/usr/lib/postgresql/%d/bin", major) }

func inspect(bin string, major int) (Install, error) {
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return Install{}, fmt.Errorf("run postgres --version: %w", err)
	}
	if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
		return Install{}, err
	}
	fields := strings.Fields(string(bytes.TrimPrefix(out, []byte("postgres (PostgreSQL) "))))
	if len(fields) == 0 {
		return Install{}, fmt.Errorf("read version %q", out)
	}
	v, _, _ := strings.Cut(fields[0], ".")
	if got, err := strconv.Atoi(v); err != nil || got != major {
		return Install{}, fmt.Errorf("server in %s is version %s, not %d", bin, fields[0], major)
	}
	return Install{Major: major, Version: fields[0], Bin: bin}, nil
}

// RepoRoot is the directory of this module's go.mod, looked for upwards from
// the working directory, which in a test is the package's.
var RepoRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(b, []byte("module redoubt\n")) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("find go.mod of module redoubt: not above the working directory")
		}
		dir = up
	}
})

// Tool is the path of a client program or tool (psql, pgbench, pg_waldump, pg_basebackup)
// of this major version or, where that is good enough, of any (major 0). The
// proof is skipped where it is missing: the fetched servers bring no tools.
func Tool(t T, major int, name string) string {
	t.Helper()
	if p := FindTool(major, name); p != "" {
		return p
	}
	SkipProof(t, "no %s of PostgreSQL %d (0: any); Debian's postgresql packages have it", name, major)
	return ""
}

// FindTool is Tool without the verdict: an empty path where there is none.
func FindTool(major int, name string) string {
	majors := []int{major}
	if major == 0 {
		majors = []int{18, 17, 16, 15, 14}
	}
	for _, m := range majors {
		for _, dir := range candidates(m) {
			if p := filepath.Join(dir, name); executable(p) {
				return p
			}
		}
	}
	return ""
}

func executable(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}
