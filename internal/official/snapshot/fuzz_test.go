package snapshot

import (
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/pg/datadir"
)

// FuzzTar reads hostile tars: nothing panics, nothing stays open, and what is
// read as whole has the marker of its end.
func FuzzTar(f *testing.F) {
	to := filepath.Join(f.TempDir(), "b.tar")
	control := whole(f)
	handmade(f, to, append(control, regular("base/5/16384", 8192), regular("pg_xact/0000", 8192))...)
	b, err := os.ReadFile(to)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1024])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, c, err := readMem(t, &memTree{files: map[string][]byte{"b.tar": b}}, "b.tar")
		if err == nil && (len(b) < 1024 || !allZero(b[len(b)-1024:]) || c.files[datadir.ControlPath] == nil) {
			t.Fatal("read as whole")
		}
	})
}

// FuzzCompressed reads hostile compressed streams of each kind.
func FuzzCompressed(f *testing.F) {
	to := filepath.Join(f.TempDir(), "b.tar")
	handmade(f, to, whole(f)...)
	plain, err := os.ReadFile(to)
	if err != nil {
		f.Fatal(err)
	}
	for i, suffix := range []string{".tar.gz", ".tar.zst", ".tar.lz4"} {
		f.Add(byte(i), compress(f, plain, suffix))
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		name := "b" + []string{".tar.gz", ".tar.zst", ".tar.lz4", ".tar.bz2"}[kind%4]
		_, c, err := readMem(t, &memTree{files: map[string][]byte{name: b}}, name)
		if err == nil && c.files[datadir.ControlPath] == nil {
			t.Fatal("read as whole")
		}
	})
}
