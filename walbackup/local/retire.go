package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"redoubt/internal/fsync"
)

// Retire says of a file that is safe in the bucket that it is not needed here
// any more: in a directory of ours it is removed, in PostgreSQL's .ready
// becomes .done, so that PostgreSQL recycles the file in its own time. A file
// that is gone already is no error.
func (d *Dir) Retire(name string) error {
	if filepath.Base(name) != name {
		return fmt.Errorf("retire %q: it is no file name", name)
	}
	if d.Owned() {
		ready := filepath.Join(d.status(), name+".ready")
		if err := os.Rename(ready, filepath.Join(d.status(), name+".done")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mark %s as archived: %w", name, err)
		}
		return fsync.Dir(d.status())
	}
	if err := CheckFree(d.Path); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	path := filepath.Join(d.Path, name)
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return fsync.Dir(d.Path)
}
