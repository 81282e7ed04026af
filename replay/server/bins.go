package server

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/pg"
)

// Bins says in which directories the programs of PostgreSQL are.
type Bins struct {
	Dirs map[int]string // by major version
	Dir  string         // for majors that Dirs does not name; empty: where they are usually installed, and $PATH
}

// ParseBins reads directories as --pg-bin names them: "17=DIR" for one major
// version, DIR for any.
func ParseBins(values []string) (Bins, error) {
	b := Bins{Dirs: make(map[int]string)}
	for _, v := range values {
		major, dir, ok := strings.Cut(v, "=")
		n, err := strconv.Atoi(major)
		switch {
		case !ok && b.Dir != "":
			return b, fmt.Errorf("both %s and %s are given for any version: write 17=DIR for those of PostgreSQL 17", b.Dir, v)
		case !ok && v == "", ok && dir == "":
			return b, fmt.Errorf("%q names no directory", v)
		case !ok:
			b.Dir = v
		case err != nil || n < pg.MinMajor || n > pg.MaxMajor:
			return b, fmt.Errorf("%q is no major version from %d to %d; write 17=DIR", major, pg.MinMajor, pg.MaxMajor)
		case b.Dirs[n] != "":
			return b, fmt.Errorf("PostgreSQL %d is named twice", n)
		default:
			b.Dirs[n] = dir
		}
	}
	return b, nil
}

// String lists the directories as ParseBins reads them.
func (b Bins) String() string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(b.Dirs)) {
		out = append(out, fmt.Sprintf("%d=%s", n, b.Dirs[n]))
	}
	if b.Dir != "" {
		out = append(out, b.Dir)
	}
	return strings.Join(out, " ")
}

// Binary is an installed server.
type Binary struct {
	Path    string // of the program postgres
	Version string // 17.10
}

// Find looks for the server of a major version, as Run does, and whether its
// user may enter the scratch directory. Its error is an *UnavailableError.
func (c Config) Find(ctx context.Context, major int) (Binary, error) {
	acct, err := findAccount(c.User)
	if err != nil {
		return Binary{}, err
	}
	dir, err := filepath.Abs(c.withDefaults().Scratch)
	if err != nil {
		return Binary{}, err
	}
	if err := acct.mayEnter(dir); err != nil {
		return Binary{}, err
	}
	return c.Bins.find(ctx, major, acct)
}

func (b Bins) find(ctx context.Context, major int, acct account) (Binary, error) {
	if major < pg.MinMajor || major > pg.MaxMajor {
		return Binary{}, unavailable("the major version of the WAL is %d: no server of it can be run", major)
	}
	const cure = "install it, or name its directory with --pg-bin %d=DIR (configuration key pg_bin)"
	named := b.Dirs[major]
	if named == "" {
		named = b.Dir
	}
	if named != "" {
		bin, err := inspect(ctx, filepath.Join(named, "postgres"), major, acct)
		if err != nil {
			return bin, unavailable("use PostgreSQL %d in %s: %v", major, named, err)
		}
		return bin, nil
	}
	tried := []string{fmt.Sprintf("/usr/lib/postgresql/%d/bin", major), fmt.Sprintf("/usr/pgsql-%d/bin", major)}
	for _, dir := range tried {
		path := filepath.Join(dir, "postgres")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		bin, err := inspect(ctx, path, major, acct)
		if err != nil {
			return bin, unavailable("use PostgreSQL %d in %s: %v", major, dir, err)
		}
		return bin, nil
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		bin, err := inspect(ctx, path, major, acct)
		if err == nil {
			return bin, nil
		}
		tried = append(tried, fmt.Sprintf("$PATH (%v)", err))
	} else {
		tried = append(tried, "$PATH")
	}
	return Binary{}, unavailable("there is no server of PostgreSQL %d in %s: "+cure, major, strings.Join(tried, ", "), major)
}

// inspect asks a server for its version, as the user who will run it.
func inspect(ctx context.Context, path string, major int, acct account) (Binary, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Binary{}, err
	}
	if err := acct.mayEnter(filepath.Dir(path)); err != nil {
		return Binary{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.SysProcAttr, cmd.Env, cmd.Dir = acct.attr(), environment(), "/"
	out, err := cmd.Output()
	if err != nil {
		return Binary{}, fmt.Errorf("run postgres --version: %w", err)
	}
	rest, ok := strings.CutPrefix(string(out), "postgres (PostgreSQL) ")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return Binary{}, fmt.Errorf("postgres --version says %.80q", out)
	}
	if v, _, _ := strings.Cut(fields[0], "."); v != strconv.Itoa(major) {
		return Binary{}, fmt.Errorf("it is version %s, not %d", fields[0], major)
	}
	return Binary{Path: path, Version: fields[0]}, nil
}

// environment is all that a server gets to see of ours: nothing.
func environment() []string {
	return []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/local/bin:/usr/bin:/bin"}
}
