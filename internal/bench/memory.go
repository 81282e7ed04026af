package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// What a process may take besides twice the memory of its pages: the garbage
// collector lets the heap double, and WAL is read ahead.
const besides = 256 << 20

// memory prints how much verify takes with little and much room for pages, each
// under a cgroup's limit that would kill it if it took more than it may.
func (l *history) memory(redoubt string, v verified) error {
	fmt.Printf("\n%-8s pages touched: %.0f MB\n", "memory", mb(v.touched*8192))
	for _, mib := range []int64{64, 256, 1024} {
		limit := 2*mib<<20 + besides
		err := within(limit, func(g *cgroup) error {
			took, err := l.verifyAs(g.command(redoubt, l.verifyArgs("--memory", fmt.Sprintf("%dMiB", mib))...))
			if err != nil {
				return fmt.Errorf("verify with --memory %dMiB: %w", mib, err)
			}
			fmt.Printf("%-8s --memory %4dMiB: %4.0f MB resident at most, limit %4.0f MB, %.2f s\n", "", mib, mb(took.rss), mb(limit), took.wall.Seconds())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// within runs fn with a cgroup of at most limit bytes, with none where there
// can be none.
func within(limit int64, fn func(*cgroup) error) error {
	group, err := limited(limit)
	if err != nil {
		fmt.Printf("%-8s NOT LIMITED: %v\n", "", err)
		group = new(cgroup)
	}
	if err := errors.Join(fn(group), group.remove()); err != nil {
		return fmt.Errorf("within %.0f MB: %w", mb(limit), err)
	}
	return nil
}

// cgroup is a memory control group, or none.
type cgroup struct{ dir string }

// limited makes a group of at most limit bytes.
func limited(limit int64) (*cgroup, error) {
	root, file := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat(root + "/memory/memory.limit_in_bytes"); err == nil {
		root, file = root+"/memory", "memory.limit_in_bytes"
	}
	dir, err := os.MkdirTemp(root, "redoubt-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0o600); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &cgroup{dir}, nil
}

// command is a program that runs in the group.
func (g *cgroup) command(program string, args ...string) *exec.Cmd {
	if g.dir == "" {
		return exec.Command(program, args...)
	}
	const enter = `echo $$ >"$0/cgroup.procs" && exec "$@"`
	return exec.Command("sh", append([]string{"-c", enter, g.dir, program}, args...)...)
}

func (g *cgroup) remove() error {
	if g.dir == "" {
		return nil
	}
	return os.Remove(g.dir)
}
