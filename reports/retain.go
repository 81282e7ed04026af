package reports

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// runFile is the name that WriteRun gives a run's files: the run's id begins
// with the time at which it started, in UTC.
var runFile = regexp.MustCompile(`^run-((\d{8}T\d{6}Z)-[0-9a-f]+)\.(html|json)$`)

// Prune removes the files of runs that started before a time, but for those to
// be kept, and returns how many. Other files are none of its business.
func Prune(dir string, before time.Time, keep func(id string) bool) (removed int, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("remove old reports: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name := runFile.FindStringSubmatch(e.Name())
		if name == nil || !e.Type().IsRegular() || keep(name[1]) {
			continue
		}
		started, err := time.Parse("20060102T150405Z", name[2])
		if err != nil || !started.Before(before) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove old report: %w", err))
			continue
		}
		removed++
	}
	return removed, errors.Join(errs...)
}
