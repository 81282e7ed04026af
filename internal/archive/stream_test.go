package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"redoubt/internal/compress/compresstest"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
	"redoubt/replay"
)

// readStream reads from at on until an error, checking what ReadPages promises.
func readStream(t interface {
	Helper()
	Errorf(string, ...any)
}, st replay.WALStream, at pg.LSN) ([]byte, error) {
	t.Helper()
	var all []byte
	for {
		p, err := st.ReadPages(at)
		if err != nil {
			return all, err
		}
		room := testSize - int(uint64(at)%testSize)
		if len(p) == 0 || len(p)%wal.PageSize != 0 || len(p) > room {
			t.Errorf("ReadPages(%s) gave %d bytes, %d are left in the segment", at, len(p), room)
			return all, io.ErrUnexpectedEOF
		}
		all = append(all, p...)
		at += pg.LSN(len(p))
	}
}

func source(t testing.TB, s *storage.Store, target pg.TLI) *Source {
	t.Helper()
	src, err := timeline(t, s).Source(context.Background(), target)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func openAt(t testing.TB, src *Source, from pg.LSN) replay.WALStream {
	t.Helper()
	st, err := src.Open(context.Background(), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func TestStream(t *testing.T) {
	s := mem(t)
	var want []byte
	for n := pg.SegmentNo(1); n <= 6; n++ {
		c := walfile.Compression((n - 1) % 4)
		storagetest.Put(t, s, name(1, n)+c.Suffix(), compresstest.As(t, c, segment(1, n, testSysid)))
		want = append(want, segment(1, n, testSysid)...)
	}
	src := source(t, s, 0)
	for _, from := range []pg.LSN{0x100000, 0x100000 + 12345, 0x2FE000 + 1, 0x600000 + 5*wal.PageSize} {
		page := from &^ (wal.PageSize - 1)
		got, err := readStream(t, openAt(t, src, from), page)
		if !bytes.Equal(got, want[page-0x100000:]) {
			t.Errorf("from %s: %d bytes, want %d", from, len(got), len(want)-int(page-0x100000))
		}
		var missing *wal.MissingError
		if !errors.As(err, &missing) || missing.Segment != name(1, 7) || missing.Range != (pg.Range{From: 0x700000, To: 0x800000}) {
			t.Errorf("from %s: ended with %v", from, err)
		}
	}
}

// Whatever order pages are asked in, the right ones come.
func TestStreamJumps(t *testing.T) {
	s := mem(t)
	put(t, s, "", 1, 1, 3)
	storagetest.Put(t, s, name(1, 5), segment(1, 5, testSysid)) // 4 is missing
	src := source(t, s, 1)
	st := openAt(t, src, 0x100000)
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		at := pg.LSN(0x100000 + r.IntN(5*testSize/wal.PageSize)*wal.PageSize)
		n := pg.SegmentOf(at, testSize)
		got, err := st.ReadPages(at)
		if n == 4 {
			var missing *wal.MissingError
			if !errors.As(err, &missing) || missing.Segment != name(1, 4) {
				t.Fatalf("%s: %v", at, err)
			}
			continue
		}
		off := int(at - n.Start(testSize))
		if err != nil || !bytes.Equal(got[:wal.PageSize], segment(1, n, testSysid)[off:off+wal.PageSize]) {
			t.Fatalf("page %s: wrong (%v)", at, err)
		}
	}
}

// Two TLIs: 2 leaves 1 in the middle of segment 3; 1 went on alone to 5, 3 is
// a branch off 1 that 2 has nothing to do with.
func branches(t *testing.T) *storage.Store {
	s := mem(t)
	put(t, s, "", 1, 1, 5)
	put(t, s, "", 2, 3, 5)
	storagetest.Put(t, s, "00000002.history", []byte("1\t0/352345\tbecause\n"))
	return s
}

func TestStreamFollowsHistory(t *testing.T) {
	s := branches(t)
	want := func(tlis ...pg.TLI) (all []byte) {
		for i, tli := range tlis {
			all = append(all, segment(tli, pg.SegmentNo(i+1), testSysid)...)
		}
		return all
	}
	for target, w := range map[pg.TLI][]byte{0: want(1, 1, 2, 2, 2), 2: want(1, 1, 2, 2, 2), 1: want(1, 1, 1, 1, 1)} {
		got, err := readStream(t, openAt(t, source(t, s, target), 0x100000), 0x100000)
		var missing *wal.MissingError
		if !bytes.Equal(got, w) || !errors.As(err, &missing) {
			t.Errorf("target %d: %d bytes, %v", target, len(got), err)
		}
	}
}

// Without the new TLI's segment of the switch, the old one's serves what comes
// before the page of the switch, and nothing of the branch behind it.
func TestStreamStopsAtSwitch(t *testing.T) {
	for _, old := range []string{name(1, 3), name(1, 3) + ".partial"} {
		s := mem(t)
		put(t, s, "", 1, 1, 2)
		put(t, s, "", 2, 4, 5)
		storagetest.Put(t, s, old, segment(1, 3, testSysid))
		storagetest.Put(t, s, "00000002.history", []byte("1\t0/352345\tbecause\n"))
		got, err := readStream(t, openAt(t, source(t, s, 0), 0x300000), 0x300000)
		var missing *wal.MissingError
		if !bytes.Equal(got, segment(1, 3, testSysid)[:0x52000]) ||
			!errors.As(err, &missing) || missing.Segment != name(2, 3) || missing.Range != (pg.Range{From: 0x352000, To: 0x400000}) {
			t.Errorf("%s: %d bytes, %v", old, len(got), err)
		}
	}
}

func TestStreamOfShortPartial(t *testing.T) {
	s := mem(t)
	put(t, s, "", 1, 1, 2)
	data := segment(1, 3, testSysid)
	storagetest.Put(t, s, name(1, 3)+".partial", data[:5*wal.PageSize+77])
	got, err := readStream(t, openAt(t, source(t, s, 0), 0x300000), 0x300000)
	var missing *wal.MissingError
	if !bytes.Equal(got, data[:5*wal.PageSize]) || !errors.As(err, &missing) || missing.Range.From != 0x30A000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestStreamRefusesForeign(t *testing.T) {
	s := mem(t)
	put(t, s, "", 1, 1, 2)
	storagetest.Put(t, s, name(1, 3), segment(1, 3, testSysid+1))
	got, err := readStream(t, openAt(t, source(t, s, 0), 0x100000), 0x100000)
	var d *DamagedError
	if len(got) != 2*testSize || !errors.As(err, &d) || d.Key != name(1, 3) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A store that stops answering is neither missing WAL nor damage, and a short
// hiccup is nothing.
func TestStreamFaults(t *testing.T) {
	s := branches(t)
	want, _ := readStream(t, openAt(t, source(t, s, 0), 0x100000), 0x100000)
	total := int64(0)
	for i := int64(0); total == 0 || i < total; i += 11 {
		for _, once := range []bool{true, false} {
			fail := storagetest.From(i, once)
			if total == 0 {
				fail = nil
			}
			faulty, calls := storagetest.Inject(s, fail)
			got, err := readAllOf(t, faulty)
			var missing *wal.MissingError
			switch {
			case total == 0:
				total = calls.Calls()
			case once && (!bytes.Equal(got, want) || !errors.As(err, &missing)):
				t.Errorf("operation %d fails once: %d bytes, %v", i, len(got), err)
			case !once && (!bytes.HasPrefix(want, got) || !errors.Is(err, storagetest.ErrInjected) || errors.As(err, &missing)):
				t.Errorf("all fails from operation %d on: %d bytes, %v", i, len(got), err)
			}
		}
	}
}

func readAllOf(t *testing.T, s *storage.Store) ([]byte, error) {
	ctx := context.Background()
	a, err := Open(ctx, s, Auto, quick)
	if err != nil {
		return nil, err
	}
	all, _, err := a.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	src, err := all[0].Source(ctx, 0)
	if err != nil {
		return nil, err
	}
	st, err := src.Open(ctx, 0x100000)
	if err != nil {
		return nil, err
	}
	defer func() { _ = st.Close() }()
	return readStream(t, st, 0x100000)
}

func TestStreamEndsWithItsContext(t *testing.T) {
	s := mem(t)
	put(t, s, "", 1, 1, 3)
	src := source(t, s, 1)
	ctx, cancel := context.WithCancel(context.Background())
	st, err := src.Open(ctx, 0x100000)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	if _, err := st.ReadPages(0x100000); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := readStream(t, st, 0x108000); !errors.Is(err, context.Canceled) {
		t.Errorf("after the cancellation: %v", err)
	}
}

// The same on a real S3 server, whose listings and ranges are its own.
func TestOnS3(t *testing.T) {
	loc := storagetest.S3(t)("archive")
	s, err := storage.Open(context.Background(), loc)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var want []byte
	for n := pg.SegmentNo(1); n <= 3; n++ {
		c := walfile.Compression(n - 1)
		storagetest.Put(t, s, fmt.Sprintf("ten/tl/wal/%s%s", name(1, n), c.Suffix()), compresstest.As(t, c, segment(1, n, testSysid)))
		want = append(want, segment(1, n, testSysid)...)
	}
	got, err := readAllOf(t, s)
	var missing *wal.MissingError
	if !bytes.Equal(got, want) || !errors.As(err, &missing) {
		t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
	}
}

func BenchmarkStream(b *testing.B) {
	for _, c := range []walfile.Compression{walfile.None, walfile.Zstd, walfile.LZ4} {
		b.Run(c.String(), func(b *testing.B) {
			s := mem(b)
			for n := pg.SegmentNo(1); n <= 16; n++ {
				storagetest.Put(b, s, name(1, n)+c.Suffix(), compresstest.As(b, c, segment(1, n, testSysid)))
			}
			src := source(b, s, 1)
			b.SetBytes(16 * testSize)
			for b.Loop() {
				st, err := src.Open(b.Context(), 0x100000)
				if err != nil {
					b.Fatal(err)
				}
				for at := pg.LSN(0x100000); at < 0x1100000; {
					p, err := st.ReadPages(at)
					if err != nil {
						b.Fatal(err)
					}
					at += pg.LSN(len(p))
				}
				if err := st.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
