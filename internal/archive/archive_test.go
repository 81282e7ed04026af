package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/compress/compresstest"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSize  = pg.MinSegmentSize
	testSysid = 7400000000000000001
)

var quick = Options{Retry: Retry{Attempts: 3, Wait: time.Microsecond}}

var segments sync.Map

// segment is a segment of valid page headers and noise; don't change it.
func segment(tli pg.TLI, n pg.SegmentNo, sysid uint64) []byte {
	key := [3]uint64{uint64(tli), uint64(n), sysid}
	if data, ok := segments.Load(key); ok {
		return data.([]byte)
	}
	data := makeSegment(tli, n, sysid)
	segments.Store(key, data)
	return data
}

func makeSegment(tli pg.TLI, n pg.SegmentNo, sysid uint64) []byte {
	data := make([]byte, testSize)
	r := rand.New(rand.NewPCG(uint64(tli), uint64(n)))
	for off := 0; off < len(data); off += wal.PageSize {
		page := data[off : off+wal.PageSize]
		for i := 40; i < 200; i += 8 { // the rest stays compressible
			binary.LittleEndian.PutUint64(page[i:], r.Uint64())
		}
		binary.LittleEndian.PutUint16(page, 0xD116)
		binary.LittleEndian.PutUint32(page[4:], uint32(tli))
		binary.LittleEndian.PutUint64(page[8:], uint64(n.Start(testSize))+uint64(off))
		if off == 0 {
			binary.LittleEndian.PutUint16(page[2:], 2)
			binary.LittleEndian.PutUint64(page[24:], sysid)
			binary.LittleEndian.PutUint32(page[32:], testSize)
			binary.LittleEndian.PutUint32(page[36:], wal.PageSize)
		}
	}
	return data
}

func name(tli pg.TLI, n pg.SegmentNo) string { return pg.SegmentName(tli, n, testSize) }

func mem(t testing.TB) *storage.Store {
	t.Helper()
	s, err := storage.Open(context.Background(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put stores segments n..m of a TLI.
func put(t testing.TB, s *storage.Store, prefix string, tli pg.TLI, from, to pg.SegmentNo) {
	t.Helper()
	for n := from; n <= to; n++ {
		storagetest.Put(t, s, prefix+name(tli, n), segment(tli, n, testSysid))
	}
}

func timeline(t testing.TB, s *storage.Store) *Timeline {
	t.Helper()
	a, err := Open(context.Background(), s, Auto, quick)
	if err != nil {
		t.Fatal(err)
	}
	all, strays, err := a.Timelines(context.Background())
	if err != nil || len(all) != 1 || len(strays) != 0 {
		t.Fatalf("timelines %v, strays %q: %v", all, strays, err)
	}
	if _, err := all[0].Identify(context.Background()); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func TestLayouts(t *testing.T) {
	ctx := context.Background()
	for what, c := range map[string]struct {
		keys      []string
		want      Layout
		timelines []string
		strays    []string
		err       string
	}{
		"plain": {[]string{"README", name(1, 1), name(1, 2)}, Plain, []string{"default/main"}, nil, ""},
		"plain with pg_wal's directories": {[]string{"archive_status/x", name(1, 1) + ".zst"}, Plain,
			[]string{"default/main"}, nil, ""},
		"only a history": {[]string{"00000002.history.gz"}, Plain, []string{"default/main"}, nil, ""},
		"redoubt": {[]string{"a/x/wal/" + name(1, 1), "a/y/wal/foo", "a/y/junk", "b/z/snapshots/s1/backup_label", "a/y/other/f", "note", "c/nothing/f", "bad id/x/wal/f"},
			Redoubt, []string{"a/x", "a/y", "b/z"}, []string{"bad id/", "note", "a/y/junk", "a/y/other/", "c/nothing/f"}, ""},
		"nothing":      {nil, "", nil, nil, "neither WAL segments nor"},
		"unrelated":    {[]string{"a/b/c", "d"}, "", nil, nil, "neither WAL segments nor"},
		"both at once": {[]string{"0/x/wal/" + name(1, 1), name(1, 1)}, "", nil, nil, "name the layout"},
	} {
		t.Run(what, func(t *testing.T) {
			s := mem(t)
			for _, k := range c.keys {
				storagetest.Put(t, s, k, []byte("x"))
			}
			a, err := Open(ctx, s, Auto, quick)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil || a.Layout() != c.want {
				t.Fatalf("layout %v, want %v: %v", a, c.want, err)
			}
			all, strays, err := a.Timelines(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, tl := range all {
				names = append(names, tl.Tenant()+"/"+tl.ID())
			}
			if !slices.Equal(names, c.timelines) || !slices.Equal(strays, c.strays) {
				t.Errorf("timelines %q, strays %q; want %q and %q", names, strays, c.timelines, c.strays)
			}
		})
	}
	if _, err := Open(ctx, mem(t), "wal-g", quick); err == nil {
		t.Error("an unknown layout was accepted")
	}
	if _, err := Open(ctx, mem(t), Plain, Options{Tenant: "../x"}); err == nil {
		t.Error("a tenant named ../x was accepted")
	}
}

func TestSnapshots(t *testing.T) {
	ctx := context.Background()
	s := mem(t)
	storagetest.Put(t, s, "a/x/snapshots/s2/base.tar", []byte("2"))
	storagetest.Put(t, s, "a/x/snapshots/s1/base.tar", []byte("1"))
	storagetest.Put(t, s, "a/x/wal/"+name(1, 1), segment(1, 1, testSysid))
	tl := timeline(t, s)
	names, err := tl.Snapshots(ctx)
	if err != nil || !slices.Equal(names, []string{"s1", "s2"}) {
		t.Fatalf("snapshots %q: %v", names, err)
	}
	sub, err := tl.Snapshot("s2")
	if err != nil || string(storagetest.Get(t, sub, "base.tar")) != "2" {
		t.Fatalf("snapshot s2: %v", err)
	}
	if _, err := tl.Snapshot(".."); err == nil {
		t.Error("a snapshot named .. was opened")
	}
	a, err := Open(ctx, s, Redoubt, quick)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Timeline(ctx, "a", "x"); err != nil {
		t.Error(err)
	}
	if _, err := a.Timeline(ctx, "a", "y"); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("an unknown timeline: %v", err)
	}
}

func TestIdentify(t *testing.T) {
	ctx := context.Background()
	s := mem(t)
	storagetest.Put(t, s, name(1, 1), nil)                           // empty
	storagetest.Put(t, s, name(1, 2)+".gz", []byte("no gzip"))       // undecodable
	storagetest.Put(t, s, name(1, 3), make([]byte, testSize))        // zero
	storagetest.Put(t, s, name(1, 4), segment(1, 5, testSysid))      // another's content
	storagetest.Put(t, s, name(1, 5)+".00000028.backup", []byte{1})  // no segment
	storagetest.Put(t, s, name(1, 6), segment(1, 6, testSysid))      // the first good one
	storagetest.Put(t, s, name(1, 7), segment(1, 7, testSysid+1000)) // not looked at
	id, err := timeline(t, s).Identify(ctx)
	if err != nil || id != (Identity{SegmentSize: testSize, SystemID: testSysid, Major: 17}) {
		t.Errorf("%+v: %v", id, err)
	}

	none := mem(t)
	storagetest.Put(t, none, "00000002.history", nil)
	a, err := Open(ctx, none, Plain, quick)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := a.Timelines(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].Identify(ctx); !errors.Is(err, ErrNoWAL) {
		t.Errorf("without segments: %v", err)
	}
	storagetest.Put(t, none, name(2, 1), []byte("garbage"))
	var d *DamagedError
	if _, err := all[0].Identify(ctx); !errors.As(err, &d) || d.Key != name(2, 1) {
		t.Errorf("with one bad segment: %v", err)
	}
}

func TestList(t *testing.T) {
	s := mem(t)
	put(t, s, "", 1, 1, 3)
	storagetest.Put(t, s, "00000002.history", []byte("1\t0/100000\tx\n"))
	storagetest.Put(t, s, "junk", nil)
	storagetest.Put(t, s, "dir/x", nil)
	storagetest.Put(t, s, name(2, 1)+".partial.gz", nil)
	var got []string
	for e, err := range timeline(t, s).List(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s kind %d TLI %d segment %d", e.Key, e.Kind, e.TLI, e.Segment))
	}
	want := []string{
		name(1, 1) + " kind 1 TLI 1 segment 1", name(1, 2) + " kind 1 TLI 1 segment 2", name(1, 3) + " kind 1 TLI 1 segment 3",
		"00000002.history kind 4 TLI 2 segment 0", name(2, 1) + ".partial.gz kind 2 TLI 2 segment 1",
		"dir/ kind 0 TLI 0 segment 0", "junk kind 0 TLI 0 segment 0",
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("listed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDecompression(t *testing.T) {
	ctx := context.Background()
	data := segment(1, 2, testSysid)
	for _, c := range walfile.All() {
		t.Run(c.String(), func(t *testing.T) {
			packed := compresstest.As(t, c, data)
			s := mem(t)
			put(t, s, "", 1, 1, 1)
			tl := timeline(t, s)
			open := func(content []byte) ([]byte, error) {
				storagetest.Put(t, s, name(1, 2)+c.Suffix(), content)
				rc, err := tl.OpenSegment(ctx, 1, 2)
				if err != nil {
					return nil, err
				}
				defer func() { _ = rc.Close() }()
				return io.ReadAll(rc)
			}
			got, err := open(packed)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("read %d bytes: %v", len(got), err)
			}
			for what, bad := range map[string][]byte{
				"empty":           nil,
				"one byte":        packed[:1],
				"cut":             packed[:len(packed)/2],
				"its last byte":   packed[:len(packed)-1],
				"half a segment":  compresstest.As(t, c, data[:testSize/2]),
				"a byte too few":  compresstest.As(t, c, data[:testSize-1]),
				"a byte too much": compresstest.As(t, c, append(slices.Clone(data), 0)),
				"a bomb":          compresstest.As(t, c, make([]byte, 3*testSize)),
				"wrong suffix":    compresstest.As(t, walfile.All()[(int(c)+1)%6], data),
			} {
				var d *DamagedError
				if _, err := open(bad); !errors.As(err, &d) || d.Key != name(1, 2)+c.Suffix() {
					t.Errorf("%s: %v, want a DamagedError that names it", what, err)
				}
			}
			flips := 8
			if c >= walfile.Bzip2 {
				flips = 2 // slow ones
			}
			for range flips { // a flipped byte, unless the format has no checksum there
				bad := slices.Clone(packed)
				bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
				got, err := open(bad)
				var d *DamagedError
				if err != nil && !errors.As(err, &d) {
					t.Errorf("flipped byte: %v", err)
				}
				if err == nil && c != walfile.None && !bytes.Equal(got, data) {
					t.Errorf("%s: a flipped byte changed the content and was not noticed", c)
				}
			}
		})
	}
}

func TestTwoCopies(t *testing.T) {
	ctx := context.Background()
	s := mem(t)
	put(t, s, "", 1, 1, 2)
	storagetest.Put(t, s, name(1, 2)+".gz", compresstest.As(t, walfile.Gzip, segment(1, 99, testSysid)))
	read := func() []byte {
		t.Helper()
		rc, err := timeline(t, s).OpenSegment(ctx, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rc.Close() }()
		data, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !bytes.Equal(read(), segment(1, 2, testSysid)) {
		t.Error("the uncompressed copy does not come first")
	}
	storagetest.Put(t, s, name(1, 2), nil)
	if !bytes.Equal(read(), segment(1, 99, testSysid)) {
		t.Error("the second copy is not used where the first can't be read")
	}
	_, err := timeline(t, s).OpenSegment(ctx, 1, 3)
	var missing *wal.MissingError
	if !errors.As(err, &missing) || missing.Segment != name(1, 3) || missing.Range.From != 0x300000 {
		t.Errorf("a missing segment: %v", err)
	}
}

// Each operation in turn fails: once, and the result is as if it had not; for
// ever, and it is an error that is neither "missing" nor "damaged".
func TestFaults(t *testing.T) {
	ctx := context.Background()
	s := mem(t)
	put(t, s, "", 1, 1, 1)
	data := segment(1, 2, testSysid)
	storagetest.Put(t, s, name(1, 2)+".zst", compresstest.As(t, walfile.Zstd, data))
	read := func(fail func(int64, storagetest.Op, string) error) ([]byte, int64, error) {
		faulty, calls := storagetest.Inject(s, fail)
		a, err := Open(ctx, faulty, Auto, quick)
		if err != nil {
			return nil, calls.Calls(), err
		}
		all, _, err := a.Timelines(ctx)
		if err != nil {
			return nil, calls.Calls(), err
		}
		if _, err := all[0].Identify(ctx); err != nil {
			return nil, calls.Calls(), err
		}
		rc, err := all[0].OpenSegment(ctx, 1, 2)
		if err != nil {
			return nil, calls.Calls(), err
		}
		defer func() { _ = rc.Close() }()
		got, err := io.ReadAll(rc)
		return got, calls.Calls(), err
	}
	_, total, err := read(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range total {
		if got, _, err := read(storagetest.From(i, true)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("operation %d of %d fails once: %v", i, total, err)
		}
		_, _, err := read(storagetest.From(i, false))
		var missing *wal.MissingError
		var d *DamagedError
		if !errors.Is(err, storagetest.ErrInjected) || errors.As(err, &missing) || errors.As(err, &d) {
			t.Errorf("everything fails from operation %d on: %v", i, err)
		}
	}
}

// An object that changes while it is read is not patched together.
func TestReplacedWhileRead(t *testing.T) {
	ctx := context.Background()
	s := mem(t)
	put(t, s, "", 1, 1, 2)
	reads := 0
	faulty, _ := storagetest.Inject(s, func(_ int64, op storagetest.Op, key string) error {
		if op == storagetest.OpRead && key == name(1, 2) {
			if reads++; reads == 3 {
				storagetest.Put(t, s, name(1, 2), segment(9, 2, testSysid))
				return storagetest.ErrInjected
			}
		}
		return nil
	})
	rc, err := timeline(t, faulty).OpenSegment(ctx, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rc.Close() }()
	if _, err := io.ReadAll(rc); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("read a mixture: %v", err)
	}
}
