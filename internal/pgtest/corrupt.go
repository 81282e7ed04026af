package pgtest

import (
	"fmt"
	"os"
	"path/filepath"

	"redoubt/internal/pg"
)

// ReadBlock returns a block of a relation fork. path is that of the fork's
// first file, relative to the data directory dir.
func ReadBlock(t T, dir, path string, block pg.BlockNumber) []byte {
	t.Helper()
	file, off := blockPlace(dir, path, block)
	b := make([]byte, pg.BlockSize)
	f, err := os.Open(file)
	if err == nil {
		_, err = f.ReadAt(b, off)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		t.Fatalf("read block %d of %s: %v", block, path, err)
	}
	return b
}

// ChangeBlock lets change work on a block of a stopped or copied data directory
// and writes the block back. The checksum is change's own affair.
func ChangeBlock(t T, dir, path string, block pg.BlockNumber, change func(page []byte)) {
	t.Helper()
	page := ReadBlock(t, dir, path, block)
	change(page)
	file, off := blockPlace(dir, path, block)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(page, off)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		t.Fatalf("write block %d of %s: %v", block, path, err)
	}
}

// blockPlace is the file and the byte offset of a block: files after the first
// GiB are path.1, path.2, ….
func blockPlace(dir, path string, block pg.BlockNumber) (file string, off int64) {
	file = filepath.Join(dir, path)
	if seg := block / pg.BlocksPerFile; seg > 0 {
		file = fmt.Sprintf("%s.%d", file, seg)
	}
	return file, int64(block%pg.BlocksPerFile) * pg.BlockSize
}

// Truncate cuts the first file of a relation fork under the server.
func (c *Cluster) Truncate(path string, blocks int64) {
	c.t.Helper()
	c.check(os.Truncate(filepath.Join(c.Data, path), blocks*pg.BlockSize))
}

// RemoveFile removes a file of the data directory under the server.
func (c *Cluster) RemoveFile(path string) {
	c.t.Helper()
	c.check(os.Remove(filepath.Join(c.Data, path)))
}
