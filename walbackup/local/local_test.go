package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/walbackup/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const size = 1 << 20

var id = names.ID{Tenant: "prod", Timeline: "main"}

// segment is a file of zeros behind the long header of a segment.
func segment(tli pg.TLI, n pg.SegmentNo, sysid uint64) []byte {
	return append(pgtest.SegmentHead(tli, n, size, sysid), make([]byte, size-8192)...)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, dir string, n pg.SegmentNo, suffix string) string {
	t.Helper()
	name := pg.SegmentName(1, n, size) + suffix
	write(t, filepath.Join(dir, name), segment(1, n, 7))
	return name
}

func fileNames(fs []File) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Name)
	}
	return out
}

func TestWhatIsComplete(t *testing.T) {
	dir := t.TempDir()
	two, three := put(t, dir, 2, ""), put(t, dir, 3, "")
	begun := put(t, dir, 9, ".partial")
	write(t, filepath.Join(dir, "00000002.history"), []byte("1\t0/3000\tx\n"))
	bad := map[string][]byte{
		pg.SegmentName(1, 4, size):          segment(1, 4, 8),     // another cluster
		pg.SegmentName(1, 5, size):          segment(1, 6, 7),     // recycled
		pg.SegmentName(1, 6, size):          make([]byte, size),   // nothing
		pg.SegmentName(1, 7, size):          segment(1, 7, 7)[1:], // short
		pg.SegmentName(1, 8, size):          segment(2, 8, 7),     // of a later TLI
		pg.SegmentName(1, 10, size) + ".gz": []byte("x"),
	}
	for name, data := range bad {
		write(t, filepath.Join(dir, name), data)
	}
	write(t, filepath.Join(dir, "README"), nil)
	write(t, filepath.Join(dir, "000000010000000000000100.tmp"), nil)
	if err := os.Symlink(two, filepath.Join(dir, pg.SegmentName(1, 11, size))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, pg.SegmentName(1, 12, size)), 0o700); err != nil {
		t.Fatal(err)
	}
	r := reader{dir: Dir{ID: id, Path: dir}}
	for range 2 {
		inv, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		if got := fileNames(inv.Complete); !slices.Equal(got, []string{two, three, "00000002.history"}) {
			t.Errorf("complete: %q", got)
		}
		if got := fileNames(inv.Partials); !slices.Equal(got, []string{begun}) {
			t.Errorf("partial: %q", got)
		}
		if len(inv.Refused) != len(bad)+2 || inv.SegmentSize != size || inv.SystemID != 7 {
			t.Errorf("refused %q of segments of %d bytes of %d", inv.Refused, inv.SegmentSize, inv.SystemID)
		}
	}
}

func TestFirstSegmentOfASafekeeper(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, pg.SegmentName(1, 1, size)), make([]byte, size))
	put(t, dir, 2, ".partial")
	r := reader{dir: Dir{ID: id, Path: dir}}
	if inv, err := r.read(); err != nil || len(inv.Complete) != 1 || inv.SystemID != 7 {
		t.Errorf("%+v, %v", inv, err)
	}
}

// dataDir makes what looks like a data directory.
func dataDir(t *testing.T, conf string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "global/pg_control"), nil)
	write(t, filepath.Join(dir, "postgresql.conf"), []byte(conf))
	if err := os.MkdirAll(filepath.Join(dir, "pg_wal/archive_status"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBesidePostgres(t *testing.T) {
	data := dataDir(t, "archive_mode = on")
	dir := filepath.Join(data, "pg_wal")
	one, two := put(t, dir, 1, ""), put(t, dir, 2, "")
	status := func(name string) string { return filepath.Join(dir, "archive_status", name) }
	write(t, status(one+".ready"), nil)
	write(t, status(two+".done"), nil)
	gone := pg.SegmentName(1, 3, size)
	write(t, status(gone+".ready"), nil)
	var dirs []Dir
	for _, path := range []string{dir, data} {
		src := Source{Path: path, Kind: Auto, ID: id}
		var err error
		dirs, err = src.Find(func(error) {})
		if err != nil || len(dirs) != 1 || dirs[0].DataDir != data || dirs[0].Path != dir {
			t.Fatalf("%+v, %v", dirs, err)
		}
	}
	r := reader{dir: dirs[0]}
	inv, err := r.read()
	if err != nil || !slices.Equal(fileNames(inv.Complete), []string{one}) || !slices.Equal(inv.Missing, []string{gone}) {
		t.Errorf("%+v, %v", inv, err)
	}
	for range 2 {
		if err := dirs[0].Retire(one); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(status(one + ".done")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, one)); err != nil {
		t.Errorf("the segment itself is gone: %v", err)
	}
}

// TestNothingIsRemovedFromPostgres tries every way to have a directory of
// PostgreSQL's taken for one of ours.
func TestNothingIsRemovedFromPostgres(t *testing.T) {
	data := dataDir(t, "")
	wal := filepath.Join(data, "pg_wal")
	name := put(t, wal, 1, "")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(wal, link); err != nil {
		t.Fatal(err)
	}
	// A pg_wal elsewhere, which the data directory has a link to.
	away := t.TempDir()
	put(t, away, 1, "")
	if err := os.Mkdir(filepath.Join(away, "archive_status"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{wal, link, away, wal + "/.", data} {
		src := Source{Path: path, Kind: Segments, ID: id}
		if _, err := src.Find(func(error) {}); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), "postgres") {
			t.Errorf("%s is taken: %v", path, err)
		}
		d := Dir{ID: id, Path: path}
		if err := d.Retire(name); !errors.Is(err, ErrOwned) {
			t.Errorf("removed from %s: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(wal, name)); err != nil {
		t.Error(err)
	}
	// A safekeeper's tree with a pg_wal in it.
	tree := t.TempDir()
	put(t, filepath.Join(tree, "a", "b"), 1, "")
	if err := os.MkdirAll(filepath.Join(tree, "a", "owned", "archive_status"), 0o700); err != nil {
		t.Fatal(err)
	}
	odd := 0
	src := Source{Path: tree, Kind: Tree}
	dirs, err := src.Find(func(error) { odd++ })
	if err != nil || len(dirs) != 1 || dirs[0].ID != (names.ID{Tenant: "a", Timeline: "b"}) || odd != 1 {
		t.Errorf("%+v, %d odd, %v", dirs, odd, err)
	}
	free := Dir{ID: id, Path: filepath.Join(tree, "a", "b")}
	for _, bad := range []string{"../b/" + name, "..", "", "x/../" + name} {
		if err := free.Retire(bad); err == nil && bad != "" {
			t.Errorf("retired %q", bad)
		}
	}
	for range 2 {
		if err := free.Retire(name); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(free.Path); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestAnotherArchiver(t *testing.T) {
	for _, c := range []struct {
		conf, auto, opts string
		extra            map[string]string
		want             string // in the error; empty: none
	}{
		{conf: "archive_mode = on"},
		{conf: "archive_mode=always\narchive_command = ''  # none\nARCHIVE_LIBRARY ''"},
		{conf: "archive_mode on"},
		{conf: "", want: "archive_mode"},
		{conf: "archive_mode = off", want: "archive_mode"},
		{conf: "archive_mode = on\narchive_command = 'cp %p /x'", want: "cp %p /x"},
		{conf: "archive_mode = on\narchive_command 'it''s'", want: "it's"},
		{conf: "archive_mode = on\narchive_library = basic_archive # x", want: "basic_archive"},
		{conf: "archive_mode = on\narchive_command = 'x'", auto: "archive_command = ''"},
		{conf: "archive_mode = on", auto: "archive_command = 'x'", want: "archive_command"},
		{conf: "archive_mode = off", opts: `/bin/postgres "-D" "x" "-c" "archive_mode=on"`},
		{conf: "archive_mode = on", opts: `/bin/postgres "--archive-command=/bin/true %p"`, want: "/bin/true"},
		{conf: "archive_mode = on", opts: `/bin/postgres "-carchive_library=y"`, want: `"y"`},
		{conf: "archive_mode = on\ninclude_dir 'conf.d'", extra: map[string]string{"conf.d/a.conf": "archive_command='x'", "conf.d/b.conf": "archive_command=''", "conf.d/.c.conf": "archive_command='y'"}},
		{conf: "archive_mode = on\ninclude_dir 'conf.d'", extra: map[string]string{"conf.d/a.conf": "archive_command='x'"}, want: "archive_command"},
		{conf: "archive_mode = on\ninclude 'more.conf'", extra: map[string]string{"more.conf": "archive_library='z'"}, want: "archive_library"},
		{conf: "include_if_exists 'none.conf'\narchive_mode = true"},
		{conf: "include 'none.conf'\narchive_mode = true", want: "none.conf"},
		{conf: "include 'postgresql.conf'", want: "deep"},
	} {
		data := dataDir(t, c.conf)
		for name, text := range c.extra {
			write(t, filepath.Join(data, name), []byte(text))
		}
		if c.auto != "" {
			write(t, filepath.Join(data, "postgresql.auto.conf"), []byte(c.auto))
		}
		if c.opts != "" {
			write(t, filepath.Join(data, "postmaster.opts"), []byte(c.opts+"\n"))
		}
		_, err := New([]Source{{Path: data, Kind: Postgres, ID: id}}, Options{Rescan: time.Hour})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q %q %q: %v", c.conf, c.auto, c.opts, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q %q %q: %v, want %s", c.conf, c.auto, c.opts, err, c.want)
		}
	}
	// Debian keeps the file elsewhere; the server's command line names it.
	data := dataDir(t, "")
	elsewhere := filepath.Join(t.TempDir(), "my.conf")
	write(t, elsewhere, []byte("archive_mode = on\narchive_command = 'x'"))
	if err := os.Remove(filepath.Join(data, "postgresql.conf")); err != nil {
		t.Fatal(err)
	}
	d := Dir{ID: id, DataDir: data}
	if err := d.CheckArchiver(); err == nil || !strings.Contains(err.Error(), "config_file") {
		t.Errorf("no configuration at all: %v", err)
	}
	write(t, filepath.Join(data, "postmaster.opts"), []byte(`/bin/postgres "-c" "config_file=`+elsewhere+`"`))
	if err := d.CheckArchiver(); err == nil || !strings.Contains(err.Error(), "archive_command") {
		t.Errorf("%v", err)
	}
}

// collect keeps notifications.
type collect chan Notification

func (c collect) wait(t *testing.T, what int, name string) Notification {
	t.Helper()
	for {
		select {
		case n := <-c:
			if n.What == what && (name == "" || n.File.Name == name) {
				return n
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no notification %d of %q", what, name)
		}
	}
}

func TestNotifications(t *testing.T) {
	tree := t.TempDir()
	s, err := New([]Source{{Path: tree, Kind: Tree}}, Options{Rescan: time.Hour, Quiet: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	told := make(collect, 1000)
	s.Subscribe(func(n Notification) { told <- n })
	other := make(collect, 1000)
	cancel := s.Subscribe(func(n Notification) { other <- n })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	// Until the tree itself is watched nothing is told before a rescan.
	for len(s.Timelines()) == 0 {
		path := filepath.Join(tree, "prod")
		_ = os.RemoveAll(path)
		put(t, filepath.Join(path, "main"), 1, ".partial")
		time.Sleep(20 * time.Millisecond)
	}
	told.wait(t, Appeared, "")
	other.wait(t, Appeared, "")
	cancel()
	dir := filepath.Join(tree, "prod/main")
	name := pg.SegmentName(1, 1, size)
	if err := os.Rename(filepath.Join(dir, name+".partial"), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	n := told.wait(t, Complete, name)
	if n.Range != (pg.Range{From: size, To: 2 * size}) || n.Dir.ID != id {
		t.Errorf("%+v", n)
	}
	put(t, filepath.Join(tree, "prod/other"), 5, "")
	if n := told.wait(t, Complete, pg.SegmentName(1, 5, size)); n.Dir.ID.Timeline != "other" {
		t.Errorf("%+v", n)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if n := told.wait(t, Vanished, ""); n.Dir.ID != id {
		t.Errorf("%+v", n)
	}
	if _, err := s.Inventory(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if len(other) != 0 {
		t.Error("told after the subscription ended")
	}
}

func FuzzConf(f *testing.F) {
	f.Add("archive_command = 'a''b\\'c' # x")
	f.Add("include_dir x")
	f.Fuzz(func(t *testing.T, line string) {
		name, _ := parseLine(line)
		if strings.ToLower(name) != name || strings.ContainsAny(name, " ='#") {
			t.Errorf("%q has the name %q", line, name)
		}
	})
}
