package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

// behindProxy is a location again, behind a proxy of its own, with a limit to
// how long it may be silent.
func behindProxy(t *testing.T, loc string, idle time.Duration) (string, *storagetest.Proxy) {
	t.Helper()
	u, err := url.Parse(loc)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	p := storagetest.NewProxy(t, at.Host)
	return fmt.Sprintf("%s&idle_timeout=%s", strings.Replace(loc, at.Host, p.Addr, 1), idle), p
}

// A network that fails in whatever way makes an error that is worth another
// try, in bounded time, and never a short or a wrong content.
func TestNetworkFaults(t *testing.T) {
	loc := storagetest.S3(t)("bucket")
	direct := open(t, loc)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	storagetest.Put(t, direct, "object", data)
	read := func(t *testing.T, s *storage.Store, begun func()) error {
		rc, err := s.Open(t.Context(), "object")
		if err != nil {
			return err
		}
		defer func() { _ = rc.Close() }() // what was read is what counts
		got := make([]byte, 1000)
		if _, err := io.ReadFull(rc, got); err != nil {
			return err
		}
		begun()
		rest, err := io.ReadAll(rc)
		got = append(got, rest...)
		if !bytes.HasPrefix(data, got) || err == nil && len(got) < len(data) {
			t.Errorf("read %d bytes, error %v", len(got), err)
		}
		return err
	}
	ops := map[string]func(t *testing.T, s *storage.Store) error{
		"stat": func(t *testing.T, s *storage.Store) error { _, err := s.Stat(t.Context(), "object"); return err },
		"list": func(t *testing.T, s *storage.Store) error {
			for _, err := range s.List(t.Context(), "", storage.ListOptions{}) {
				return err
			}
			return errors.New("the listing is empty")
		},
		"put": func(t *testing.T, s *storage.Store) error {
			key := strings.ReplaceAll(t.Name(), "/", " ")
			err := s.Put(t.Context(), key, bytes.NewReader(data), storage.PutOptions{})
			if err == nil && !bytes.Equal(storagetest.Get(t, direct, key), data) {
				t.Error("what was put is not there")
			}
			return err
		},
		"read": func(t *testing.T, s *storage.Store) error { return read(t, s, func() {}) },
	}
	for name, c := range map[string]struct {
		fault storagetest.Fault
		idle  time.Duration
		fine  string // operations that it does not disturb
	}{
		"half-open":      {storagetest.Fault{Hole: true}, 400 * time.Millisecond, ""},
		"slow":           {storagetest.Fault{Slow: 200}, 400 * time.Millisecond, "put"}, // whose answer is short
		"cut":            {storagetest.Fault{Cut: 100}, 400 * time.Millisecond, ""},
		"cut far on":     {storagetest.Fault{Cut: 500_000}, time.Minute, "stat list put"},
		"internal error": {storagetest.Fault{Status: 500}, 400 * time.Millisecond, ""},
		"slow down":      {storagetest.Fault{Status: 503}, 400 * time.Millisecond, ""},
		"latency":        {storagetest.Fault{Latency: 5 * time.Millisecond}, time.Minute, "stat list put read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for op, try := range ops {
				t.Run(op, func(t *testing.T) {
					t.Parallel()
					at, proxy := behindProxy(t, loc, c.idle)
					s := openPatiently(t, at)
					proxy.Set(c.fault)
					began := time.Now()
					err := try(t, s)
					judge(t, err, time.Since(began), strings.Contains(c.fine, op))
					if proxy.Used() == 0 {
						t.Error("nothing met the fault")
					}
				})
			}
			t.Run("read on", func(t *testing.T) {
				if c.fault.Status != 0 {
					return // an answer that has begun has its status
				}
				t.Parallel()
				at, proxy := behindProxy(t, loc, c.idle)
				s := openPatiently(t, at)
				proxy.Set(storagetest.Fault{Latency: 5 * time.Millisecond}) // so that it is not over before
				began := time.Now()
				err := read(t, s, func() { proxy.Set(c.fault) })
				judge(t, err, time.Since(began), strings.Contains(c.fine, "read"))
			})
			t.Run("open", func(t *testing.T) {
				t.Parallel()
				at, proxy := behindProxy(t, loc, c.idle)
				proxy.Set(c.fault)
				began := time.Now()
				s, err := storage.Open(t.Context(), at)
				if err == nil {
					err = s.Close()
				}
				judge(t, err, time.Since(began), strings.Contains(c.fine, "list"))
			})
		})
	}
}

// openPatiently opens a store that may be slower than its limit just now.
func openPatiently(t *testing.T, at string) *storage.Store {
	t.Helper()
	var s *storage.Store
	err := storage.Retry{Attempts: 50}.Do(t.Context(), func() (err error) {
		s, err = storage.Open(t.Context(), at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // what it read and wrote is judged
	return s
}

// judge holds an error against what the fault should make of the operation.
func judge(t *testing.T, err error, took time.Duration, fine bool) {
	t.Helper()
	if fine != (err == nil) || err != nil && !storage.Transient(err) {
		t.Errorf("error %v", err)
	}
	if took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	t.Logf("%s: %v", took.Round(time.Millisecond), err)
}

// A caller's own end is told as such, and a source may take its time.
func TestIdleTimeout(t *testing.T) {
	loc := storagetest.S3(t)("bucket")
	at, proxy := behindProxy(t, loc, time.Second)
	s := openPatiently(t, at)
	slow := io.MultiReader(strings.NewReader("a"), pausing(1500*time.Millisecond), strings.NewReader("b"))
	if err := s.Put(t.Context(), "patient", slow, storage.PutOptions{}); err != nil {
		t.Errorf("a source that takes its time: %v", err)
	}
	rc, err := s.Open(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // and so may a reader
	if got, err := io.ReadAll(rc); string(got) != "ab" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
	proxy.Set(storagetest.Fault{Hole: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Stat(ctx, "patient"); !errors.Is(err, context.DeadlineExceeded) || storage.Transient(err) {
		t.Errorf("the caller's time ran out: %v", err)
	}
	for _, bad := range []string{"idle_timeout=", "idle_timeout=0s", "idle_timeout=-1s", "idle_timeout=soon"} {
		if _, err := storage.Open(t.Context(), loc+"&"+bad); err == nil || !strings.Contains(err.Error(), "idle_timeout") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if strings.Contains(s.Location(), "idle_timeout") {
		t.Errorf("%s: a place is the same however long one waits for it", s.Location())
	}
}

type pausing time.Duration

func (p pausing) Read([]byte) (int, error) {
	time.Sleep(time.Duration(p))
	return 0, io.EOF
}
