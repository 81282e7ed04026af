package scanner

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"redoubt/internal/archive"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

const mib = 1 << 20

// fixture is real WAL of two TLIs in segments of 1 MiB, by file name: TLI 1
// with a crash, an XLOG_SWITCH and records across pages and segments, and TLI
// 2, promoted from a backup of it in the middle.
type fixture struct {
	files map[string][]byte
	one   []string // segments of TLI 1
	two   []string // of TLI 2
	fork  pg.LSN   // where TLI 2 begins
}

var (
	fixtureLock sync.Mutex
	fixtures    = map[int]*fixture{}
)

func realWAL(t *testing.T, major int) *fixture {
	t.Helper()
	fixtureLock.Lock()
	defer fixtureLock.Unlock()
	if fixtures[major] == nil {
		fixtures[major] = makeFixture(t, major)
	}
	return fixtures[major]
}

func forMajors(t *testing.T, f func(t *testing.T, f *fixture)) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { f(t, realWAL(t, major)) })
	}
}

func makeFixture(t testing.TB, major int) *fixture {
	c := pgtest.Server(t, major, pgtest.WALSegmentMiB(1), pgtest.NoArchive(), pgtest.Conf("wal_keep_size", "1GB"))
	b := c.BaseBackup(filepath.Join(t.TempDir(), "base"))
	c.Exec("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, repeat('x', i % 300) FROM generate_series(1, 4000) i")
	c.SwitchWAL()
	fork := c.LSN()
	c.Exec("UPDATE t SET v = v || 'y' WHERE id % 3 = 0")
	c.Stop(pgtest.Immediate)
	c.Start()
	c.Exec("INSERT INTO t SELECT i, repeat('z', 100) FROM generate_series(5000, 8000) i", "DELETE FROM t WHERE id < 100")
	c.Stop(pgtest.Fast)
	dir := filepath.Join(t.TempDir(), "wal")
	f := &fixture{files: map[string][]byte{}, one: c.CollectWAL(dir)}
	f.load(t, dir, f.one)

	r := c.Restore(b, dir, "wal_keep_size = 1GB", fmt.Sprintf("recovery_target_lsn = '%s'", fork))
	r.Exec("INSERT INTO t SELECT i, repeat('w', 200) FROM generate_series(10000, 14000) i")
	r.Stop(pgtest.Fast)
	dir2 := filepath.Join(t.TempDir(), "wal2")
	for _, name := range r.CollectWAL(dir2) {
		if strings.HasPrefix(name, "00000002") {
			f.two = append(f.two, name)
		}
	}
	f.load(t, dir2, f.two)
	f.load(t, filepath.Join(r.Data, "pg_wal"), []string{"00000002.history"})
	h, err := wal.ParseHistory(2, f.files["00000002.history"])
	if err != nil {
		t.Fatal(err)
	}
	f.fork = h[0].Range.To
	if len(f.one) < 5 || len(f.two) < 2 {
		t.Fatalf("segments %q and %q, too few", f.one, f.two)
	}
	return f
}

func (f *fixture) load(t testing.TB, dir string, names []string) {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		f.files[name] = data
	}
}

// all are the files of both TLIs.
func (f *fixture) all() map[string][]byte { return maps.Clone(f.files) }

// of are some of the files.
func (f *fixture) of(names ...string) map[string][]byte {
	out := map[string][]byte{}
	for _, n := range names {
		out[n] = f.files[n]
	}
	return out
}

var quick = archive.Options{Retry: archive.Retry{Attempts: 3, Wait: time.Microsecond}}

func memory(t testing.TB, files map[string][]byte) *storage.Store {
	t.Helper()
	s, err := storage.Open(context.Background(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for name, data := range files {
		storagetest.Put(t, s, name, data)
	}
	return s
}

func timeline(t testing.TB, s *storage.Store) *archive.Timeline {
	t.Helper()
	a, err := archive.Open(context.Background(), s, archive.Plain, quick)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := a.Timelines(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func scanFiles(t testing.TB, files map[string][]byte, opt Options) Result {
	t.Helper()
	return scanStore(t, memory(t, files), opt)
}

func scanStore(t testing.TB, s *storage.Store, opt Options) Result {
	t.Helper()
	r, err := Timeline(context.Background(), timeline(t, s), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// summary is a result as text, to compare.
func summary(r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d", Verdict(&r.ScanTimeline), r.Present, r.Expected)
	for _, g := range r.Gaps {
		fmt.Fprintf(&b, "; gap %s %s", g.Segments[0], pg.Range{From: g.From, To: g.To})
	}
	for _, d := range r.Damaged {
		fmt.Fprintf(&b, "; damaged %s: %s", d.Segment, d.Reason)
	}
	for _, u := range r.Unexpected {
		fmt.Fprintf(&b, "; unexpected %s", u)
	}
	for _, why := range r.Reasons {
		fmt.Fprintf(&b, "; because %s", why)
	}
	return b.String()
}

func want(t testing.TB, r Result, text string) {
	t.Helper()
	if got := summary(&r); got != text {
		t.Errorf("scan says\n  %s\nwant\n  %s", got, text)
	}
}

// wantParts is want for texts that are not known to the letter.
func wantParts(t testing.TB, r Result, parts ...string) {
	t.Helper()
	got := summary(&r)
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("scan says\n  %s\nwant %q in it", got, p)
		}
	}
}

func packed(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	return w.EncodeAll(data, nil)
}

// flip is a copy of data with a bit changed.
func flip(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 0x10
	return out
}
