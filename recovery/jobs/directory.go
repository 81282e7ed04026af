package jobs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"redoubt/internal/fsync"
	"redoubt/internal/ledger"
)

// directory is where a timeline's data directory is made.
func (m *Manager) directory(tenant, timeline string) string {
	return filepath.Join(m.cfg.Dir, tenant, timeline)
}

func lockPath(directory string) string { return directory + ".lock" }

// running reports whether a server runs on a data directory: whether the
// process that postmaster.pid names is there.
func running(dir string) (bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find out whether a server runs on %s: %w", dir, err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid == 0 {
		return true, nil // it is being written, or is of no kind that is known
	}
	if pid < 0 {
		pid = -pid // of a standalone backend
	}
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH), nil
}

// idle refuses a directory on which a server runs.
func idle(dir string) error {
	on, err := running(dir)
	if err == nil && on {
		err = conflictf("a server runs on %s (postmaster.pid): stop it first", dir)
	}
	return err
}

// ours refuses a directory that is there and that the ledger knows nothing of:
// another server made it, with a data_dir of its own.
func ours(dir string, known bool) error {
	_, err := os.Lstat(dir)
	switch {
	case err == nil && !known:
		return conflictf("%s is there already, and this server did not make it: give another target", dir)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// remove frees a data directory: first pg_control, durably, so that no server
// starts on what is left when this is cut short, then all else. Nothing but a
// directory of the timeline's own name, below one of its tenant's, is removed;
// links are not followed.
func remove(r ledger.Recovery) error {
	dir := r.Directory
	if !filepath.IsAbs(dir) || filepath.Base(dir) != r.Timeline || filepath.Base(filepath.Dir(dir)) != r.Tenant {
		return fmt.Errorf("remove %s: it is no directory of timeline %s/%s", dir, r.Tenant, r.Timeline)
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("remove %s: it is no directory", dir)
	}
	err = os.Remove(filepath.Join(dir, "global", "pg_control"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if err := fsync.Dir(filepath.Join(dir, "global")); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return fsync.Dir(filepath.Dir(dir))
}
