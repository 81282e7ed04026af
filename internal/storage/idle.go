package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"time"
)

// ErrStalled says that a store let a request hang: it did not answer, or came
// forward far too slowly. Trying again may help.
var ErrStalled = errors.New("the store stands still")

const (
	// idleTimeout is how long a store may be silent unless its location says otherwise.
	idleTimeout = time.Minute
	// leastRate is how many bytes per second a transfer must come to at least.
	leastRate = 16 << 10
	// idleParameter is that parameter of a location.
	idleParameter = "idle_timeout"
)

// takeIdle reads the parameter out of a location, for nobody else knows it.
func takeIdle(u *url.URL) (time.Duration, error) {
	q := u.Query()
	if !q.Has(idleParameter) {
		return idleTimeout, nil
	}
	d, err := time.ParseDuration(q.Get(idleParameter))
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s=%s is no time above 0, such as 30s", idleParameter, q.Get(idleParameter))
	}
	q.Del(idleParameter)
	u.RawQuery = q.Encode()
	return d, nil
}

// withIdleTimeout wraps a bucket so that no request hangs without end: not on
// a connection whose other end is gone, nor on one that brings a few bytes per
// second. An answer, and each page of a listing, must begin within idle; a
// transfer must come to leastRate. Only waiting for the store counts: callers
// take as long as they like between two reads, and so do sources of writes.
func withIdleTimeout(b Bucket, idle time.Duration) Bucket { return &bounded{b, idle} }

type bounded struct {
	Bucket
	idle time.Duration
}

var _ clocked = (*bounded)(nil)

// watchdog ends the context of a request that hangs.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func watch(ctx context.Context, idle time.Duration) *watchdog {
	w := &watchdog{}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(idle, func() { w.cancel(fmt.Errorf("%w: no answer for %s", ErrStalled, idle)) })
	return w
}

// wait begins to wait for the store, d at most; rest says that it has answered.
func (w *watchdog) wait(d time.Duration) { w.timer.Reset(d) }
func (w *watchdog) rest()                { w.timer.Stop() }

func (w *watchdog) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain is the error of a request, of one that was ended here the reason.
func (w *watchdog) explain(err error) error {
	if cause := context.Cause(w.ctx); err != nil && err != io.EOF && errors.Is(cause, ErrStalled) {
		return cause
	}
	return err
}

func (b *bounded) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		w := watch(ctx, b.idle)
		defer w.end()
		for o, err := range b.Bucket.List(w.ctx, prefix, opt) {
			w.rest()
			if !yield(o, w.explain(err)) {
				return
			}
			w.wait(b.idle)
		}
	}
}

func (b *bounded) Stat(ctx context.Context, key string) (Object, error) {
	w := watch(ctx, b.idle)
	defer w.end()
	o, err := b.Bucket.Stat(w.ctx, key)
	return o, w.explain(err)
}

func (b *bounded) skew(ctx context.Context, key string) (time.Duration, bool, error) {
	c, ok := b.Bucket.(clocked)
	if !ok {
		return 0, false, nil
	}
	w := watch(ctx, b.idle)
	defer w.end()
	ahead, known, err := c.skew(w.ctx, key)
	return ahead, known, w.explain(err)
}

func (b *bounded) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	w := watch(ctx, b.idle)
	rc, err := b.Bucket.Open(w.ctx, key, offset, length)
	w.rest()
	if err != nil {
		err = w.explain(err)
		w.end()
		return nil, err
	}
	return &boundedReader{rc: rc, w: w, idle: b.idle}, nil
}

// boundedReader reads an object whose store must not stand still.
type boundedReader struct {
	rc     io.ReadCloser
	w      *watchdog
	idle   time.Duration
	waited time.Duration // for the store, since got was 0
	got    int64
}

func (r *boundedReader) Read(p []byte) (int, error) {
	began := time.Now()
	r.w.wait(r.idle)
	n, err := r.rc.Read(p)
	r.w.rest()
	r.got += int64(n)
	if r.waited += time.Since(began); r.waited >= r.idle {
		if slow := tooSlow(r.got, r.waited); slow != nil && err == nil {
			err = slow
		}
		r.got, r.waited = 0, 0
	}
	return n, r.w.explain(err)
}

func tooSlow(n int64, in time.Duration) error {
	if float64(n) >= leastRate*in.Seconds() {
		return nil
	}
	return fmt.Errorf("%w: only %d bytes came in %s", ErrStalled, n, in.Round(time.Millisecond))
}

func (r *boundedReader) Close() error {
	r.w.rest()
	defer r.w.end()
	return r.rc.Close()
}

// inFlight is the most that a client reads of its source ahead of what the
// store has taken.
const inFlight = onePiece + 2*s3Part

// Put waits for the store as long as what was read of r may take at leastRate:
// clients send from buffers, so that nobody sees how far they got.
func (b *bounded) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	w := watch(ctx, b.idle)
	defer w.end()
	src := &boundedSource{r: r, w: w, idle: b.idle}
	err := b.Bucket.Put(w.ctx, key, withSeek(src, r, func(int64) { src.sent = 0 }), opt)
	return w.explain(err)
}

type boundedSource struct {
	r    io.Reader
	w    *watchdog
	idle time.Duration
	sent int64
}

func (s *boundedSource) Read(p []byte) (int, error) {
	s.w.rest()
	n, err := s.r.Read(p)
	s.sent = min(s.sent+int64(n), inFlight)
	s.w.wait(s.idle + time.Duration(s.sent)*time.Second/leastRate)
	return n, err
}
