package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"redoubt/internal/config"
)

// want checks an item's status, and that each of words is in it.
func want(t *testing.T, i Item, s Status, words ...string) {
	t.Helper()
	if i.Status != s {
		t.Errorf("status %s, want %s: %+v", i.Status, s, i)
	}
	if (i.Cure == "") != (i.Status == OK) {
		t.Errorf("a cure belongs to what is not well, and only to that: %+v", i)
	}
	for _, w := range words {
		if !strings.Contains(i.Detail+" "+i.Cure, w) {
			t.Errorf("nothing says %q: %+v", w, i)
		}
	}
}

func TestDisks(t *testing.T) {
	dir := t.TempDir()
	c := config.Default()
	c.DataDir, c.Scratch.MinFree = filepath.Join(dir, "data"), 0
	c.Reports.Dir, c.Metrics.Textfile = dir, filepath.Join(dir, "redoubt.prom")
	items := Disks(&c)
	if len(items) != 4 {
		t.Fatalf("%+v", items)
	}
	want(t, items[0], OK, "will be made", dir)
	want(t, items[1], OK, "scratch", "will be made")
	want(t, items[2], OK, "writable")
	want(t, items[3], OK, "redoubt.prom")
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	c.Scratch.MinFree = 1 << 40
	want(t, Disks(&c)[1], Failed, "are needed", "scratch.min_free 1TiB", "set scratch.dir to a directory on another disk")
	c.Metrics.Textfile = filepath.Join(dir, "redoubt.txt")
	want(t, Disks(&c)[3], Warning, "*.prom")
	c.Metrics.Textfile = filepath.Join(dir, "none", "redoubt.prom")
	want(t, Disks(&c)[3], Failed, "none", "make it")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.DataDir = filepath.Join(file, "data")
	want(t, Disks(&c)[0], Failed, "not a directory", "set data_dir to another")
}

// TestFullDisk wants a full and a nearly full disk told from a good one.
func TestFullDisk(t *testing.T) {
	for size, words := range map[int][]string{
		32 << 10: {"no space left", "the disk is full", "data_dir"},
		8 << 20:  {"8.0 MiB free", "16 MiB are needed"},
	} {
		dir := t.TempDir()
		if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Skipf("mount tmpfs: %v", err)
		}
		if size < 1<<20 {
			_ = os.WriteFile(filepath.Join(dir, "fill"), make([]byte, size), 0o600) // until it is full
		}
		want(t, directory("data_dir", dir, leastFree, "the ledger"), Failed, words...)
		if _, err := os.Stat(filepath.Join(dir, "fill")); size > 1<<20 && err == nil {
			t.Error("the test's own file is there")
		}
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
}

func TestCgroupLimit(t *testing.T) {
	root := t.TempDir()
	put := func(group, limit string) {
		t.Helper()
		dir := filepath.Join(root, group)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(limit+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "4294967296")
	put("a/b", "max")
	put("a/b/c", "8589934592")
	own := filepath.Join(root, "own")
	for text, want := range map[string]uint64{"0::/a/b/c\n": 4 << 30, "0::/\n": 0, "5:memory:/a\n": 0, "0::/../../etc\n": 0, "": 0} {
		if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, found := cgroupLimit(own, root); got != want || found != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", text, got, found, want)
		}
	}
}
