package verify

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/pg"
)

// TestPoolCopies: the caller may use its memory again at once.
func TestPoolCopies(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPool(t.Context(), 3)
	pages := make([]byte, 4*pg.BlockSize)
	var wrong atomic.Int64
	for i := range 200 {
		for j := range pages {
			pages[j] = byte(i)
		}
		n := i%4 + 1
		err := p.submit(pages[:n*pg.BlockSize], func(w *workspace) error {
			if pages := w.pages; len(pages) != n*pg.BlockSize || !bytes.Equal(pages, bytes.Repeat([]byte{byte(i)}, len(pages))) {
				wrong.Add(1)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.wait(); err != nil || wrong.Load() != 0 {
		t.Errorf("%d runs saw other pages, error %v", wrong.Load(), err)
	}
}

// TestPoolIsBounded: no more runs are under way than there are buffers.
func TestPoolIsBounded(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPool(t.Context(), 2)
	var now, most atomic.Int64
	for range 50 {
		err := p.submit(make([]byte, pg.BlockSize), func(*workspace) error {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Millisecond)
			now.Add(-1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.wait(); err != nil || most.Load() > 3 {
		t.Errorf("%d runs at a time, error %v", most.Load(), err)
	}
}

// TestPoolEnds: an error, a panic and a cancelled context reach the submitter
// and whoever waits, and nothing hangs.
func TestPoolEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	fault := errors.New("fault")
	for name, c := range map[string]struct {
		fn   func(cancel context.CancelFunc) error
		want string
	}{
		"error":  {func(context.CancelFunc) error { return fault }, "fault"},
		"panic":  {func(context.CancelFunc) error { panic("ours") }, "ours"},
		"cancel": {func(cancel context.CancelFunc) error { cancel(); return context.Canceled }, "context canceled"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPool(ctx, 2)
		var err error
		for deadline := time.Now().Add(time.Minute); err == nil && time.Now().Before(deadline); {
			err = p.submit(make([]byte, pg.BlockSize), func(*workspace) error { return c.fn(cancel) })
		}
		if err == nil {
			t.Errorf("%s: submit never says so", name)
		}
		if err := p.wait(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
		cancel()
	}
}

// TestSpool stores pages from several goroutines and finds them again.
func TestSpool(t *testing.T) {
	s := &spool{dir: t.TempDir()}
	places := make([]int64, 40)
	var wg sync.WaitGroup
	for i := range places {
		wg.Go(func() {
			at, err := s.put(bytes.Repeat([]byte{byte(i)}, pg.BlockSize))
			if err != nil {
				t.Error(err)
			}
			places[i] = at
		})
	}
	wg.Wait()
	for i, at := range places {
		if p, err := s.get(at); err != nil || !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, pg.BlockSize)) {
			t.Errorf("page %d is another one, error %v", i, err)
		}
	}
	if at, err := s.put(nil); at != -1 || err != nil {
		t.Errorf("no page is at %d, error %v", at, err)
	}
	if p, err := s.get(-1); p != nil || err != nil {
		t.Errorf("page %v, error %v", p, err)
	}
	if _, err := s.get(99); err == nil {
		t.Error("a place that was never given has a page")
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("files %v, error %v", left, err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if err := (&spool{}).close(); err != nil {
		t.Error(err)
	}
}

// TestSpoolWithoutRoom names directory and cure.
func TestSpoolWithoutRoom(t *testing.T) {
	s := &spool{dir: filepath.Join(t.TempDir(), "nowhere")}
	if _, err := s.put(make([]byte, pg.BlockSize)); err == nil || !strings.Contains(err.Error(), "--scratch") || !strings.Contains(err.Error(), s.dir) {
		t.Errorf("error %v", err)
	}
	s = &spool{} // the default directory
	if _, err := s.put(make([]byte, pg.BlockSize)); err != nil {
		t.Fatal(err)
	}
	if err := s.f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put(make([]byte, pg.BlockSize)); err == nil || !strings.Contains(err.Error(), os.TempDir()) || !strings.Contains(err.Error(), "--scratch") {
		t.Errorf("error %v", err)
	}
}

// TestPoolLends: pages in what was lent are not copied, and what is lent next
// is other memory, until the work is done.
func TestPoolLends(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPool(t.Context(), 2)
	var wrong atomic.Int64
	for i := range 200 {
		pages, err := p.Lend(4 * pg.BlockSize)
		if err != nil || len(pages) != 4*pg.BlockSize {
			t.Fatalf("%d bytes, error %v", len(pages), err)
		}
		if i%7 == 0 {
			continue // nothing is made of it: it is lent again
		}
		for j := range pages {
			pages[j] = byte(i)
		}
		n := i%4 + 1
		err = p.submit(pages[:n*pg.BlockSize], func(w *workspace) error {
			if &w.pages[0] != &pages[0] || !bytes.Equal(w.pages, bytes.Repeat([]byte{byte(i)}, n*pg.BlockSize)) {
				wrong.Add(1)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.wait(); err != nil || wrong.Load() != 0 {
		t.Errorf("%d runs saw other pages, error %v", wrong.Load(), err)
	}
}
