package native

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

var errInjected = errors.New("injected fault")

// faultyWAL fails at its n-th operation: opening, reading, closing.
type faultyWAL struct {
	*memWAL
	left int
}

func (w *faultyWAL) fails() bool {
	w.left--
	return w.left < 0
}

func (w *faultyWAL) Open(ctx context.Context, from pg.LSN) (replay.WALStream, error) {
	if w.fails() {
		return nil, errInjected
	}
	s, err := w.memWAL.Open(ctx, from)
	return faultyStream{s, w}, err
}

type faultyStream struct {
	replay.WALStream
	w *faultyWAL
}

func (s faultyStream) ReadPages(at pg.LSN) ([]byte, error) {
	if s.w.fails() {
		return nil, errInjected
	}
	return s.WALStream.ReadPages(at)
}

func (s faultyStream) Close() error {
	if s.w.fails() {
		return errInjected
	}
	return s.WALStream.Close()
}

// TestFailingSource lets the i-th operation on the WAL fail, i = 0, 1, 2 …
// until none does: each time the error comes back and no goroutine stays.
func TestFailingSource(t *testing.T) {
	w := demoSpan(t)
	for i := 0; ; i++ {
		src := &faultyWAL{memWAL: w.wal, left: i}
		_, err := tryPlay(t, t.Context(), Config{Workers: 3}, src, Span{Range: w.span}, w.base)
		goleak.VerifyNone(t)
		if src.left >= 0 {
			if err != nil || i < 20 {
				t.Errorf("no fault in %d operations, error %v", i, err)
			}
			return
		}
		if !errors.Is(err, errInjected) {
			t.Fatalf("fault %d: error %v", i, err)
		}
	}
}

// TestWALEndsEarly: missing and damaged WAL is told by its own type, in both passes.
func TestWALEndsEarly(t *testing.T) {
	w := demoSpan(t)
	cut := *w.wal
	cut.data = cut.data[:2*cut.segment]
	_, err := tryPlay(t, t.Context(), Config{}, &cut, Span{Range: w.span}, w.base)
	var missing *wal.MissingError
	if !errors.As(err, &missing) || missing.Segment != "000000010000000000000010" {
		t.Errorf("cut WAL: %v", err)
	}
	flipped := *w.wal
	flipped.data = append([]byte(nil), w.wal.data...)
	at := w.starts[len(w.starts)/2]
	flipped.data[at-flipped.start+20] ^= 1
	_, err = tryPlay(t, t.Context(), Config{}, &flipped, Span{Range: w.span}, w.base)
	var end *wal.EndError
	if !errors.As(err, &end) || !strings.Contains(err.Error(), at.String()) {
		t.Errorf("flipped bit at %s: %v", at, err)
	}
	// The second pass meets what the first did not, in records that are not kept.
	e := New(Config{Scratch: t.TempDir()}, w.wal, Span{Range: w.span})
	if _, err := e.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.src, e.records.slabs = &flipped, nil
	if _, err := e.Replay(t.Context()); !errors.As(err, &end) {
		t.Errorf("flipped bit in the second pass: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestCancel ends a scan or a replay at each tenth of its way: it returns the
// context's error at once and leaves no goroutine.
func TestCancel(t *testing.T) {
	w := demoSpan(t)
	for tenth := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		var seen, total atomic.Int64
		total.Store(int64(w.span.Bytes()) * 2 * int64(tenth) / 20)
		last := w.span.From
		cfg := Config{Workers: 3, Memory: 1, Progress: func(at pg.LSN) {
			if at < last {
				last = w.span.From // the second pass
			}
			if seen.Add(int64(at-last)) >= total.Load() {
				cancel()
			}
			last = at
		}}
		done := make(chan error, 1)
		go func() {
			_, err := tryPlay(t, ctx, cfg, w.wal, Span{Range: w.span}, w.base)
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled after %d bytes: %v", seen.Load(), err)
			}
		case <-time.After(time.Minute):
			buf := make([]byte, 1<<20)
			t.Fatalf("replay goes on a minute after it was cancelled\n%s", buf[:runtime.Stack(buf, true)])
		}
		cancel()
		goleak.VerifyNone(t)
	}
}

// TestPanics: one of ours is an error with its place, and no goroutine stays.
func TestPanics(t *testing.T) {
	w := demoSpan(t)
	for _, calls := range []int64{0, 1000, 20000} {
		var n atomic.Int64
		filter := func(pg.RelFork, pg.BlockNumber) bool {
			if n.Add(1) > calls {
				panic("in the filter")
			}
			return true
		}
		_, err := tryPlay(t, t.Context(), Config{Workers: 2, Filter: filter}, w.wal, Span{Range: w.span}, w.base)
		if err == nil || !strings.Contains(err.Error(), "in the filter") || !strings.Contains(err.Error(), "faults_test.go") {
			t.Errorf("after %d calls: %v", calls, err)
		}
		goleak.VerifyNone(t)
	}
	_, err := tryPlay(t, t.Context(), Config{Progress: func(pg.LSN) { panic("in the progress") }}, w.wal, Span{Range: w.span}, w.base)
	if err == nil || !strings.Contains(err.Error(), "in the progress") {
		t.Errorf("progress: %v", err)
	}
	goleak.VerifyNone(t)
}

// TestScratchFull: a directory without room, or that is none, is an error that
// says what to do, and only once pages have to go there.
func TestScratchFull(t *testing.T) {
	w := demoSpan(t)
	run := func(cfg Config) error {
		e := New(cfg, w.wal, Span{Range: w.span})
		defer func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}()
		if _, err := e.Scan(t.Context()); err != nil {
			return err
		}
		if err := w.base.walk(e); err != nil {
			return err
		}
		_, err := e.Replay(t.Context())
		return err
	}
	missing := filepath.Join(t.TempDir(), "nowhere")
	for what, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"enough memory":      {Config{Scratch: missing}, nil},
		"no directory":       {Config{Scratch: missing, Memory: 1}, []string{missing, "--scratch"}},
		"floor of free room": {Config{Scratch: t.TempDir(), Memory: 1, ScratchMinFree: 1 << 60}, []string{"full", "--memory", "--scratch", "no space left"}},
	} {
		err := run(c.cfg)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: error %v", what, err)
		}
		for _, s := range c.want {
			if err != nil && !strings.Contains(err.Error(), s) {
				t.Errorf("%s: error %v does not say %q", what, err, s)
			}
		}
		goleak.VerifyNone(t)
	}
}

// TestScratchLimit runs out of room while it reserves it, which a limit on
// the size of files brings about in a process of its own.
func TestScratchLimit(t *testing.T) {
	const inside = "REDOUBT_TEST_SCRATCH_LIMIT"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestScratchLimit$", "-test.v") //nolint:gosec // the test itself
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: scratchExtent / 2, Max: scratchExtent / 2}); err != nil {
		t.Fatal(err)
	}
	s := scratch{dir: t.TempDir()}
	_, err := s.put(make([]byte, pg.BlockSize))
	if !errors.Is(err, unix.EFBIG) || !strings.Contains(err.Error(), "--scratch") || !strings.Contains(err.Error(), s.dir) {
		t.Errorf("error %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestScratchHasNoName: a killed process leaves nothing behind.
func TestScratchHasNoName(t *testing.T) {
	s := scratch{dir: t.TempDir()}
	for i := range 3 {
		p := make([]byte, pg.BlockSize)
		p[0] = byte(i + 1)
		if slot, err := s.put(p); err != nil || slot != int64(i) {
			t.Fatalf("slot %d, error %v", slot, err)
		}
	}
	s.release(1)
	if slot, err := s.put(make([]byte, pg.BlockSize)); err != nil || slot != 1 {
		t.Errorf("slot %d, error %v", slot, err)
	}
	left, err := os.ReadDir(s.dir)
	if err != nil || len(left) != 0 {
		t.Errorf("files %v, error %v", left, err)
	}
	p := make([]byte, pg.BlockSize)
	if err := s.get(2, p); err != nil || p[0] != 3 {
		t.Errorf("page %d, error %v", p[0], err)
	}
	for range 2 {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}
