package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"redoubt/internal/config"
)

const (
	// leastFree is the free space below which nothing is worth starting.
	leastFree = 16 << 20
	// littleFree is the free space below which somebody should know.
	littleFree = 256 << 20
)

// Disks looks at the directories that a run writes to.
func Disks(c *config.Config) []Item {
	scratch := int64(c.Scratch.MinFree) + leastFree
	items := []Item{
		directory("data_dir", c.DataDir, leastFree, "the ledger"),
		directory("scratch.dir", c.ScratchDir(), scratch, fmt.Sprintf("pages beyond memory, with scratch.min_free %v", c.Scratch.MinFree)),
		directory("reports.dir", c.Reports.Dir, leastFree, "reports"),
	}
	if file := c.Metrics.Textfile; file != "" {
		items = append(items, textfile(file))
	}
	return items
}

// directory wants path, or the nearest directory above it that is there, to be
// writable, with so many bytes of free space.
func directory(key, path string, least int64, what string) Item {
	at, missing, err := nearest(path)
	if err != nil {
		return failed("disk", key, err, fmt.Sprintf("make %s a directory that the user who runs Redoubt can write to, or set %s to another", path, key))
	}
	if err := writable(at); err != nil {
		return failed("disk", key, err, writeCure(key, at, err))
	}
	free, err := freeSpace(at)
	if err != nil {
		return failed("disk", key, err, fmt.Sprintf("look at the file system that holds %s", at))
	}
	detail := fmt.Sprintf("%s: writable, %s free, for %s", path, humanize.IBytes(uint64(free)), what)
	if missing {
		detail = fmt.Sprintf("%s: will be made; %s above it is writable, %s free, for %s", path, at, humanize.IBytes(uint64(free)), what)
	}
	switch {
	case free < least:
		return failed("disk", key, fmt.Errorf("%s has %s free, %s are needed for %s", path, humanize.IBytes(uint64(free)), humanize.IBytes(uint64(least)), what),
			fmt.Sprintf("free some space, or set %s to a directory on another disk", key))
	case free < littleFree:
		return warning("disk", key, detail, fmt.Sprintf("free some space, or set %s to a directory on another disk", key))
	}
	return ok("disk", key, "%s", detail)
}

func writeCure(key, at string, err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Sprintf("the disk is full: free some space, or set %s to a directory on another one", key)
	case errors.Is(err, unix.EROFS):
		return fmt.Sprintf("the file system is read-only: mount it writable, or set %s to a directory on another one", key)
	}
	return fmt.Sprintf("give user id %d write permission on %s, or set %s to another directory", os.Geteuid(), at, key)
}

// nearest is path, or the nearest directory above it that exists.
func nearest(path string) (at string, missing bool, err error) {
	for at = path; ; at = filepath.Dir(at) {
		st, err := os.Stat(at)
		switch {
		case err == nil && st.IsDir():
			return at, at != path, nil
		case err == nil:
			return "", false, fmt.Errorf("%s is a file, not a directory", at)
		case !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at):
			return "", false, err
		}
	}
}

// writable tries a directory with a file of a page, which it removes.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".redoubt-check-*")
	if err != nil {
		return fmt.Errorf("%s is not writable: %w", dir, bare(err))
	}
	_, err = f.Write(make([]byte, 8192))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	if err != nil {
		return fmt.Errorf("%s cannot be written to: %w", dir, bare(err))
	}
	return nil
}

// bare is an error without the name of the file, which was ours.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// freeSpace is what an ordinary user may still write, bytes.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// textfile looks at where `redoubt run` leaves its metrics.
func textfile(path string) Item {
	const area, key = "metrics", "metrics.textfile"
	dir := filepath.Dir(path)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return failed(area, key, fmt.Errorf("the directory %s is not there", dir), "make it, or set "+key+" to a file in node_exporter's textfile directory")
	}
	if err := writable(dir); err != nil {
		return failed(area, key, err, writeCure(key, dir, err))
	}
	if filepath.Ext(path) != ".prom" {
		return warning(area, key, fmt.Sprintf("%s: node_exporter reads files named *.prom only", path), "give it a name that ends with .prom")
	}
	return ok(area, key, "%s: its directory is writable", path)
}
