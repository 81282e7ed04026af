package snapshot

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// choosy is a visitor that wants some blocks of one relation file.
type choosy struct {
	nothing
	path   string
	wanted func(pg.BlockNumber) bool
	asked  func()
	got    map[pg.BlockNumber][]byte
	size   int64
}

func (c *choosy) Wants(f datadir.RelFile, first pg.BlockNumber, limit int) (int, bool) {
	if f.Path != c.path {
		return limit, false
	}
	c.asked()
	n, wanted := 1, c.wanted(first)
	for n < limit && c.wanted(first+pg.BlockNumber(n)) == wanted {
		n++
	}
	return n, wanted
}

func (c *choosy) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	for i := 0; f.Path == c.path && i < len(pages); i += pg.BlockSize {
		c.got[first+pg.BlockNumber(i/pg.BlockSize)] = bytes.Clone(pages[i : i+pg.BlockSize])
	}
	return nil
}

func (c *choosy) EndRelation(f datadir.RelFile, size int64) error {
	if f.Path == c.path {
		c.size = size
	}
	return nil
}

// TestChooser: of a local directory a walk reads what is wanted and the last
// page, all of it where there are checksums to be made; and that a file was cut
// is noticed wherever it was.
func TestChooser(t *testing.T) {
	const path, blocks = "base/5/40000", 100
	dir := smallDir(t, datadir.InProduction, testLabel)
	content := make([]byte, blocks*pg.BlockSize+100)
	for i := range content {
		content[i] = byte(i / pg.BlockSize)
	}
	file := filepath.Join(dir, path)
	write(t, file, content)
	walk := func(wanted func(pg.BlockNumber) bool, asked func()) (*choosy, error) {
		s, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		c := &choosy{path: path, wanted: wanted, asked: asked, got: map[pg.BlockNumber][]byte{}}
		return c, s.Walk(t.Context(), c)
	}
	for name, wanted := range map[string]func(pg.BlockNumber) bool{
		"none":     func(pg.BlockNumber) bool { return false },
		"all":      func(pg.BlockNumber) bool { return true },
		"some":     func(b pg.BlockNumber) bool { return b%7 == 3 || b > 40 && b < 90 },
		"the last": func(b pg.BlockNumber) bool { return b == blocks-1 },
	} {
		c, err := walk(wanted, func() {})
		if err != nil || c.size != int64(len(content)) {
			t.Fatalf("%s: %v, %d bytes", name, err, c.size)
		}
		for b := range pg.BlockNumber(blocks) {
			got, ok := c.got[b]
			if ok != wanted(b) || ok && !bytes.Equal(got, content[int(b)*pg.BlockSize:][:pg.BlockSize]) {
				t.Fatalf("%s: block %d: handed over: %t", name, b, ok)
			}
		}
	}
	none := func(pg.BlockNumber) bool { return false }
	for _, size := range []int64{0, 50 * pg.BlockSize, blocks * pg.BlockSize, int64(len(content)) - 1} {
		write(t, file, content)
		if _, err := walk(none, func() {
			if err := os.Truncate(file, size); err != nil {
				t.Fatal(err)
			}
		}); err == nil {
			t.Errorf("cut to %d bytes while nothing is wanted of it: no error", size)
		}
	}
	write(t, file, content[:blocks*pg.BlockSize])
	if c, err := walk(none, func() {}); err != nil || !slices.Equal(slices.Collect(maps.Keys(c.got)), []pg.BlockNumber{blocks - 1}) {
		t.Errorf("of a file of whole pages: %v, %d blocks", err, len(c.got))
	}
	writeManifest(t, dir, filepath.Join(dir, datadir.ManifestPath), datadir.ChecksumCRC32C)
	if c, err := walk(none, func() {}); err != nil || len(c.got) != blocks {
		t.Errorf("with a manifest: %v, %d of %d blocks", err, len(c.got), blocks)
	}
}
