package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/recovery"
	"redoubt/replay"
)

// kept is how the directory of a durable point is opened.
func kept(ctx context.Context, path string) (recovery.Kept, error) {
	s, err := snapshot.Open(ctx, path, snapshot.Options{})
	if err != nil {
		return nil, err
	}
	return keptSide{side{s}}, nil
}

type keptSide struct{ side }

func (s keptSide) Problems() (out []string) {
	for _, p := range s.side.Problems() {
		out = append(out, p.String())
	}
	return out
}

// files is the content of all files below a directory, and its empty directories.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, p)
		must(t, err)
		if d.IsDir() {
			out[name] = "directory"
			return nil
		}
		b, err := os.ReadFile(p)
		out[name] = string(b)
		return err
	}))
	return out
}

// sameFiles wants two directories to hold the same.
func sameFiles(t testing.TB, a, b map[string]string) {
	t.Helper()
	b = maps.Clone(b)
	for name := range a {
		if _, there := b[name]; !there {
			t.Errorf("%s is missing", name)
		} else if a[name] != b[name] {
			t.Errorf("%s differs", name)
		}
		delete(b, name)
	}
	for name := range b {
		t.Errorf("%s is too much", name)
	}
}

// readings notes what is read of the WAL, and whether the base is.
type readings struct {
	recovery.Base
	replay.WALSource
	lowest pg.LSN
	walks  int
}

func (r *readings) Walk(ctx context.Context, v datadir.Visitor) error {
	r.walks++
	return r.Base.Walk(ctx, v)
}

func (r *readings) Open(ctx context.Context, from pg.LSN) (replay.WALStream, error) {
	if r.lowest == 0 || from < r.lowest {
		r.lowest = from
	}
	return r.WALSource.Open(ctx, from)
}

// stopAt recovers until the n-th durable point is there, and says where it is.
func stopAt(t *testing.T, cfg recovery.Config, dir string, n int) (at pg.LSN) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	points := 0
	cfg.Reached = func(lsn pg.LSN) {
		if points++; points == n {
			at = lsn
			cancel()
		}
	}
	if _, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: dir, Open: kept}); !errors.Is(err, context.Canceled) {
		t.Fatalf("there were %d durable points, want %d: %v", points, n, err)
	}
	unfinished(t, dir)
	return at
}

// durable proves that a recovery goes on from its durable points, and makes
// what an undisturbed one makes.
func durable(t *testing.T, w *small) {
	ctx := context.Background()
	dir := t.TempDir()
	config := func() recovery.Config {
		cfg := w.config(t)
		cfg.Every = 1
		return cfg
	}
	whole := filepath.Join(dir, "whole")
	rep, err := recovery.ToDirectory(ctx, w.config(t), recovery.Directory{Path: whole})
	must(t, err)

	stopped := filepath.Join(dir, "stopped")
	first := stopAt(t, config(), stopped, 1)
	left := filepath.Join(dir, "left")
	linked(t, stopped, left)
	second := stopAt(t, config(), stopped, 1) // goes on, to the next one
	if first <= rep.Start || second <= first || second >= rep.Redo {
		t.Fatalf("durable points at %s and %s, the way is %s to %s", first, second, rep.Start, rep.Redo)
	}
	cfg := config()
	seen := &readings{Base: cfg.Base, WALSource: cfg.WAL}
	cfg.Base, cfg.WAL = seen, seen
	got, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: stopped, Open: kept})
	must(t, err)
	if got.Resumed != second || seen.walks > 0 || seen.lowest < second/pg.BlockSize*pg.BlockSize || got.Start != rep.Start || got.BlocksReplayed < rep.BlocksReplayed {
		t.Errorf("resumed from %s with WAL from %s and the base read %d times, want %s, from there, and never: %+v", got.Resumed, seen.lowest, seen.walks, second, got)
	}
	sameFiles(t, files(t, whole), files(t, stopped))
	t.Logf("%s to %s: stopped at %s and %s, then %s to %s was read of the WAL, and not the base", rep.Start, rep.Redo, first, second, seen.lowest, rep.End)

	for name, damage := range damages(t, left) {
		t.Run("after "+name, func(t *testing.T) {
			d := filepath.Join(t.TempDir(), "data")
			linked(t, left, d)
			damage(filepath.Join(d, point(t, d)), d)
			anew(t, config(), d)
		})
	}
	t.Run("damaged under way", func(t *testing.T) { damagedUnderWay(t, config, left, whole) })
}

// point is the name of the durable point in a directory: that of the next one,
// which is not finished, stands beside it.
func point(t testing.TB, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "redoubt-durable.json"))
	must(t, err)
	name := regexp.MustCompile(`redoubt-durable-[0-9A-F]{16}`).FindString(string(b))
	if name == "" {
		t.Fatalf("no durable point in %s", b)
	}
	return name
}

// damages are what may befall a durable point and what names it.
func damages(t *testing.T, left string) map[string]func(point, dir string) {
	pick := func(has string) string { // a file with something in it
		found, err := filepath.Glob(filepath.Join(left, point(t, left), has))
		must(t, err)
		i := slices.IndexFunc(found, func(p string) bool { st, err := os.Stat(p); return err == nil && st.Size() > 8192 })
		if i < 0 {
			t.Fatalf("no file %s in %v", has, found)
		}
		name, err := filepath.Rel(filepath.Join(left, point(t, left)), found[i])
		must(t, err)
		return name
	}
	relation := pick("base/5/*")
	if strings.Contains(relation, "filenode") {
		t.Fatal(relation)
	}
	replace := func(name string, change func([]byte) []byte) { // the file has other names, which stay as they are
		b, err := os.ReadFile(name)
		must(t, err)
		must(t, os.Remove(name))
		must(t, os.WriteFile(name, change(b), 0o600))
	}
	inPoint := func(name string, change func([]byte) []byte) func(string, string) {
		return func(p, _ string) { replace(filepath.Join(p, name), change) }
	}
	inName := func(change func([]byte) []byte) func(string, string) {
		return func(_, d string) { replace(filepath.Join(d, "redoubt-durable.json"), change) }
	}
	flip := func(at int) func([]byte) []byte { return func(b []byte) []byte { b[at] ^= 1; return b } }
	cutAt := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	return map[string]func(point, dir string){
		"a changed page":         inPoint(relation, flip(100)),
		"a changed status":       inPoint("pg_xact/0000", flip(10)),
		"a changed map":          inPoint("global/pg_filenode.map", flip(30)),
		"a changed control file": inPoint(datadir.ControlPath, flip(40)),
		"a changed manifest":     inPoint(datadir.ManifestPath, flip(200)),
		"a changed version":      inPoint("PG_VERSION", func([]byte) []byte { return []byte("16\n") }),
		"a truncated relation":   inPoint(relation, cutAt(8192)),
		"a longer relation":      inPoint(relation, func(b []byte) []byte { return append(b, make([]byte, 8192)...) }),
		"a missing relation":     func(p, _ string) { must(t, os.Remove(filepath.Join(p, relation))) },
		"a missing status":       func(p, _ string) { must(t, os.Remove(filepath.Join(p, "pg_xact/0000"))) },
		"a missing manifest":     func(p, _ string) { must(t, os.Remove(filepath.Join(p, datadir.ManifestPath))) },
		"a missing control file": func(p, _ string) { must(t, os.Remove(filepath.Join(p, datadir.ControlPath))) },
		"a relation too much": func(p, _ string) {
			must(t, os.WriteFile(filepath.Join(p, "base/5/99999"), make([]byte, 8192), 0o600))
		},
		"a missing point":  func(p, _ string) { must(t, os.RemoveAll(p)) },
		"a changed name":   inName(flip(60)),
		"a truncated name": inName(cutAt(100)),
		"a missing name":   func(_, d string) { must(t, os.Remove(filepath.Join(d, "redoubt-durable.json"))) },
		"a point of another past": inName(func(b []byte) []byte {
			b, err := recovery.OfOtherHistory(b)
			must(t, err)
			return b
		}),
	}
}

// linked is a copy of a directory whose files are those of the original.
func linked(t *testing.T, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, p)
		must(t, err)
		if d.IsDir() {
			return os.Mkdir(filepath.Join(to, name), 0o700)
		}
		return os.Link(p, filepath.Join(to, name))
	}))
}

// anew wants a recovery not to go on with what is there.
func anew(t *testing.T, cfg recovery.Config, dir string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	walked := &readings{Base: cfg.Base}
	cfg.Base = walked
	cfg.Resumed = func(at pg.LSN) { t.Errorf("it goes on from %s", at) }
	cfg.Stage = func(stage string, _, _ int64) {
		if stage == "read base" {
			cancel()
		}
	}
	if _, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: dir, Open: kept}); !errors.Is(err, context.Canceled) || walked.walks != 1 {
		t.Errorf("%v, the base was read %d times", err, walked.walks)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "redoubt-durable.json")); err != nil || len(found) > 0 {
		t.Errorf("there is %v still: %v", found, err)
	}
}

// damagedUnderWay damages a durable point after it was found to be whole: the
// recovery fails, and the next one begins anew.
func damagedUnderWay(t *testing.T, config func() recovery.Config, left, whole string) {
	ctx := context.Background()
	d := filepath.Join(t.TempDir(), "data")
	linked(t, left, d)
	cfg := config()
	cfg.Resumed = func(pg.LSN) {
		name := filepath.Join(d, point(t, d), "pg_xact", "0000")
		b, err := os.ReadFile(name)
		must(t, err)
		must(t, os.Remove(name))
		must(t, os.WriteFile(name, append(bytes.Clone(b[:20]), b[21:]...), 0o600))
	}
	if _, err := recovery.ToDirectory(ctx, cfg, recovery.Directory{Path: d, Open: kept}); err == nil {
		t.Error("a durable point that is damaged was recovered from")
	}
	unfinished(t, d)
	rep, err := recovery.ToDirectory(ctx, config(), recovery.Directory{Path: d, Open: kept})
	must(t, err)
	if rep.Resumed != 0 {
		t.Errorf("it went on from %s", rep.Resumed)
	}
	sameFiles(t, files(t, whole), files(t, d))
}
