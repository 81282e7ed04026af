package basebackup

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"

	"redoubt/internal/pg/datadir"
)

// Modes of what is in a tar (PG_FILE_MODE_OWNER, PG_DIR_MODE_OWNER).
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// algorithm is PostgreSQL's default for manifests.
const algorithm = datadir.ChecksumCRC32C

// Tar is the tar being written. Files come one after the other, each with its
// size before its content; directories above them are made as they are needed.
type Tar struct {
	w    *tar.Writer
	time time.Time
	dirs map[string]bool
	sums map[string]datadir.ManifestFile
	open *member
}

func newTar(w io.Writer) *Tar {
	return &Tar{w: tar.NewWriter(w), time: time.Unix(0, 0), dirs: map[string]bool{}, sums: map[string]datadir.ManifestFile{}}
}

// SetTime says when all files from here on were modified: something that is
// the same each time that the snapshot is made.
func (t *Tar) SetTime(modified time.Time) { t.time = modified }

// member is the file being written.
type member struct {
	path string
	size int64
	left int64
	sum  hash.Hash
	tar  *Tar
}

// Write adds to the file; more than its size is an error.
func (m *member) Write(p []byte) (int, error) {
	if m.tar.open != m {
		return 0, fmt.Errorf("write %s: its turn is over", m.path)
	}
	if int64(len(p)) > m.left {
		return 0, fmt.Errorf("write %s: it has more than the %d bytes it was said to have", m.path, m.size)
	}
	n, err := m.tar.w.Write(p)
	m.left -= int64(n)
	_, _ = m.sum.Write(p[:n]) // never fails
	return n, err
}

// Dir makes a directory, with those above it.
func (t *Tar) Dir(name string) error {
	if name == "" || name == "." || t.dirs[name] {
		return nil
	}
	if err := checkPath(name); err != nil {
		return err
	}
	if err := t.end(); err != nil {
		return err
	}
	if err := t.Dir(path.Dir(name)); err != nil {
		return err
	}
	t.dirs[name] = true
	return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: dirMode, ModTime: t.time})
}

// File begins a file of size bytes; what is written goes to it until the next
// file or directory begins.
func (t *Tar) File(name string, size int64) (io.Writer, error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	if err := t.end(); err != nil {
		return nil, err
	}
	if _, twice := t.sums[name]; twice {
		return nil, fmt.Errorf("write %s: it comes twice", name)
	}
	if err := t.Dir(path.Dir(name)); err != nil {
		return nil, err
	}
	if err := t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: fileMode, ModTime: t.time}); err != nil {
		return nil, err
	}
	t.sums[name] = datadir.ManifestFile{}
	t.open = &member{path: name, size: size, left: size, sum: algorithm.New(), tar: t}
	return t.open, nil
}

// Content writes a small file.
func (t *Tar) Content(name string, content []byte) error {
	w, err := t.File(name, int64(len(content)))
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// end ends the file being written.
func (t *Tar) end() error {
	m := t.open
	if m == nil {
		return nil
	}
	t.open = nil
	if m.left > 0 {
		return fmt.Errorf("write %s: %d of its %d bytes are missing", m.path, m.left, m.size)
	}
	t.sums[m.path] = datadir.ManifestFile{Size: m.size, Algorithm: algorithm, Checksum: string(m.sum.Sum(nil))}
	return nil
}

// close ends the tar.
func (t *Tar) close() error {
	if err := t.end(); err != nil {
		return err
	}
	return t.w.Close()
}

// checkPath refuses what would lead out of the data directory.
func checkPath(name string) error {
	if name == "" || path.Clean(name) != name || strings.HasPrefix(name, "/") || name == ".." || strings.HasPrefix(name, "../") {
		return errors.New("refuse to write " + name + ": it is no path within a data directory")
	}
	return nil
}

// unlisted are files that no manifest lists (pg_verifybackup's own list).
func unlisted(name string) bool { return strings.HasPrefix(name, "pg_wal/") }
