package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

var quick = storage.Retry{Attempts: 4, Wait: time.Microsecond}

func all(s *storage.Store) *storage.Store {
	return s.Wrap(func(b storage.Bucket) storage.Bucket {
		b = storage.Observe(b, func(string, error) {})
		b = storage.WithLimits(b, storage.Limits{Bytes: 1 << 30, Requests: 1 << 20})
		return storage.WithRetry(b, quick)
	})
}

// A wrapped store is a store.
func TestWrapped(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) *storage.Store { return all(open(t, "mem://")) })
}

// The i-th operation fails, once: a retry hides it. It fails for ever: PutOnce
// says so, or had done its work before.
func TestPutOnceUnderFaults(t *testing.T) {
	data := bytes.Repeat([]byte("wal "), 30_000)
	const name = "000000010000000000000003"
	for _, once := range []bool{true, false} {
		for i := int64(0); ; i++ {
			clean := open(t, t.TempDir())
			faulty, calls := storagetest.Inject(clean, storagetest.From(i, once))
			tl := storagetest.Timeline(t, faulty, storage.TimelineOptions{Compression: walfile.Zstd})
			var placed storage.Placed
			put := func() (err error) {
				placed, err = tl.PutOnce(t.Context(), name, storagetest.Source(data))
				return err
			}
			err := quick.Do(t.Context(), put)
			if once && err != nil {
				t.Fatalf("operation %d failed once: %v", i, err)
			}
			if err != nil && !errors.Is(err, storagetest.ErrInjected) {
				t.Fatalf("operation %d on: %v", i, err)
			}
			if err == nil && storagetest.Timeline(t, clean, storage.TimelineOptions{}).Compare(t.Context(), name, storagetest.Source(data)) != nil {
				t.Fatalf("operation %d: %s, but it is not there", i, placed.Outcome)
			}
			if calls.Calls() <= i {
				break
			}
		}
	}
}

func TestRetry(t *testing.T) {
	s := open(t, "mem://")
	want := []string{}
	for i := range 10 {
		key := fmt.Sprintf("k%02d", i)
		storagetest.Put(t, s, key, []byte(key))
		want = append(want, key)
	}
	n, step := 0, 0
	faulty, _ := storagetest.Inject(s, func(_ int64, op storagetest.Op, _ string) error {
		// Each listing fails a little later than the one before.
		if n++; op == storagetest.OpList && n > step || op == storagetest.OpPut && n%2 == 1 {
			n, step = 0, step+1
			return storagetest.ErrInjected
		}
		return nil
	})
	r := faulty.Wrap(func(b storage.Bucket) storage.Bucket {
		return storage.WithRetry(b, storage.Retry{Attempts: 50, Wait: time.Microsecond})
	})
	var got []string
	for o, err := range r.List(t.Context(), "", storage.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("listed %q", got)
	}
	storagetest.Put(t, r, "new", []byte("content"))
	if got := storagetest.Get(t, r, "new"); string(got) != "content" {
		t.Errorf("read %q", got)
	}
	for _, final := range []error{storage.ErrPermission, storage.ErrNotExist, context.Canceled} {
		tries := 0
		err := quick.Do(t.Context(), func() error { tries++; return fmt.Errorf("x: %w", final) })
		if !errors.Is(err, final) || tries != 1 {
			t.Errorf("%v: tried %d times: %v", final, tries, err)
		}
	}
}

// The waits double up to the longest and are never all of it in step.
func TestRetryWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := storage.Retry{Attempts: 8, Wait: time.Second, Max: 10 * time.Second}
		most := []time.Duration{1, 2, 4, 8, 10, 10, 10}
		last, n := time.Now(), 0
		err := r.Do(t.Context(), func() error {
			if waited := time.Since(last); n > 0 && (waited > most[n-1]*time.Second || waited < most[n-1]*time.Second/2-time.Microsecond) {
				t.Errorf("wait %d was %v", n, waited)
			}
			last = time.Now()
			n++
			return storagetest.ErrInjected
		})
		if n != 8 || !errors.Is(err, storagetest.ErrInjected) {
			t.Errorf("%d attempts: %v", n, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		err = r.Do(ctx, func() error { return storagetest.ErrInjected })
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, storagetest.ErrInjected) || storage.Transient(err) {
			t.Errorf("when time is up: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	s := open(t, "mem://")
	synctest.Test(t, func(t *testing.T) {
		slow := s.Wrap(func(b storage.Bucket) storage.Bucket {
			return storage.WithLimits(b, storage.Limits{Bytes: 100_000, Requests: 2})
		})
		start := time.Now()
		for i := range 3 {
			storagetest.Put(t, slow, fmt.Sprint(i), make([]byte, 200_000))
		}
		storagetest.Get(t, slow, "0")
		// 800,000 bytes, of which a second's worth is free.
		if took := time.Since(start); took < 6900*time.Millisecond || took > 8*time.Second {
			t.Errorf("800,000 bytes took %v", took)
		}
		start = time.Now()
		for range 20 {
			if _, err := slow.Stat(t.Context(), "0"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 8*time.Second || took > 11*time.Second {
			t.Errorf("20 requests took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := slow.Put(ctx, "late", bytes.NewReader(make([]byte, 1_000_000)), storage.PutOptions{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with too little time: %v", err)
		}
	})
}

func TestObserve(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	faulty, _ := storagetest.Inject(open(t, "mem://"), func(_ int64, op storagetest.Op, key string) error {
		switch {
		case key == "broken" || op == storagetest.OpList:
			return storagetest.ErrInjected
		case key == "secret":
			return storage.ErrPermission
		}
		return nil
	})
	s := faulty.Wrap(func(b storage.Bucket) storage.Bucket {
		return storage.Observe(b, func(op string, err error) {
			mu.Lock()
			defer mu.Unlock()
			seen[fmt.Sprintf("%s %v", op, storage.Observed(err))]++
		})
	})
	put := func(key string, r *bytes.Reader) {
		_ = s.Put(t.Context(), key, r, storage.PutOptions{CreateOnly: true})
	}
	put("a", bytes.NewReader([]byte("x")))
	put("a", bytes.NewReader([]byte("x"))) // is there: an answer, no error
	put("secret", bytes.NewReader(nil))
	_, _ = s.Stat(t.Context(), "nothing")
	_, _ = s.Stat(t.Context(), "broken")
	_, _ = s.Open(t.Context(), "a")
	for _, err := range s.List(t.Context(), "", storage.ListOptions{}) {
		if err == nil {
			t.Error("a listing that fails yields objects")
		}
	}
	want := map[string]int{"put false": 2, "put true": 1, "stat false": 1, "stat true": 1, "open false": 1, "list true": 1}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("saw %v, want %v", seen, want)
	}
}

func TestReplace(t *testing.T) {
	s := open(t, "mem://")
	const name = "000000010000000000000003"
	put := func(c walfile.Compression, name string, data string) error {
		tl := storagetest.Timeline(t, s, storage.TimelineOptions{Compression: c})
		_, err := tl.Replace(t.Context(), name, storagetest.Source([]byte(data)))
		return err
	}
	for i, data := range []string{"short", "longer", "longest of all"} {
		if err := put([]walfile.Compression{walfile.Gzip, walfile.None, walfile.Zstd}[i], name+".partial", data); err != nil {
			t.Fatal(err)
		}
		if err := storagetest.Timeline(t, s, storage.TimelineOptions{}).Compare(t.Context(), name+".partial", storagetest.Source([]byte(data))); err != nil {
			t.Error(err)
		}
	}
	if keys := storagetest.Keys(t, s, "", storage.ListOptions{}); len(keys) != 1 {
		t.Errorf("stored %q", keys)
	}
	for _, whole := range []string{name, "00000002.history", "../x"} {
		if err := put(walfile.None, whole, "x"); !errors.Is(err, storage.ErrKey) {
			t.Errorf("replaced %q: %v", whole, err)
		}
	}
}
