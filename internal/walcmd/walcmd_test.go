package walcmd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/compress"
	"redoubt/internal/demo"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// realSegments are of one PostgreSQL 17, the fixture's first timeline whose
// segments are not compressed.
var realSegments = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "redoubt-walcmd-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fixture, err := demo.Unpack(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, tl := range fixture.Timelines {
		for i := 0; !tl.CompressWAL && len(files) < 6 && i < len(tl.Segments); i++ {
			name := tl.Segments[i]
			if files[name], err = os.ReadFile(filepath.Join(dir, tl.Tenant, tl.Timeline, "wal", name)); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
})

// bench is a pg_wal with real segments and an empty archive.
type bench struct {
	t       *testing.T
	pgWAL   string
	names   []string // of the segments
	files   map[string][]byte
	store   *storage.Store
	archive string
	state   string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	files, err := realSegments()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, pgWAL: t.TempDir(), files: maps.Clone(files), archive: t.TempDir(), state: t.TempDir()}
	b.names = slices.Sorted(maps.Keys(files))
	if len(b.names) < 4 {
		t.Fatalf("the fixture has %d uncompressed segments", len(b.names))
	}
	b.files["00000002.history"] = []byte("1\t0/5000000\tno recovery target specified\n")
	b.files[b.names[0]+".00000028.backup"] = []byte("START WAL LOCATION: 0/2000028\n")
	for name, data := range b.files {
		b.write(name, data)
	}
	if b.store, err = storage.Open(t.Context(), b.archive); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	return b
}

func (b *bench) write(name string, data []byte) string {
	b.t.Helper()
	path := filepath.Join(b.pgWAL, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *bench) place(c walfile.Compression) *Place {
	return &Place{Timeline: storagetest.Timeline(b.t, b.store, storage.TimelineOptions{Compression: c}),
		Retry: storage.Retry{Attempts: 3, Wait: time.Microsecond}, State: b.state, Log: slog.New(slog.DiscardHandler)}
}

func (b *bench) pushAll(p *Place) {
	b.t.Helper()
	for name := range b.files {
		if _, err := p.Push(b.t.Context(), filepath.Join(b.pgWAL, name)); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) wantGet(p *Place, name string) {
	b.t.Helper()
	dest := filepath.Join(b.t.TempDir(), "RECOVERYXLOG")
	if err := p.Get(b.t.Context(), name, dest); err != nil {
		b.t.Errorf("get %s: %v", name, err)
		return
	}
	got, err := os.ReadFile(dest)
	if err != nil || !bytes.Equal(got, b.files[name]) {
		b.t.Errorf("get %s: %d bytes, pushed %d (%v)", name, len(got), len(b.files[name]), err)
	}
}

func TestPushAndGet(t *testing.T) {
	for _, c := range compress.Written() {
		b := newBench(t)
		p := b.place(c)
		b.pushAll(p)
		for name := range b.files {
			done, err := p.Push(t.Context(), filepath.Join(b.pgWAL, name))
			if err != nil || done.Placed.Outcome != storage.AlreadyThere || done.Placed.Key != name+c.Suffix() {
				t.Errorf("%s, pushed again: %+v, %v", name, done, err)
			}
			b.wantGet(b.place(walfile.None), name)
		}
		if left, _ := filepath.Glob(filepath.Join(b.archive, "ten/tl/wal/*tmp*")); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	}
}

func TestPushRefuses(t *testing.T) {
	b := newBench(t)
	p := b.place(walfile.LZ4)
	first, second := b.names[0], b.names[1]
	if _, err := p.Push(t.Context(), filepath.Join(b.pgWAL, first)); err != nil {
		t.Fatal(err)
	}
	foreign := slices.Clone(b.files[second])
	binary.LittleEndian.PutUint64(foreign[24:], 42)
	for what, path := range map[string]string{
		"another cluster":   b.write(second, foreign),
		"cut":               b.write(b.names[2], b.files[b.names[2]][:1<<20-8192]),
		"too long":          b.write(b.names[3], append(slices.Clone(b.files[b.names[3]]), 0)),
		"another's content": b.write("0000000100000000000000FE", b.files[first]),
		"zeros":             b.write("0000000100000000000000FF", make([]byte, 1<<20)),
		"empty":             b.write("0000000100000000000000FD", nil),
		"no WAL":            b.write("postgresql.conf", []byte("x")),
		"long history":      b.write("00000003.history", make([]byte, maxSmall+1)),
	} {
		for _, state := range []string{b.state, t.TempDir()} { // known of old, and learnt from the archive
			q := *p
			q.State = state
			if _, err := q.Push(t.Context(), path); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if _, err := p.Push(t.Context(), filepath.Join(b.pgWAL, "0000000100000000000000FC")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	changed := slices.Clone(b.files[first])
	changed[len(changed)-1] ^= 1
	if _, err := p.Push(t.Context(), b.write(first, changed)); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("another content: %v", err)
	}
	if keys := storagetest.Keys(t, b.store, "", storage.ListOptions{}); len(keys) != 1 {
		t.Errorf("stored %q", keys)
	}
}

// Only what is proven absent is said to be.
func TestAbsence(t *testing.T) {
	b := newBench(t)
	p := b.place(walfile.Zstd)
	dest := filepath.Join(t.TempDir(), "out")
	last := b.names[len(b.names)-1]
	want := func(what, name string, absent bool) {
		t.Helper()
		err := p.Get(t.Context(), name, dest)
		if err == nil || errors.Is(err, ErrAbsent) != absent {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := filepath.Glob(dest + "*"); len(left) > 0 {
			t.Errorf("%s left %q", what, left)
		}
	}
	want("an archive without any WAL", last, false)
	b.pushAll(p)
	want("a segment that is not there", "0000000100000000000000FF", true)
	want("a history that is not there", "00000003.history", true)
	want("the history of TLI 1, which PostgreSQL asks for", "00000001.history", true)
	want("a name that is none", "../../x", false)
	if err := os.Rename(filepath.Join(b.archive, "ten"), filepath.Join(b.archive, "neth")); err != nil {
		t.Fatal(err)
	}
	want("a tenant that is not there", last, false)
	if err := os.Rename(filepath.Join(b.archive, "neth"), filepath.Join(b.archive, "ten")); err != nil {
		t.Fatal(err)
	}
	clean := p.Timeline
	for i := int64(0); ; i++ {
		done := false
		p.Timeline = clean.Wrap(func(inner storage.Bucket) storage.Bucket {
			f := &storagetest.Faults{Bucket: inner}
			f.Fail = func(n int64, op storagetest.Op, key string) error {
				done = done || n >= i
				return storagetest.From(i, false)(n, op, key)
			}
			return f
		})
		err := p.Get(t.Context(), "0000000100000000000000FF", dest)
		if done == errors.Is(err, ErrAbsent) {
			t.Errorf("operation %d fails: %v", i, err)
		}
		if !done {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Timeline = clean
	if err := p.Get(ctx, "0000000100000000000000FF", dest); err == nil || errors.Is(err, ErrAbsent) {
		t.Errorf("interrupted: %v", err)
	}
}

// Every kind of damage is noticed before the file is handed out.
func TestDamage(t *testing.T) {
	b := newBench(t)
	p := b.place(walfile.None)
	b.pushAll(p)
	name := b.names[1]
	object := filepath.Join(b.archive, "ten/tl/wal", name)
	dest := filepath.Join(t.TempDir(), "out")
	for what, change := range map[string]func([]byte) []byte{
		"a flipped bit at the start":  func(d []byte) []byte { d[100] ^= 1; return d },
		"a flipped bit in the middle": func(d []byte) []byte { d[len(d)/2+77] ^= 4; return d },
		"a page of zeros":             func(d []byte) []byte { clear(d[3*8192 : 4*8192]); return d },
		"cut":                         func(d []byte) []byte { return d[:len(d)-1] },
		"too long":                    func(d []byte) []byte { return append(d, 0) },
		"empty":                       func([]byte) []byte { return nil },
		"another segment":             func([]byte) []byte { return slices.Clone(b.files[b.names[2]]) },
	} {
		if err := os.WriteFile(object, change(slices.Clone(b.files[name])), 0o600); err != nil {
			t.Fatal(err)
		}
		err := p.Get(t.Context(), name, dest)
		var damage *storage.DamageError
		if !errors.As(err, &damage) || errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(dest); err == nil {
			t.Errorf("%s: it was handed out", what)
		}
		loose := *p
		loose.Unchecked = true
		if err := loose.Get(t.Context(), name, filepath.Join(t.TempDir(), "out")); err != nil {
			t.Errorf("%s, unchecked: %v", what, err)
		}
	}
	// A second copy that is sound serves.
	storagetest.Put(t, b.store, "ten/tl/wal/"+name, b.files[b.names[2]])
	tl := storagetest.Timeline(t, b.store, storage.TimelineOptions{})
	if err := tl.Compare(t.Context(), name, storagetest.Source(b.files[name])); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("damage is no conflict: %v", err)
	}
	if err := os.Rename(object, object+".gz"); err != nil {
		t.Fatal(err)
	}
	storagetest.Put(t, b.store, "ten/tl/wal/"+name, b.files[name])
	b.wantGet(p, name)
}

// The cluster that recovers takes no WAL of another one.
func TestForeignWAL(t *testing.T) {
	b := newBench(t)
	p := b.place(walfile.None)
	b.pushAll(p)
	f, err := os.Open(filepath.Join(b.pgWAL, b.names[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	own := binary.LittleEndian.Uint64(b.files[b.names[0]][24:])
	for system, sound := range map[uint64]bool{0: true, own: true, own + 1: false} {
		if reason := checkFile(b.names[0], f, system); (reason == "") != sound {
			t.Errorf("for cluster %d: %q", system, reason)
		}
	}
}

func TestAhead(t *testing.T) {
	b := newBench(t)
	p := b.place(walfile.Zstd)
	b.pushAll(p)
	if p.Wanted("00000002.history", 3) || !p.Wanted(b.names[0], 3) || p.Wanted(b.names[0], 0) {
		t.Error("what is wanted ahead")
	}
	if err := p.Ahead(t.Context(), b.names[0], 3); err != nil {
		t.Fatal(err)
	}
	spooled := func() []string {
		found, _ := filepath.Glob(filepath.Join(p.spool(), "0*"))
		for i := range found {
			found[i] = filepath.Base(found[i])
		}
		return found
	}
	if got := spooled(); !slices.Equal(got, b.names[1:4]) {
		t.Fatalf("spooled %q, want %q", got, b.names[1:4])
	}
	if p.Wanted(b.names[0], 3) {
		t.Error("all are there, and more are wanted")
	}
	offline := *p
	offline.Timeline = p.Timeline.Wrap(func(inner storage.Bucket) storage.Bucket {
		return &storagetest.Faults{Bucket: inner, Fail: storagetest.From(0, false)}
	})
	b.wantGet(&offline, b.names[1]) // without the store
	if got := spooled(); !slices.Equal(got, b.names[2:4]) {
		t.Errorf("after one was handed out: %q", got)
	}
	damaged := filepath.Join(p.spool(), b.names[2])
	data := slices.Clone(b.files[b.names[2]])
	data[len(data)/3] ^= 1
	if err := os.WriteFile(damaged, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b.wantGet(p, b.names[2]) // from the store, then
	if err := p.Ahead(t.Context(), b.names[3], 50); err != nil {
		t.Fatal(err)
	}
	if got := spooled(); !slices.Equal(got, b.names[4:]) {
		t.Errorf("at the end of the archive: %q, want %q", got, b.names[4:])
	}
	if err := p.Ahead(t.Context(), b.names[len(b.names)-1], 3); err != nil || len(spooled()) != 0 {
		t.Errorf("behind the end: %v, %q", err, spooled())
	}
}

// A segment that is being fetched ahead is waited for.
func TestWaitForAhead(t *testing.T) {
	b := newBench(t)
	p := b.place(walfile.None)
	b.pushAll(p)
	slow := *p
	started := make(chan struct{})
	var once sync.Once
	slow.Timeline = p.Timeline.Wrap(func(inner storage.Bucket) storage.Bucket {
		return &storagetest.Faults{Bucket: inner, Fail: func(_ int64, op storagetest.Op, key string) error {
			if op == storagetest.OpRead && strings.HasSuffix(key, b.names[1]) {
				once.Do(func() { close(started) })
				time.Sleep(time.Millisecond)
			}
			return nil
		}}
	})
	errs := make(chan error, 1)
	go func() { errs <- slow.Ahead(t.Context(), b.names[0], 1) }()
	<-started
	offline := *p
	offline.Timeline = p.Timeline.Wrap(func(inner storage.Bucket) storage.Bucket {
		return &storagetest.Faults{Bucket: inner, Fail: storagetest.From(0, false)}
	})
	b.wantGet(&offline, b.names[1])
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func BenchmarkPush(b *testing.B) {
	files, err := realSegments()
	if err != nil {
		b.Fatal(err)
	}
	name := slices.Sorted(maps.Keys(files))[0]
	path := filepath.Join(b.TempDir(), name)
	if err := os.WriteFile(path, files[name], 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range compress.Written() {
		b.Run(c.String(), func(b *testing.B) {
			dir := b.TempDir()
			store, err := storage.Open(b.Context(), dir)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = store.Close() }()
			p := &Place{Timeline: storagetest.Timeline(b, store, storage.TimelineOptions{Compression: c}), State: b.TempDir()}
			b.SetBytes(int64(len(files[name])))
			for b.Loop() {
				done, err := p.Push(b.Context(), path)
				if err != nil || done.Placed.Outcome != storage.Uploaded {
					b.Fatal(done, err)
				}
				if err := os.Remove(filepath.Join(dir, "ten/tl/wal", done.Placed.Key)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
