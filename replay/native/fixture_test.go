package native

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"redoubt/internal/archive"
	"redoubt/internal/demo"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
	"redoubt/internal/storage"
	"redoubt/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a data directory in memory: pages by block, sizes, small files.
type memory struct {
	pages map[pg.Block][]byte
	sizes map[pg.RelFork]pg.BlockNumber
	files map[string][]byte
}

func newMemory() *memory {
	return &memory{pages: map[pg.Block][]byte{}, sizes: map[pg.RelFork]pg.BlockNumber{}, files: map[string][]byte{}}
}

var _ datadir.Visitor = (*memory)(nil)

func (m *memory) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	pages = bytes.Clone(pages)
	for i := 0; i < len(pages); i += pg.BlockSize {
		m.pages[pg.Block{RelFork: f.RelFork, Number: first + pg.BlockNumber(i/pg.BlockSize)}] = pages[i : i+pg.BlockSize : i+pg.BlockSize]
	}
	return nil
}

func (m *memory) EndRelation(f datadir.RelFile, size int64) error {
	m.sizes[f.RelFork] = pg.BlockNumber(size / pg.BlockSize)
	return nil
}

func (m *memory) File(path string, content []byte) error {
	m.files[path] = bytes.Clone(content)
	return nil
}

// walk shows it to a visitor.
func (m *memory) walk(v datadir.Visitor) error {
	for f, size := range m.sizes {
		file := datadir.RelFile{RelFork: f, Path: datadir.RelPath(f, 0, "")}
		for b := range size {
			if err := v.Blocks(file, b, m.pages[pg.Block{RelFork: f, Number: b}]); err != nil {
				return err
			}
		}
		if err := v.EndRelation(file, int64(size)*pg.BlockSize); err != nil {
			return err
		}
	}
	for path, content := range m.files {
		if err := v.File(path, content); err != nil {
			return err
		}
	}
	return nil
}

// settings are those of its pg_control; without one checksums are on.
func (m *memory) settings() (Base, error) {
	raw, ok := m.files[datadir.ControlPath]
	if !ok {
		return Base{Checksums: true}, nil
	}
	c, err := datadir.ParseControl(raw)
	return Base{Checksums: c.Checksums(), WALLogHints: c.WALLogHints, CommitTs: c.TrackCommitTimestamp}, err
}

// memWAL is WAL in memory, handed out in chunks.
type memWAL struct {
	segment int64
	start   pg.LSN
	data    []byte
	chunk   int
}

func (w *memWAL) SegmentSize() int64 { return w.segment }

func (w *memWAL) Open(context.Context, pg.LSN) (replay.WALStream, error) { return memStream{w}, nil }

type memStream struct{ w *memWAL }

func (s memStream) Close() error { return nil }

func (s memStream) ReadPages(at pg.LSN) ([]byte, error) {
	w := s.w
	if at < w.start || at >= w.start+pg.LSN(len(w.data)) {
		seg := pg.SegmentOf(at, w.segment)
		return nil, &wal.MissingError{Segment: pg.SegmentName(1, seg, w.segment), Range: pg.Range{From: seg.Start(w.segment), To: (seg + 1).Start(w.segment)}}
	}
	left := w.segment - int64(at)%w.segment
	off := int64(at - w.start)
	return w.data[off : off+min(left, int64(w.chunk)) : off+min(left, int64(w.chunk))], nil
}

// world is a span of the demo's WAL with its base: from the first backup's
// start to the end of the last one.
type world struct {
	base   *memory
	wal    *memWAL
	span   pg.Range
	stop   pg.LSN // where the base is consistent
	starts []pg.LSN
}

var demoWorld = sync.OnceValues(func() (*world, error) {
	dir, err := os.MkdirTemp("", "redoubt-native-test")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fixture, err := demo.Unpack(dir)
	if err != nil {
		return nil, err
	}
	tl := fixture.Timelines[0]
	w := &world{base: newMemory(), stop: tl.Snapshots[0].Stop, span: pg.Range{From: tl.Snapshots[0].Start, To: tl.Snapshots[2].Stop}}
	if err := w.readBase(filepath.Join(dir, tl.Tenant, tl.Timeline, "snapshots", tl.Snapshots[0].Name)); err != nil {
		return nil, err
	}
	if err := w.readWAL(dir, tl); err != nil {
		return nil, err
	}
	return w, w.findRecords()
})

func (w *world) readBase(loc string) (err error) {
	s, err := snapshot.Open(context.Background(), loc, snapshot.Options{})
	if err != nil {
		return err
	}
	if err := s.Walk(context.Background(), w.base); err != nil {
		return err
	}
	return s.Close()
}

func (w *world) readWAL(dir string, tl demo.Timeline) error {
	ctx := context.Background()
	store, err := storage.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	a, err := archive.Open(ctx, store, archive.Redoubt, archive.Options{})
	if err != nil {
		return err
	}
	t, err := a.Timeline(ctx, tl.Tenant, tl.Timeline)
	if err != nil {
		return err
	}
	src, err := t.Source(ctx, 0)
	if err != nil {
		return err
	}
	_, first, err := pg.ParseSegmentName(tl.Segments[0], tl.SegmentSize)
	if err != nil {
		return err
	}
	return w.load(ctx, src, first, len(tl.Segments))
}

// load reads so many segments.
func (w *world) load(ctx context.Context, src *archive.Source, first pg.SegmentNo, segments int) error {
	size := src.SegmentSize()
	w.wal = &memWAL{segment: size, start: first.Start(size), chunk: 256 << 10}
	s, err := src.Open(ctx, w.wal.start)
	if err != nil {
		return err
	}
	end := w.wal.start + pg.LSN(int64(segments)*size)
	for at := w.wal.start; at < end; {
		p, err := s.ReadPages(at)
		if err != nil {
			return err
		}
		w.wal.data = append(w.wal.data, p...)
		at += pg.LSN(len(p))
	}
	return s.Close()
}

// findRecords lists where the span's records start.
func (w *world) findRecords() error {
	st := &stream{src: w.wal, span: w.span}
	return st.each(context.Background(), func(b *batch) error {
		for i := range b.recs {
			w.starts = append(w.starts, b.recs[i].LSN)
		}
		return nil
	})
}

func demoSpan(t testing.TB) *world {
	t.Helper()
	w, err := demoWorld()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// play replays a span over a base; the engine is closed with the test.
func play(t testing.TB, cfg Config, src replay.WALSource, span Span, base *memory) *Result {
	t.Helper()
	res, err := tryPlay(t, context.Background(), cfg, src, span, base)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Filter == nil && !cfg.DetectDialect {
		playOnDemand(t, cfg, src, span, base, res)
	}
	return res
}

func tryPlay(t testing.TB, ctx context.Context, cfg Config, src replay.WALSource, span Span, base *memory) (*Result, error) { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	cfg.Scratch = t.TempDir()
	e := New(cfg, src, span)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := e.Scan(ctx); err != nil {
		return nil, err
	}
	if err := base.walk(e); err != nil {
		return nil, err
	}
	settings, err := base.settings()
	if err != nil {
		return nil, err
	}
	e.SetBase(settings)
	return e.Replay(ctx)
}

// after is the data directory that a replay leaves of a base.
func after(t testing.TB, res *Result, base *memory) *memory {
	t.Helper()
	m := newMemory()
	var buf [pg.BlockSize]byte
	for _, f := range res.Forks() {
		m.sizes[f.RelFork] = f.Size
		for b := range f.Size {
			p, err := res.Page(f.RelFork, b, buf[:])
			if err != nil {
				t.Fatal(err)
			}
			at := pg.Block{RelFork: f.RelFork, Number: b}
			switch {
			case p.Bytes != nil:
				m.pages[at] = bytes.Clone(p.Bytes)
			case b < f.BaseBlocks:
				m.pages[at] = base.pages[at]
			default:
				m.pages[at] = make([]byte, pg.BlockSize)
			}
		}
	}
	for path, content := range base.files {
		if datadir.Classify(path).Class != datadir.RelationMap { // of a dropped database it is gone
			m.files[path] = bytes.Clone(content)
		}
	}
	for _, k := range res.RelMaps() {
		m.files[mapPath(k)] = res.RelMap(k.Spc, k.DB)
	}
	for s := range pg.SLRU(pg.NumSLRUs) {
		for _, n := range res.SLRUPages(s) {
			page := pg.SLRUPage{SLRU: s, Page: n}
			p, _, _, err := res.SLRUPage(page, buf[:])
			if err != nil {
				t.Fatal(err)
			}
			path, off := datadir.SLRUPath(page), int(n%pg.SLRUPagesPerSegment)*pg.BlockSize
			if grow := off + pg.BlockSize - len(m.files[path]); grow > 0 {
				m.files[path] = append(m.files[path], make([]byte, grow)...)
			}
			copy(m.files[path][off:], p)
		}
	}
	return m
}

func mapPath(k RelMapKey) string {
	if k.Spc == pg.GlobalTablespaceOID {
		return "global/pg_filenode.map"
	}
	return fmt.Sprintf("base/%d/pg_filenode.map", k.DB)
}

// sameMemory compares two data directories, which may be of one span and
// free space maps apart.
func sameMemory(t testing.TB, what string, got, want *memory) {
	t.Helper()
	bad := 0
	failf := func(format string, args ...any) {
		if bad++; bad <= 10 {
			t.Errorf(what+": "+format, args...)
		}
	}
	for f, size := range want.sizes {
		if s, ok := got.sizes[f]; !ok || s != size {
			failf("%s has %d blocks, want %d", f, s, size)
		}
	}
	if len(got.sizes) != len(want.sizes) {
		failf("%d relation forks, want %d", len(got.sizes), len(want.sizes))
	}
	for b, p := range want.pages {
		if !bytes.Equal(got.pages[b], p) {
			failf("%s differs", b)
		}
	}
	for path, c := range want.files {
		if !bytes.Equal(got.files[path], c) {
			failf("%s differs", path)
		}
	}
	if len(got.files) != len(want.files) {
		failf("%d files, want %d", len(got.files), len(want.files))
	}
}

// pageState is all that a result says of a block, without what varies with
// the way it got there.
type pageState struct {
	page                            string
	touched, whole, inBase, tainted bool
	invalid, future                 pg.LSN
	failed                          string
	last                            RecordRef
	hints                           string
	baseBlocks, size                pg.BlockNumber
	created                         bool
}

func states(t testing.TB, res *Result) map[pg.Block]pageState {
	t.Helper()
	out := map[pg.Block]pageState{}
	var buf [pg.BlockSize]byte
	for f, rel := range res.e.rels {
		rel.each(func(n pg.BlockNumber, _ *block) {
			p, err := res.Page(f, n, buf[:])
			if err != nil {
				t.Fatal(err)
			}
			out[pg.Block{RelFork: f, Number: n}] = pageState{page: string(p.Bytes), touched: p.Touched, whole: p.Whole, inBase: p.InBase,
				tainted: p.Tainted, invalid: p.Invalid, future: p.Future, failed: fmt.Sprint(p.Failed), last: p.Last, hints: fmt.Sprint(p.Hints),
				baseBlocks: rel.baseBlocks, size: rel.size, created: rel.created}
		})
	}
	return out
}

func sameStates(t testing.TB, what string, got, want map[pg.Block]pageState) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d blocks, want %d", what, len(got), len(want))
	}
	bad := 0
	for _, b := range slices.SortedFunc(keys(want), pg.Block.Compare) {
		if g := got[b]; g != want[b] {
			same := g.page == want[b].page
			g.page = ""
			w := want[b]
			w.page = ""
			if bad++; bad <= 5 {
				t.Errorf("%s: %s: same page %t\n got %+v\nwant %+v", what, b, same, g, w)
			}
		}
	}
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
