package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/compress"
	"redoubt/internal/compress/compresstest"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

const (
	onceName = "000000010000000000000007"
	oncePath = "ten/tl/wal/" + onceName
)

// Source is a source of data that can be read again, as a file can.
func Source(data []byte) storage.Source {
	return storage.Source{Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(data), io.NopCloser(nil)}, nil
	}}
}

// Timeline opens ten/tl or fails the test.
func Timeline(t testing.TB, s *storage.Store, opt storage.TimelineOptions) *storage.Timeline {
	t.Helper()
	tl, err := s.Timeline("ten", "tl", opt)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// waldata is compressible, and of a size that ends within no block.
func waldata(seed byte) []byte {
	return bytes.Repeat([]byte{seed, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 20_011)
}

// putOnce goes through all pairs of a stored and a wanted compression.
func putOnce(t *testing.T, s *storage.Store) {
	ctx := context.Background()
	ours, other := waldata(1), waldata(2)
	for i, c := range compress.Written() {
		for j, stored := range walfile.All() {
			tl, err := s.Timeline("ten", fmt.Sprintf("tl-%d-%d", i, j), storage.TimelineOptions{Compression: c})
			if err != nil {
				t.Fatal(err)
			}
			below := "ten/" + tl.ID() + "/wal/"
			Put(t, s, below+onceName+stored.Suffix(), compresstest.As(t, stored, ours))
			got, err := tl.PutOnce(ctx, onceName, Source(ours))
			if err != nil || got.Outcome != storage.AlreadyThere || got.Key != onceName+stored.Suffix() {
				t.Errorf("%s over the same as %s: %+v, %v", c, stored, got, err)
			}
			_, err = tl.PutOnce(ctx, onceName, Source(other))
			var conflict *storage.ConflictError
			if !errors.Is(err, storage.ErrConflict) || !errors.As(err, &conflict) || storage.Transient(err) ||
				conflict.Key != onceName+stored.Suffix() || conflict.Stored.Size != int64(len(ours)) || conflict.Stored == conflict.Ours {
				t.Errorf("%s over another as %s: %v", c, stored, err)
			}
			if keys := Keys(t, s, below, storage.ListOptions{}); len(keys) != 1 {
				t.Errorf("%s over another as %s left %q", c, stored, keys)
			}
		}
	}
}

func putOnceNew(t *testing.T, s *storage.Store) {
	ctx := context.Background()
	data := waldata(1)
	for i, c := range compress.Written() {
		for _, readBack := range []bool{false, true} {
			tl := Timeline(t, s, storage.TimelineOptions{Compression: c, ReadBack: readBack})
			name := fmt.Sprintf("00000001000000000000%04X", 2*i)
			if readBack {
				name += ".partial"
			}
			got, err := tl.PutOnce(ctx, name, Source(data))
			if err != nil || got.Outcome != storage.Uploaded || got.Key != name+c.Suffix() {
				t.Fatalf("%s: %+v, %v", name, got, err)
			}
			back, err := compress.NewReader(bytes.NewReader(Get(t, s, "ten/tl/wal/"+got.Key)), c)
			if err != nil {
				t.Fatal(err)
			}
			if content, err := io.ReadAll(back); err != nil || !bytes.Equal(content, data) {
				t.Errorf("%s: %d bytes are stored: %v", got.Key, len(content), err)
			}
			if err := tl.Compare(ctx, name, Source(data)); err != nil {
				t.Error(err)
			}
			if err := tl.Compare(ctx, name, Source(data[1:])); !errors.Is(err, storage.ErrConflict) {
				t.Errorf("compared with less: %v", err)
			}
		}
	}
	if err := Timeline(t, s, storage.TimelineOptions{}).Compare(ctx, "000000010000000000000FFF", Source(data)); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("compared with nothing: %v", err)
	}
}

// putOnceDamaged finds in its place what can't be decompressed.
func putOnceDamaged(t *testing.T, s *storage.Store) {
	data := waldata(1)
	for _, c := range walfile.All() {
		packed := compresstest.As(t, c, data)
		Put(t, s, oncePath+c.Suffix(), packed[:len(packed)-5])
		tl := Timeline(t, s, storage.TimelineOptions{Compression: walfile.Zstd})
		_, err := tl.PutOnce(context.Background(), onceName, Source(data))
		if !errors.Is(err, storage.ErrConflict) || storage.Transient(err) {
			t.Errorf("%s, cut: %v", c, err)
		}
		Put(t, s, oncePath+c.Suffix(), packed) // whole again, so that only the next is damaged
	}
}

// putOnceRace has many agents put one name at once.
func putOnceRace(t *testing.T, s *storage.Store) {
	const writers = 8
	for _, differ := range []bool{false, true} {
		name := onceName
		if differ {
			name += ".partial"
		}
		outcomes, errs := make([]storage.Placed, writers), make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			tl := Timeline(t, s, storage.TimelineOptions{Compression: walfile.LZ4})
			data := waldata(1)
			if differ {
				data = waldata(byte(i))
			}
			wg.Go(func() { outcomes[i], errs[i] = tl.PutOnce(context.Background(), name, Source(data)) })
		}
		wg.Wait()
		uploaded, conflicts := 0, 0
		for i, err := range errs {
			switch {
			case errors.Is(err, storage.ErrConflict) && differ:
				conflicts++
			case err != nil:
				t.Errorf("writer %d: %v", i, err)
			case outcomes[i].Outcome == storage.Uploaded:
				uploaded++
			}
		}
		if uploaded != 1 || differ && conflicts != writers-1 {
			t.Errorf("contents differ: %v: %d uploaded, %d conflicts", differ, uploaded, conflicts)
		}
	}
}

// putOnceSources fails for reasons of the source and leaves nothing.
func putOnceSources(t *testing.T, s *storage.Store) {
	data := waldata(1)
	broken := errors.New("the disk broke")
	for _, c := range compress.Written() {
		tl := Timeline(t, s, storage.TimelineOptions{Compression: c})
		for what, src := range map[string]storage.Source{
			"too short":           {Size: int64(len(data)) + 1, Open: Source(data).Open},
			"too long":            {Size: int64(len(data)) - 1, Open: Source(data).Open},
			"too short, a stream": {Size: int64(len(data)) + 1, Open: stream(data)},
			"too long, a stream":  {Size: int64(len(data)) - 1, Open: stream(data)},
			"gone":                {Size: 1, Open: func() (io.ReadCloser, error) { return nil, broken }},
			"broken": {Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(bytes.NewReader(data[:len(data)/2]), &failingReader{broken})), nil
			}},
		} {
			_, err := tl.PutOnce(context.Background(), onceName, src)
			var bad *storage.SourceError
			if !errors.As(err, &bad) || strings.HasPrefix(what, "too") == errors.Is(err, broken) {
				t.Errorf("%s, %s: %v", c, what, err)
			}
		}
	}
	if left := Keys(t, s, "", storage.ListOptions{}); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// stream opens data as what can be read only once.
func stream(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

// confined tries to leave a timeline.
func confined(t *testing.T, s *storage.Store) {
	Put(t, s, "ten/other/wal/"+onceName, waldata(1))
	for _, bad := range []string{"", ".", "..", "a/b", "../ten", "a\x00", "ten/", "%2e%2e", "ä", strings.Repeat("x", 65)} {
		if _, err := s.Timeline(bad, "tl", storage.TimelineOptions{}); !errors.Is(err, storage.ErrKey) {
			t.Errorf("tenant %q: %v", bad, err)
		}
		if _, err := s.Timeline("ten", bad, storage.TimelineOptions{}); !errors.Is(err, storage.ErrKey) {
			t.Errorf("timeline %q: %v", bad, err)
		}
	}
	if _, err := s.Timeline("ten", "tl", storage.TimelineOptions{Compression: walfile.XZ}); err == nil {
		t.Error("opened with a compression that is not written")
	}
	tl := Timeline(t, s, storage.TimelineOptions{})
	ctx := context.Background()
	for _, bad := range []string{"", "..", "../../other/wal/" + onceName, "/" + onceName, onceName + "/x", "x/" + onceName,
		onceName + ".gz", onceName + ".zst.partial", strings.ToLower("00000001000000000000000A"), onceName + "\x00", "00000001.history", "backup_label"} {
		if _, err := tl.PutOnce(ctx, bad, Source(nil)); !errors.Is(err, storage.ErrKey) {
			t.Errorf("PutOnce(%q): %v", bad, err)
		}
		if _, err := tl.Find(ctx, bad); !errors.Is(err, storage.ErrKey) {
			t.Errorf("Find(%q): %v", bad, err)
		}
		if err := tl.Compare(ctx, bad, Source(nil)); !errors.Is(err, storage.ErrKey) {
			t.Errorf("Compare(%q): %v", bad, err)
		}
	}
	for _, err := range tl.List(ctx, "../other/", 16<<20) {
		if !errors.Is(err, storage.ErrKey) {
			t.Errorf("List: %v", err)
		}
	}
	names := []string{onceName, onceName + ".partial", "00000002.history", onceName + ".00ABCDEF.backup"}
	for _, name := range names {
		if _, err := tl.PutOnce(ctx, name, Source(waldata(3))); err != nil {
			t.Errorf("PutOnce(%q): %v", name, err)
		}
	}
	var listed []string
	for e, err := range tl.List(ctx, "", 16<<20) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, e.Key)
	}
	slices.Sort(names)
	if !slices.Equal(listed, names) {
		t.Errorf("listed %q, stored %q", listed, names)
	}
}
