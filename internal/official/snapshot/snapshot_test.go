package snapshot

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

func TestDirectoryOfAStoppedCluster(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	s, c := mustRead(t, dir)
	want := expected(t, dir)
	delete(want, "pg_wal")
	sameFiles(t, c.files, want)
	i := s.Info()
	if !i.Known || i.Online || i.Form != Directory || i.Redo == 0 || i.Redo != i.Checkpoint || i.Consistent != i.Redo || i.StartTLI != 1 {
		t.Errorf("start: %+v", i)
	}
	if !i.HasControl || i.Major != 17 || i.CatalogVersion != 202406281 || i.SegmentSize != 4<<20 || !i.Checksums || !i.WALLogHints || !i.TrackCommitTimestamp || i.SystemIdentifier == 0 {
		t.Errorf("control: %+v", i)
	}
	if len(c.files) < 12 || s.Manifest() {
		t.Errorf("%d files, manifest %t", len(c.files), s.Manifest())
	}
	if s2, c2 := mustRead(t, "file://"+dir); s2.Info().Redo != i.Redo || len(c2.files) != len(c.files) {
		t.Error("file:// reads something else")
	}
}

func TestTarsInAllCompressions(t *testing.T) {
	dir := smallDir(t, datadir.InProduction, testLabel)
	want := expected(t, dir)
	for _, suffix := range compressions {
		t.Run(suffix, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "backup"+suffix)
			packTar(t, dir, to)
			s, err := Open(t.Context(), to, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			i, err := s.Peek(t.Context())
			if err != nil || !i.Known || !i.Online || i.Redo != 0xA00028 || i.Checkpoint != 0xA00060 || i.StartTLI != 1 || i.Form != Tar {
				t.Fatalf("peek: %+v, %v", i, err)
			}
			for range 2 { // twice: a walk leaves nothing behind
				c := newCollector()
				if err := s.Walk(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				sameFiles(t, c.files, want)
			}
			if i := s.Info(); !i.HasControl || i.Major != 17 || i.Consistent != 0 {
				t.Errorf("after the walk: %+v", i)
			}
		})
	}
}

// TestPeekStopsAtLabel: only the front of a tar that begins with its label is read.
func TestPeekStopsAtLabel(t *testing.T) {
	dir := smallDir(t, datadir.InProduction, testLabel)
	to := filepath.Join(t.TempDir(), "b.tar")
	packTar(t, dir, to, "backup_label", "PG_VERSION", "base/5/16384", "global/pg_control")
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, b[:2048])
	s, err := Open(t.Context(), to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if i, err := s.Peek(t.Context()); err != nil || i.Redo != 0xA00028 || i.HasControl {
		t.Fatalf("%+v, %v", i, err)
	}
	if err := s.Walk(t.Context(), newCollector()); err == nil {
		t.Error("the cut tar was walked")
	}
}

func TestPeekWithoutLabelFirst(t *testing.T) {
	for name, c := range map[string]struct {
		state datadir.DBState
		label string
		order []string
		redo  pg.LSN
		err   string
	}{
		"clean":             {datadir.ShutDown, "", []string{"PG_VERSION", "global/pg_control", "base/5/16384"}, 1, ""},
		"control first":     {datadir.InProduction, testLabel, []string{"global/pg_control", "PG_VERSION", "backup_label"}, 0xA00028, ""},
		"running":           {datadir.InProduction, "", []string{"global/pg_control", "PG_VERSION"}, 0, "stop the server"},
		"crashed":           {datadir.InCrashRecovery, "", []string{"global/pg_control", "PG_VERSION"}, 0, "in crash recovery"},
		"nothing":           {datadir.ShutDown, "", []string{"base/5/16384"}, 0, "no global/pg_control"},
		"stopped standby":   {datadir.ShutDownInRecovery, "", []string{"PG_VERSION", "global/pg_control"}, 1, ""},
		"incremental":       {datadir.InProduction, testLabel + "INCREMENTAL FROM LSN: 0/1000000\n", []string{"backup_label"}, 0, "pg_combinebackup"},
		"label of shutdown": {datadir.ShutDown, testLabel, []string{"backup_label", "PG_VERSION", "global/pg_control"}, 0xA00028, ""},
	} {
		to := filepath.Join(t.TempDir(), "b.tar")
		packTar(t, smallDir(t, c.state, c.label), to, c.order...)
		s, err := Open(t.Context(), to, Options{})
		if err != nil {
			t.Fatal(err)
		}
		i, err := s.Peek(t.Context())
		switch {
		case c.err == "" && (err != nil || !i.Known || c.redo > 1 && i.Redo != c.redo || i.Redo == 0):
			t.Errorf("%s: %+v, %v", name, i, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
		_ = s.Close()
	}
}

// TestLabelBehindControl: a peek that took a tar for a stopped cluster is not
// believed when a label turns up.
func TestLabelBehindControl(t *testing.T) {
	to := filepath.Join(t.TempDir(), "b.tar")
	packTar(t, smallDir(t, datadir.ShutDown, testLabel), to, "PG_VERSION", "global/pg_control", "backup_label")
	s, err := Open(t.Context(), to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if i, err := s.Peek(t.Context()); err != nil || i.Online {
		t.Fatalf("%+v, %v", i, err)
	}
	if err := s.Walk(t.Context(), newCollector()); err == nil || !strings.Contains(err.Error(), "behind pg_control") {
		t.Errorf("walk: %v", err)
	}
}

func TestStandbyBackups(t *testing.T) {
	label := strings.Replace(testLabel, "primary", "standby", 1)
	s, _ := mustRead(t, smallDir(t, datadir.InArchiveRecovery, label))
	if i := s.Info(); !i.FromStandby || i.Consistent == 0 || i.Consistent != i.Control.MinRecoveryPoint {
		t.Errorf("%+v", i)
	}
	if _, _, err := read(t, smallDir(t, datadir.InProduction, label)); err == nil {
		t.Error("a standby's label with a primary's pg_control is accepted")
	}
	s, _ = mustRead(t, smallDir(t, datadir.ShutDownInRecovery, ""))
	if i := s.Info(); i.Online || i.Consistent != i.Redo+8 {
		t.Errorf("stopped standby: %+v", i)
	}
}

func TestOpenRefuses(t *testing.T) {
	running := smallDir(t, datadir.InProduction, "")
	both := smallDir(t, datadir.ShutDown, "")
	write(t, filepath.Join(both, "base.tar"), nil)
	otherMajor := smallDir(t, datadir.ShutDown, "")
	write(t, filepath.Join(otherMajor, "PG_VERSION"), []byte("16\n"))
	noControl := smallDir(t, datadir.ShutDown, "")
	if err := os.Remove(filepath.Join(noControl, "global", "pg_control")); err != nil {
		t.Fatal(err)
	}
	twoTars := t.TempDir()
	write(t, filepath.Join(twoTars, "base.tar"), nil)
	write(t, filepath.Join(twoTars, "base.tar.gz"), nil)
	odd := filepath.Join(t.TempDir(), "b.rar")
	write(t, odd, nil)
	for loc, want := range map[string]string{
		"": "empty", running: "stop the server", both: "directories of their own", otherMajor: "not of one cluster",
		noControl: "pg_control", twoTars: "remove one", odd: ".tar.zst", t.TempDir(): "neither",
		filepath.Join(t.TempDir(), "none"): "no such file", "file://host/x": "three slashes", "ftp://x/y.tar": "unknown scheme",
	} {
		s, err := Open(t.Context(), loc, Options{})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", loc, err, want)
		}
	}
}

func TestFetch(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	locs := []string{dir}
	for _, suffix := range []string{".tar", ".tar.zst"} {
		to := filepath.Join(t.TempDir(), "b"+suffix)
		packTar(t, dir, to)
		locs = append(locs, to)
	}
	for _, loc := range locs {
		s, c := mustRead(t, loc)
		var want []pg.Block
		for b := range maps.Keys(c.pages) {
			want = append(want, b, b) // twice each: asked for twice, given once
		}
		missing := want[0]
		missing.Number = 77
		gone := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}}}
		torn := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16392}}, Number: 1}
		got := map[pg.Block]bool{}
		err := s.Fetch(t.Context(), append(want, missing, gone, torn), func(b pg.Block, page []byte) error {
			if got[b] || string(page) != string(c.pages[b]) {
				t.Errorf("%s: %s comes twice or differs", loc, b)
			}
			got[b] = true
			return nil
		})
		if err != nil || len(got) != len(c.pages) || len(got) < 7 {
			t.Errorf("%s: %d of %d blocks, %v", loc, len(got), len(c.pages), err)
		}
		if err := s.Fetch(t.Context(), want[:1], func(pg.Block, []byte) error { return errVisitor }); err != errVisitor {
			t.Errorf("%s: %v", loc, err)
		}
		if err := s.Fetch(t.Context(), nil, nil); err != nil {
			t.Errorf("%s: nothing wanted: %v", loc, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Fetch(ctx, want, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled: %v", loc, err)
		}
	}
}

// TestVisitorErrors: whichever call fails, its error ends the walk and comes back as it is.
func TestVisitorErrors(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	to := filepath.Join(t.TempDir(), "b.tar.gz")
	packTar(t, dir, to)
	for _, loc := range []string{dir, to} {
		for fail := 1; ; fail++ {
			s, err := Open(t.Context(), loc, Options{})
			if err != nil {
				t.Fatal(err)
			}
			c := newCollector()
			c.fail = fail
			err = s.Walk(t.Context(), c)
			_ = s.Close()
			if err == nil {
				if fail < 15 {
					t.Errorf("%s: only %d calls", loc, fail-1)
				}
				break
			}
			if err != errVisitor || c.calls != fail {
				t.Fatalf("%s: call %d: %v after %d calls", loc, fail, err, c.calls)
			}
		}
	}
}

func TestWalkIsCancelled(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	to := filepath.Join(t.TempDir(), "b.tar.zst")
	packTar(t, dir, to)
	for _, loc := range []string{dir, to} {
		s, err := Open(t.Context(), loc, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Walk(ctx, newCollector()); err != context.Canceled {
			t.Errorf("%s: %v", loc, err)
		}
		_ = s.Close()
	}
}

// TestDirectoryChangesMeanwhile: a server that starts between Open and Walk is noticed.
func TestDirectoryChangesMeanwhile(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b := control17(t, datadir.ShutDown)
	b[8000]++ // not even the decoded part
	write(t, filepath.Join(dir, "global", "pg_control"), b)
	if err := s.Walk(t.Context(), newCollector()); err == nil || !strings.Contains(err.Error(), "a server runs on it") {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	root := t.TempDir()
	clean := smallDir(t, datadir.ShutDown, "")
	online := smallDir(t, datadir.InProduction, testLabel)
	packTar(t, clean, filepath.Join(root, "c.tar.zst"))
	packTar(t, online, filepath.Join(root, "a.tar.gz"))
	if err := os.CopyFS(filepath.Join(root, "b"), os.DirFS(online)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "tars"), 0o700); err != nil {
		t.Fatal(err)
	}
	packTar(t, online, filepath.Join(root, "tars", "base.tar.lz4"))
	if err := os.CopyFS(filepath.Join(root, "running"), os.DirFS(smallDir(t, datadir.InProduction, ""))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "half", "backup_label"), []byte(testLabel))
	write(t, filepath.Join(root, "broken.tar"), []byte("no tar"))
	write(t, filepath.Join(root, "wal", "000000010000000000000001"), nil)
	write(t, filepath.Join(root, "notes.txt"), nil)

	list, err := List(t.Context(), root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var names, broken []string
	for _, b := range list {
		if b.Err != nil {
			broken = append(broken, b.Name)
			continue
		}
		names = append(names, b.Name)
		if s, _ := mustRead(t, b.Location); s.Info().Redo != b.Info.Redo {
			t.Errorf("%s: peeked %s, walked %s", b.Name, b.Info.Redo, s.Info().Redo)
		}
	}
	if !slices.Equal(names, []string{"a.tar.gz", "b", "tars", "c.tar.zst"}) || !slices.Equal(broken, []string{"broken.tar", "half", "running"}) {
		t.Errorf("found %v, broken %v", names, broken)
	}
	for _, loc := range []string{clean, filepath.Join(root, "tars"), filepath.Join(root, "a.tar.gz"), "file://" + root + "/b"} {
		if one, err := List(t.Context(), loc, Options{}); err != nil || len(one) != 1 || one[0].Err != nil || one[0].Location != loc {
			t.Errorf("%s: %+v, %v", loc, one, err)
		}
	}
	if _, err := List(t.Context(), filepath.Join(root, "none"), Options{}); err == nil {
		t.Error("a missing location is accepted")
	}
}
