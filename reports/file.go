package reports

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"redoubt/internal/finding"
)

// WriteFile writes a file whole or not at all: make's output goes to a
// temporary file beside it that is synced, closed and renamed. The file is
// readable by its owner only (0600), for it speaks of customers' data.
func WriteFile(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*") // 0600
	if err != nil {
		return fmt.Errorf("write report %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()           // the first error is the one to tell
			_ = os.Remove(f.Name()) // best effort: the name says that it is temporary
		}
	}()
	if err := write(f); err != nil {
		return fmt.Errorf("write report %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync report %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close report %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("put report %s in place: %w", path, err)
	}
	return syncDir(dir)
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// WriteRun writes the HTML and the JSON of a run into dir, which it makes if
// it must (0700), as run-ID.html and run-ID.json. It returns the path of the page.
func WriteRun(dir string, in Report) (string, error) {
	if !fileID(in.Run.ID) {
		return "", fmt.Errorf("write report: run id %q is no file name; want letters, digits, '-', '_' and '.'", in.Run.ID)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make report directory: %w", err)
	}
	base := filepath.Join(dir, "run-"+in.Run.ID)
	if err := WriteFile(base+".json", func(w io.Writer) error { return JSON[finding.Run](w, in.Run) }); err != nil {
		return "", err
	}
	return base + ".html", WriteFile(base+".html", func(w io.Writer) error { return HTML(w, in) })
}

// fileID reports whether an id may be a part of a file's name.
func fileID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for _, c := range []byte(id) {
		ok := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.'
		if !ok {
			return false
		}
	}
	return true
}
