package reports

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	old := []string{"run-20250101T020000Z-0a1b2c.html", "run-20250101T020000Z-0a1b2c.json"}
	stay := []string{
		"20250101T020000Z-0a1b2c.html", "note.txt", "run-20241231T020000Z-ffffff.html", "run-20250102T020000Z-0a1b2c.json",
		"run-20259999T020000Z-0a1b2c.html", "run-mine.html", "run-20250101T020000Z-0a1b2c.html.bak",
	}
	for _, name := range slices.Concat(old, stay) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "run-20200101T020000Z-abcdef.html"), 0o700); err != nil {
		t.Fatal(err)
	}
	needed := func(id string) bool { return id == "20241231T020000Z-ffffff" }
	n, err := Prune(dir, time.Date(2025, 1, 2, 2, 0, 0, 0, time.UTC), needed)
	if n != len(old) || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	for _, name := range stay {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if n, err := Prune(filepath.Join(dir, "none"), time.Now(), needed); n != 0 || err != nil {
		t.Errorf("no directory: %d, %v", n, err)
	}
}
