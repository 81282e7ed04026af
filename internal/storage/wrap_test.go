package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

var quick = storage.Retry{Attempts: 4, Wait: time.Microsecond}

func all(s *storage.Store) *storage.Store {
	return s.Wrap(func(b storage.Bucket) storage.Bucket {
		b = storage.Observe(b, func(storage.Access) {})
		return storage.WithLimits(b, storage.Limits{Bytes: 1 << 30, Requests: 1 << 20})
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

// Stores that are opened in an observing context tell of each operation:
// whether it failed, which no answer is, and how many bytes it moved.
func TestObserve(t *testing.T) {
	var mu sync.Mutex
	seen, bytes := map[string]int{}, map[string]int64{}
	done := func(a storage.Access) {
		mu.Lock()
		defer mu.Unlock()
		seen[fmt.Sprintf("%s %v", a.Op, a.Failed())]++
		bytes[a.Op] += a.Bytes
	}
	s, err := storage.Open(storage.Observing(t.Context(), done), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, data string) error {
		return s.Put(t.Context(), key, strings.NewReader(data), storage.PutOptions{CreateOnly: true})
	}
	if err := put("a", "12345"); err != nil {
		t.Fatal(err)
	}
	if err := put("a", "x"); !errors.Is(err, storage.ErrExist) { // an answer, no failure
		t.Fatal(err)
	}
	_, _ = s.Stat(t.Context(), "nothing")
	storagetest.Get(t, s, "a")
	storagetest.Keys(t, s, "", storage.ListOptions{})
	if err := s.Put(t.Context(), "b", iotest.ErrReader(errors.New("the source broke")), storage.PutOptions{}); err == nil {
		t.Fatal("a broken source was stored")
	}
	faulty, _ := storagetest.Inject(open(t, "mem://"), storagetest.From(0, false))
	faulty = faulty.Wrap(func(b storage.Bucket) storage.Bucket { return storage.Observe(b, done) })
	if err := faulty.Put(t.Context(), "c", strings.NewReader("x"), storage.PutOptions{}); err == nil {
		t.Fatal("a broken store took something")
	}
	want := map[string]int{"put false": 2, "put true": 1, "stat false": 1, "open false": 1, "read false": 1, "list false": 1}
	if fmt.Sprint(seen) != fmt.Sprint(want) || bytes["read"] != 5 || bytes["put"] < 5 {
		t.Errorf("saw %v, want %v; bytes %v", seen, want, bytes)
	}
	a := storage.Access{Err: fmt.Errorf("x: %w", storage.ErrPermission)}
	if !a.Failed() {
		t.Error("a refusal is no failure")
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
