package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg/datadir"
)

// memTree is a tree in memory whose reads can be made to fail. It counts what
// is open, so that tests see whether all was closed.
type memTree struct {
	files map[string][]byte
	ops   int // lists, opens and reads so far
	fail  int // the operation that fails, 0 for none
	loose int // opened and not closed
}

var errFault = errors.New("injected fault")

func (t *memTree) op() error {
	if t.ops++; t.ops == t.fail {
		return errFault
	}
	return nil
}

func (t *memTree) close() error { return nil }

func (t *memTree) sub(dir string) (tree, error) {
	s := &memTree{files: map[string][]byte{}}
	for p, b := range t.files {
		if r, ok := strings.CutPrefix(p, dir+"/"); ok {
			s.files[r] = b
		}
	}
	return s, nil
}

func (t *memTree) list(_ context.Context, dir string) ([]entry, error) {
	if err := t.op(); err != nil {
		return nil, err
	}
	found := map[string]entry{}
	for p, b := range t.files {
		r, ok := strings.CutPrefix(p, dir+"/")
		if dir == "" {
			r, ok = p, true
		}
		name, _, below := strings.Cut(r, "/")
		switch {
		case ok && below:
			found[name] = entry{name: name, kind: folder}
		case ok:
			found[name] = entry{name: name, size: int64(len(b))}
		}
	}
	var out []entry
	for _, e := range found {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func (t *memTree) open(_ context.Context, name string, offset int64) (io.ReadCloser, error) {
	if err := t.op(); err != nil {
		return nil, err
	}
	b, ok := t.files[name]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	t.loose++
	return &memFile{t: t, r: bytes.NewReader(b[min(offset, int64(len(b))):])}, nil
}

type memFile struct {
	t      *memTree
	r      *bytes.Reader
	closed bool
}

func (f *memFile) Read(p []byte) (int, error) {
	if err := f.t.op(); err != nil {
		return 0, err
	}
	return f.r.Read(p[:min(len(p), 40000)]) // short reads are legal
}

func (f *memFile) Close() error {
	if !f.closed {
		f.closed = true
		f.t.loose--
	}
	return nil
}

// readMem opens and walks what is in t, and checks that everything was closed.
func readMem(tb testing.TB, t *memTree, name string) (*Snapshot, *collector, error) {
	tb.Helper()
	s, err := openTree(tb.Context(), t, name, "memory", &Options{})
	c := newCollector()
	if err == nil {
		err = s.Walk(tb.Context(), c)
	}
	if t.loose != 0 {
		tb.Errorf("%d files left open", t.loose)
	}
	return s, c, err
}

// load reads a directory into memory.
func load(tb testing.TB, dir string) *memTree {
	tb.Helper()
	t := &memTree{files: map[string][]byte{}}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		r, _ := filepath.Rel(dir, p)
		t.files[r], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// tarDir puts a small backup with one tablespace into memory, as pg_basebackup's tar format has it.
func tarDir(t testing.TB, suffix string) *memTree {
	t.Helper()
	dir := smallDir(t, datadir.InProduction, testLabel)
	write(t, filepath.Join(dir, "tablespace_map"), []byte("16385 /srv/space\n"))
	space := t.TempDir()
	write(t, filepath.Join(space, "PG_17_202406281", "5", "30000"), make([]byte, 8192))
	out := t.TempDir()
	packTar(t, dir, filepath.Join(out, "base"+suffix))
	packTar(t, space, filepath.Join(out, "16385"+suffix))
	write(t, filepath.Join(out, "pg_wal.tar"), []byte("not looked at"))
	both := load(t, dir)
	both.files["pg_tblspc/16385/PG_17_202406281/5/30000"] = make([]byte, 8192)
	all := t.TempDir()
	for p, b := range both.files {
		write(t, filepath.Join(all, p), b)
	}
	writeManifest(t, all, filepath.Join(out, "backup_manifest"), datadir.ChecksumSHA256)
	return load(t, out)
}

// TestFaults fails the i-th operation for i = 1, 2, … until all goes well: each
// fault is the error that comes back, and nothing stays open.
func TestFaults(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	writeManifest(t, dir, filepath.Join(dir, "backup_manifest"), datadir.ChecksumCRC32C)
	trees := map[string]func() *memTree{"directory": func() *memTree { return load(t, dir) }}
	for _, suffix := range []string{".tar", ".tar.gz", ".tar.zst", ".tar.lz4"} {
		trees[suffix] = func() *memTree { return tarDir(t, suffix) }
	}
	for name, makeTree := range trees {
		files := makeTree().files
		_, whole, err := readMem(t, &memTree{files: files}, "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for fail := 1; ; fail++ {
			m := &memTree{files: files, fail: fail}
			_, c, err := readMem(t, m, "")
			if m.ops < fail {
				sameFiles(t, c.files, whole.files)
				if fail < 8 || err != nil {
					t.Errorf("%s: %d operations, %v", name, fail-1, err)
				}
				break
			}
			if !errors.Is(err, errFault) {
				t.Fatalf("%s: operation %d failed, and the error is %v", name, fail, err)
			}
		}
	}
}

func TestTarDirectory(t *testing.T) {
	for _, suffix := range []string{".tar", ".tar.gz", ".tar.zst", ".tar.lz4"} {
		m := tarDir(t, suffix)
		s, c, err := readMem(t, m, "")
		if err != nil || len(s.Problems()) != 0 || !s.Manifest() {
			t.Fatalf("%s: %v, %v, manifest %t", suffix, err, s.Problems(), s.Manifest())
		}
		i := s.Info()
		if i.Form != TarDirectory || i.EndLSN != 0xA00100 || len(i.Tablespaces) != 1 || c.files["pg_tblspc/16385/PG_17_202406281/5/30000"] == nil {
			t.Errorf("%s: %+v", suffix, i)
		}
		var names []string
		for name := range m.files {
			names = append(names, name)
		}
		slices.Sort(names) // 16385, backup_manifest, base, pg_wal
		lost := &memTree{files: map[string][]byte{names[2]: m.files[names[2]]}}
		if _, _, err := readMem(t, lost, ""); err == nil || !strings.Contains(err.Error(), "put 16385.tar beside base.tar") {
			t.Errorf("%s: a lost tablespace: %v", suffix, err)
		}
		foreign := &memTree{files: map[string][]byte{names[2]: m.files[names[2]], names[0]: m.files[names[0]], "16400" + suffix: m.files[names[0]]}}
		if _, _, err := readMem(t, foreign, ""); err == nil || !strings.Contains(err.Error(), "of another backup") {
			t.Errorf("%s: a foreign tablespace: %v", suffix, err)
		}
	}
}
