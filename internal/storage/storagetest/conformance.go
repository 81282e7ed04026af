// Package storagetest holds what tests of storage and of its users share: one
// suite that every store must pass, a bucket that fails on demand, and a real
// S3 server.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"redoubt/internal/storage"
)

// Conformance is what every store must do alike. open returns an empty store.
func Conformance(t *testing.T, open func(t *testing.T) *storage.Store) {
	for name, test := range map[string]func(*testing.T, *storage.Store){
		"put and read":      putAndRead,
		"ranges":            ranges,
		"missing":           missing,
		"listing":           listing,
		"many":              many,
		"create only":       createOnly,
		"overwrite":         overwrite,
		"failed put":        failedPut,
		"keys":              keys,
		"narrowed":          narrowed,
		"cancelled context": cancelled,
		"put once":          putOnce,
		"put once, new":     putOnceNew,
		"put once, damaged": putOnceDamaged,
		"put once, race":    putOnceRace,
		"put once, source":  putOnceSources,
		"confined":          confined,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Put writes an object or fails the test.
func Put(t testing.TB, s *storage.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(context.Background(), key, bytes.NewReader(data), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Get reads an object or fails the test.
func Get(t testing.TB, s *storage.Store, key string) []byte {
	t.Helper()
	rc, err := s.Open(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, rc)
}

func readAll(t testing.TB, rc io.ReadCloser) []byte {
	t.Helper()
	data, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil {
		t.Fatal(err)
	}
	return data
}

// Keys lists the keys with prefix or fails the test.
func Keys(t testing.TB, s *storage.Store, prefix string, opt storage.ListOptions) []string {
	t.Helper()
	var keys []string
	for o, err := range s.List(context.Background(), prefix, opt) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Dir != strings.HasSuffix(o.Key, "/") {
			t.Errorf("%q: Dir is %v", o.Key, o.Dir)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func putAndRead(t *testing.T, s *storage.Store) {
	for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16)} {
		Put(t, s, "dir/object", data)
		if got := Get(t, s, "dir/object"); !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, wrote %d", len(got), len(data))
		}
		st, err := s.Stat(context.Background(), "dir/object")
		if err != nil {
			t.Fatal(err)
		}
		if st.Size != int64(len(data)) || st.Key != "dir/object" || st.ModTime.IsZero() || st.ETag == "" {
			t.Errorf("Stat says %+v for %d bytes", st, len(data))
		}
		for o, err := range s.List(context.Background(), "dir/", storage.ListOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if o.Size != st.Size || o.ETag != st.ETag || o.Key != st.Key {
				t.Errorf("List says %+v, Stat %+v", o, st)
			}
		}
	}
}

func ranges(t *testing.T, s *storage.Store) {
	data := []byte("0123456789")
	Put(t, s, "object", data)
	Put(t, s, "empty", nil)
	for _, off := range []int64{0, 1, 9, 10, 11, 1000} {
		for _, n := range []int64{-1, 0, 1, 5, 10, 100} {
			rc, err := s.OpenRange(context.Background(), "object", off, n)
			if err != nil {
				t.Errorf("range %d+%d: %v", off, n, err)
				continue
			}
			from := min(off, 10)
			to := int64(10)
			if n >= 0 {
				to = min(from+n, 10)
			}
			if got := readAll(t, rc); !bytes.Equal(got, data[from:to]) {
				t.Errorf("range %d+%d is %q, want %q", off, n, got, data[from:to])
			}
			rc, err = s.OpenRange(context.Background(), "empty", off, n)
			if err != nil {
				t.Errorf("range %d+%d of an empty object: %v", off, n, err)
				continue
			}
			if got := readAll(t, rc); len(got) != 0 {
				t.Errorf("range %d+%d of an empty object is %q", off, n, got)
			}
		}
	}
}

func missing(t *testing.T, s *storage.Store) {
	Put(t, s, "a/b", []byte("x"))
	for _, key := range []string{"nothing", "a", "a/c", "a/b/c", "x/y/z"} {
		if _, err := s.Open(context.Background(), key); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("Open(%q): %v", key, err)
		} else if !strings.Contains(err.Error(), key) || storage.Transient(err) {
			t.Errorf("Open(%q) does not say what is missing, or is transient: %v", key, err)
		}
		if _, err := s.Stat(context.Background(), key); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("Stat(%q): %v", key, err)
		}
	}
}

func listing(t *testing.T, s *storage.Store) {
	for _, k := range []string{"b", "a/x", "a/y", "a.b", "a-c/d", "a0", "c/d/e/f", "c/d/e2", "B"} {
		Put(t, s, k, []byte(k))
	}
	flat, dirs := storage.ListOptions{}, storage.ListOptions{Dirs: true}
	for _, c := range []struct {
		prefix string
		opt    storage.ListOptions
		want   []string
	}{
		{"", flat, []string{"B", "a-c/d", "a.b", "a/x", "a/y", "a0", "b", "c/d/e/f", "c/d/e2"}},
		{"", dirs, []string{"B", "a-c/", "a.b", "a/", "a0", "b", "c/"}},
		{"a", flat, []string{"a-c/d", "a.b", "a/x", "a/y", "a0"}},
		{"a", dirs, []string{"a-c/", "a.b", "a/", "a0"}},
		{"a/", dirs, []string{"a/x", "a/y"}},
		{"a/y", flat, []string{"a/y"}},
		{"c/", dirs, []string{"c/d/"}},
		{"c/d/e", flat, []string{"c/d/e/f", "c/d/e2"}},
		{"c/d/e", dirs, []string{"c/d/e/", "c/d/e2"}},
		{"nothing", flat, nil},
		{"no/thing/", flat, nil},
		{"../", flat, nil},
	} {
		if got := Keys(t, s, c.prefix, c.opt); !slices.Equal(got, c.want) {
			t.Errorf("List(%q, %+v) = %q, want %q", c.prefix, c.opt, got, c.want)
		}
	}
	for _, err := range s.List(context.Background(), "", flat) {
		if err != nil {
			t.Errorf("List: %v", err)
		}
		break // leaving early must be harmless
	}
}

func many(t *testing.T, s *storage.Store) {
	var want []string
	for i := range 1100 { // more than one page of S3
		want = append(want, "k/"+strings.Repeat("x", i%3)+string(rune('a'+i%26))+strings.Repeat("0", i/26))
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(want, 100) {
		wg.Go(func() {
			for _, k := range part {
				if err := s.Put(context.Background(), k, strings.NewReader(k), storage.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(want)
	want = slices.Compact(want)
	if got := Keys(t, s, "k/", storage.ListOptions{}); !slices.Equal(got, want) {
		t.Errorf("listed %d keys, want %d in order", len(got), len(want))
	}
}

func createOnly(t *testing.T, s *storage.Store) {
	const writers = 8
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			data := strings.NewReader(strings.Repeat(string(rune('a'+i)), 1000))
			errs[i] = s.Put(context.Background(), "one", data, storage.PutOptions{CreateOnly: true})
		})
	}
	wg.Wait()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case err == nil:
			t.Error("two writers created the same object")
		case !errors.Is(err, storage.ErrExist):
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if won < 0 {
		t.Fatal("no writer won")
	}
	if got := Get(t, s, "one"); string(got) != strings.Repeat(string(rune('a'+won)), 1000) {
		t.Errorf("the object is not the winner's: %.10q", got)
	}
}

func overwrite(t *testing.T, s *storage.Store) {
	Put(t, s, "o", []byte("long first content"))
	first, err := s.Stat(context.Background(), "o")
	if err != nil {
		t.Fatal(err)
	}
	Put(t, s, "o", []byte("second"))
	second, err := s.Stat(context.Background(), "o")
	if err != nil {
		t.Fatal(err)
	}
	if got := Get(t, s, "o"); string(got) != "second" || first.ETag == second.ETag {
		t.Errorf("content is %q, ETags %q and %q", got, first.ETag, second.ETag)
	}
}

func failedPut(t *testing.T, s *storage.Store) {
	Put(t, s, "old", []byte("old"))
	broken := errors.New("the source broke")
	for _, key := range []string{"new", "old", "dir/new"} {
		r := io.MultiReader(strings.NewReader("half of it"), iotest.ErrReader(broken))
		if err := s.Put(context.Background(), key, r, storage.PutOptions{}); err == nil {
			t.Errorf("Put(%q) of a broken source succeeded", key)
		}
	}
	if got := Keys(t, s, "", storage.ListOptions{}); !slices.Equal(got, []string{"old"}) || string(Get(t, s, "old")) != "old" {
		t.Errorf("a failed Put left %q", got)
	}
}

func keys(t *testing.T, s *storage.Store) {
	for _, key := range []string{"", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", "a/.", "a\x00b", strings.Repeat("x", 1025)} {
		if _, err := s.Open(context.Background(), key); !errors.Is(err, storage.ErrKey) {
			t.Errorf("Open(%q): %v", key, err)
		}
		if _, err := s.Stat(context.Background(), key); !errors.Is(err, storage.ErrKey) {
			t.Errorf("Stat(%q): %v", key, err)
		}
		if err := s.Put(context.Background(), key, strings.NewReader(""), storage.PutOptions{}); !errors.Is(err, storage.ErrKey) {
			t.Errorf("Put(%q): %v", key, err)
		}
	}
	for _, key := range []string{"a b", "ünïcode", "a+b%20c", "...", "..a/b..", "a&b=c?d#e"} {
		Put(t, s, key, []byte(key))
		if got := Get(t, s, key); string(got) != key {
			t.Errorf("%q holds %q", key, got)
		}
	}
}

func narrowed(t *testing.T, s *storage.Store) {
	Put(t, s, "tenant/timeline/wal/1", []byte("inside"))
	Put(t, s, "tenant2/secret", []byte("outside"))
	n, err := s.Sub("tenant/")
	if err != nil {
		t.Fatal(err)
	}
	if n, err = n.Sub("timeline"); err != nil {
		t.Fatal(err)
	}
	if got := Keys(t, n, "", storage.ListOptions{}); !slices.Equal(got, []string{"wal/1"}) {
		t.Errorf("the narrowed handle lists %q", got)
	}
	if got := Get(t, n, "wal/1"); string(got) != "inside" {
		t.Errorf("read %q", got)
	}
	if _, err := n.Open(context.Background(), "../../tenant2/secret"); !errors.Is(err, storage.ErrKey) {
		t.Errorf("the narrowed handle could be left: %v", err)
	}
	for _, bad := range []string{"..", "a//b", "/a", "a/../.."} {
		if _, err := s.Sub(bad); !errors.Is(err, storage.ErrKey) {
			t.Errorf("Sub(%q): %v", bad, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(n.Location(), "tenant/timeline") {
		t.Errorf("location is %q", n.Location())
	}
	if got := Get(t, s, "tenant2/secret"); string(got) != "outside" {
		t.Error("closing a narrowed handle closed the store")
	}
}

func cancelled(t *testing.T, s *storage.Store) {
	Put(t, s, "o", []byte("x"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Put(ctx, "p", strings.NewReader("x"), storage.PutOptions{})
	if !errors.Is(err, context.Canceled) || storage.Transient(err) {
		t.Errorf("Put: %v", err)
	}
	for _, err := range s.List(ctx, "", storage.ListOptions{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("List: %v", err)
		}
	}
	if got := Keys(t, s, "", storage.ListOptions{}); !slices.Equal(got, []string{"o"}) {
		t.Errorf("a cancelled Put left %q", got)
	}
}
