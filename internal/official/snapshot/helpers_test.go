package snapshot

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"go.uber.org/goleak"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector is a visitor that keeps everything, by path, and checks the order of calls.
type collector struct {
	files map[string][]byte
	next  map[string]pg.BlockNumber
	pages map[pg.Block][]byte
	calls int
	fail  int // the call that fails, 0 for none
}

func newCollector() *collector {
	return &collector{files: map[string][]byte{}, next: map[string]pg.BlockNumber{}, pages: map[pg.Block][]byte{}}
}

var errVisitor = fmt.Errorf("the visitor's own error")

func (c *collector) called() error {
	if c.calls++; c.calls == c.fail {
		return errVisitor
	}
	return nil
}

func (c *collector) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	want, ok := c.next[f.Path]
	if !ok {
		want = pg.BlockNumber(f.Segment) * pg.BlocksPerFile
	}
	if first != want || len(pages) == 0 || len(pages)%pg.BlockSize != 0 || len(pages) > chunk {
		return fmt.Errorf("%s: blocks from %d, %d bytes; want from %d", f.Path, first, len(pages), want)
	}
	for i := 0; i < len(pages); i += pg.BlockSize {
		if !f.Temp {
			c.pages[pg.Block{RelFork: f.RelFork, Number: first}] = bytes.Clone(pages[i : i+pg.BlockSize])
		}
		first++
	}
	c.next[f.Path] = first
	c.files[f.Path] = append(c.files[f.Path], pages...)
	return c.called()
}

func (c *collector) EndRelation(f datadir.RelFile, size int64) error {
	if whole := size / pg.BlockSize * pg.BlockSize; whole != int64(len(c.files[f.Path])) {
		return fmt.Errorf("%s: ends after %d of %d bytes", f.Path, len(c.files[f.Path]), size)
	}
	if c.files[f.Path] == nil {
		c.files[f.Path] = []byte{}
	}
	c.next[f.Path+" ended"]++
	return c.called()
}

func (c *collector) File(path string, content []byte) error {
	if _, twice := c.files[path]; twice {
		return fmt.Errorf("%s comes twice", path)
	}
	c.files[path] = content
	return c.called()
}

// expected reads a data directory without the package under test: what Walk
// must deliver of it.
func expected(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	var walk func(at, rel string)
	walk = func(at, rel string) {
		list, err := os.ReadDir(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			p, r := filepath.Join(at, d.Name()), join(rel, d.Name())
			st, err := os.Stat(p) // through links: those of tablespaces
			if err != nil {
				t.Fatal(err)
			}
			if st.IsDir() {
				walk(p, r)
				continue
			}
			c := datadir.Classify(r)
			if c.Class == datadir.Ignored || c.Class == datadir.BackupManifest {
				continue
			}
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if c.Class == datadir.Relation {
				b = b[:len(b)/pg.BlockSize*pg.BlockSize]
			}
			out[r] = b
		}
	}
	walk(dir, "")
	return out
}

// sameFiles compares what was delivered with what was expected.
func sameFiles(t testing.TB, got, want map[string][]byte) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[path]
		if !ok {
			t.Errorf("%s was not delivered", path)
		} else if !bytes.Equal(g, want[path]) {
			t.Errorf("%s: %d bytes delivered differ from %d", path, len(g), len(want[path]))
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s was delivered and should not be", path)
		}
	}
}

// read opens, walks and closes a snapshot.
func read(t testing.TB, loc string) (*Snapshot, *collector, error) {
	t.Helper()
	s, err := Open(t.Context(), loc, Options{})
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { _ = s.Close() })
	c := newCollector()
	return s, c, s.Walk(t.Context(), c)
}

// mustRead is read that must succeed without problems.
func mustRead(t testing.TB, loc string) (*Snapshot, *collector) {
	t.Helper()
	s, c, err := read(t, loc)
	if err != nil {
		t.Fatalf("%s: %v", loc, err)
	}
	for _, p := range s.Problems() {
		t.Errorf("%s: problem: %s", loc, p)
	}
	return s, c
}

// packTar writes a directory as a tar with a compression, entries sorted, or
// in the given order of paths if there is one.
func packTar(t testing.TB, dir, to string, order ...string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if order == nil {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if r, rerr := filepath.Rel(dir, p); err == nil && rerr == nil && r != "." {
				order = append(order, r)
			}
			return err
		})
	}
	for _, r := range order {
		addTar(t, w, filepath.Join(dir, r), r)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, compress(t, b.Bytes(), to), 0o600); err != nil {
		t.Fatal(err)
	}
}

func addTar(t testing.TB, w *tar.Writer, p, name string) {
	t.Helper()
	st, err := os.Lstat(p)
	if err != nil {
		t.Fatal(err)
	}
	target := ""
	if st.Mode()&fs.ModeSymlink != 0 {
		target, _ = os.Readlink(p)
	}
	h, err := tar.FileInfoHeader(st, target)
	if err != nil {
		t.Fatal(err)
	}
	h.Name = name
	if st.IsDir() {
		h.Name += "/"
	}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if !st.Mode().IsRegular() {
		return
	}
	b, err := os.ReadFile(p)
	if err == nil {
		_, err = w.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// compress packs as the suffix of a name says, with the real tool if it is there.
func compress(t testing.TB, b []byte, name string) []byte {
	t.Helper()
	ext := filepath.Ext(name)
	if ext == ".tar" {
		return b
	}
	var out bytes.Buffer
	tool := map[string][]string{".gz": {"gzip", "-1"}, ".zst": {"zstd", "-1"}, ".lz4": {"lz4", "-1"}, ".bz2": {"bzip2", "-1"}}[ext]
	if _, err := exec.LookPath(tool[0]); err == nil && len(b) > 1<<20 {
		cmd := exec.Command(tool[0], append(tool[1:], "-c")...)
		cmd.Stdin, cmd.Stdout = bytes.NewReader(b), &out
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	return compressGo(t, b, ext)
}

func compressGo(t testing.TB, b []byte, ext string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch ext {
	case ".gz":
		w = gzip.NewWriter(&out)
	case ".zst":
		w, _ = zstd.NewWriter(&out)
	case ".lz4":
		l := lz4.NewWriter(&out)
		_ = l.Apply(lz4.BlockSizeOption(lz4.Block64Kb))
		w = l
	case ".bz2":
		cmd := exec.Command("bzip2", "-1")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(b), &out
		if err := cmd.Run(); err != nil {
			t.Skipf("no bzip2: %v", err)
		}
		return out.Bytes()
	default:
		t.Fatalf("unknown suffix %s", ext)
	}
	_, err := w.Write(b)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// control17 is a pg_control of PostgreSQL 17 in the given state.
func control17(t testing.TB, state datadir.DBState) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "pg", "datadir", "testdata", "control", "17.bin"))
	if err != nil {
		t.Fatal(err)
	}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	end := 16
	for crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		end += 4
	}
	binary.LittleEndian.PutUint32(b[16:], uint32(state))
	copy(b[40:48], b[32:40]) // redo of a shutdown checkpoint is the checkpoint itself
	if state == datadir.ShutDownInRecovery || state == datadir.InArchiveRecovery {
		copy(b[minRecoveryAt:minRecoveryAt+8], b[40:48])
		b[minRecoveryAt] += 8
	}
	binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return append(b, make([]byte, 8192-len(b))...)
}

// minRecoveryAt is the offset of minRecoveryPoint in pg_control of 17.
const minRecoveryAt = 136

const testLabel = `START WAL LOCATION: 0/A00028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/A00060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-01-02 03:04:05 UTC
LABEL: test
START TIMELINE: 1
`

// smallDir makes a small directory that looks like a cluster of 17: one that
// was shut down or, with a label, an online backup.
func smallDir(t testing.TB, state datadir.DBState, label string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	r := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	files := map[string][]byte{
		"PG_VERSION": []byte("17\n"), "global/pg_control": control17(t, state), "global/1262": noise(8192),
		"base/5/PG_VERSION": []byte("17\n"), "base/5/16384": noise(3 * 8192), "base/5/16384_vm": make([]byte, 8192),
		"base/5/16390": {}, "base/5/t3_16391": noise(8192), "base/5/16392": noise(8192 + 100), "base/5/16384.1": noise(8192),
		"pg_xact/0000": make([]byte, 8192), "pg_multixact/offsets/0000": noise(8192), "pg_multixact/members/0000": noise(8192),
		"postgresql.conf": []byte("port = 1\n"), "pg_wal/000000010000000000000001": noise(100), "base/5/pg_internal.init": noise(10),
		"pg_stat_tmp/x": noise(5), "base/pgsql_tmp/pgsql_tmp1.0": noise(9),
	}
	if label != "" {
		files["backup_label"] = []byte(label)
	}
	for p, b := range files {
		write(t, filepath.Join(dir, p), b)
	}
	return dir
}

func write(t testing.TB, p string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeManifest puts a backup_manifest of version 1 for all files of dir to path.
func writeManifest(t testing.TB, dir, path string, a datadir.ChecksumAlgorithm) {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		r, _ := filepath.Rel(dir, p)
		if exempt(r) {
			return nil
		}
		b, err := os.ReadFile(p)
		sum := ""
		if h := a.New(); h != nil {
			_, _ = h.Write(b)
			sum = fmt.Sprintf(`, "Checksum-Algorithm": "%s", "Checksum": "%x"`, a, h.Sum(nil))
		}
		lines = append(lines, fmt.Sprintf(`{ "Path": "%s", "Size": %d, "Last-Modified": "x"%s }`, r, len(b), sum))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	body := "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n" + strings.Join(lines, ",\n") +
		"\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/A00028\", \"End-LSN\": \"0/A00100\" }\n],\n"
	sum := sha256.Sum256([]byte(body))
	write(t, path, []byte(body+`"Manifest-Checksum": "`+hex.EncodeToString(sum[:])+"\"}\n"))
}

var compressions = []string{".tar", ".tar.gz", ".tar.zst", ".tar.lz4", ".tar.bz2"}
