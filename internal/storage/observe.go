package storage

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// The operations that Observe tells of.
const (
	OpList = "list"
	OpOpen = "open"
	OpRead = "read"
	OpStat = "stat"
	OpPut  = "put"
)

// Ops lists them all.
func Ops() []string { return []string{OpList, OpOpen, OpRead, OpStat, OpPut} }

// Access is an operation that has ended. A listing is one from its first to
// its last object; opening an object and reading it, from there to its close,
// are two.
type Access struct {
	Op    string
	Bytes int64         // read or written
	Took  time.Duration // of it, waiting for the store
	Err   error
}

// Failed reports whether it is an error of access: the store could not be
// asked, or refused. That a key is not there, or is there already, is an
// answer, and so is the end of the context no error of the store.
func (a *Access) Failed() bool {
	return a.Err != nil && (Transient(a.Err) || errors.Is(a.Err, ErrPermission))
}

// Observing is a context in which all stores that are opened, by whomever, tell
// done of their operations.
func Observing(ctx context.Context, done func(Access)) context.Context {
	return context.WithValue(ctx, observer{}, done)
}

type observer struct{}

// observedIn is a bucket as Observing asks for.
func observedIn(ctx context.Context, b Bucket) Bucket {
	if done, ok := ctx.Value(observer{}).(func(Access)); ok {
		return Observe(b, done)
	}
	return b
}

// Observe wraps a bucket so that done is told of each operation. It is called
// at the same time from several goroutines. What fails because the source of a
// write does is not told.
func Observe(b Bucket, done func(Access)) Bucket { return &observed{b, done} }

type observed struct {
	Bucket
	done func(Access)
}

var _ clocked = (*observed)(nil)

func (b *observed) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		a := Access{Op: OpList}
		defer func() { b.done(a) }()
		began := time.Now()
		for o, err := range b.Bucket.List(ctx, prefix, opt) {
			a.Took += time.Since(began)
			a.Err = err
			if !yield(o, err) {
				return
			}
			began = time.Now()
		}
		a.Took += time.Since(began)
	}
}

func (b *observed) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	began := time.Now()
	rc, err := b.Bucket.Open(ctx, key, offset, length)
	b.done(Access{Op: OpOpen, Took: time.Since(began), Err: err})
	if err != nil {
		return nil, err
	}
	return &observedReader{rc: rc, done: b.done, a: Access{Op: OpRead}}, nil
}

func (b *observed) Stat(ctx context.Context, key string) (Object, error) {
	began := time.Now()
	o, err := b.Bucket.Stat(ctx, key)
	b.done(Access{Op: OpStat, Took: time.Since(began), Err: err})
	return o, err
}

func (b *observed) skew(ctx context.Context, key string) (time.Duration, bool, error) {
	if c, ok := b.Bucket.(clocked); ok {
		return c.skew(ctx, key)
	}
	return 0, false, nil
}

func (b *observed) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	src := &timed{failing: failing{r: r}}
	began := time.Now()
	err := b.Bucket.Put(ctx, key, withSeek(src, r, func(at int64) { src.n = at }), opt)
	if src.err == nil { // else it was the source's failure
		b.done(Access{Op: OpPut, Bytes: src.n, Took: time.Since(began) - src.took, Err: err})
	}
	return err
}

// timed measures the source of a write.
type timed struct {
	failing
	n    int64
	took time.Duration
}

func (r *timed) Read(p []byte) (int, error) {
	began := time.Now()
	n, err := r.failing.Read(p)
	r.n += int64(n)
	r.took += time.Since(began)
	return n, err
}

type observedReader struct {
	rc     io.ReadCloser
	done   func(Access)
	a      Access
	closed bool
}

func (r *observedReader) Read(p []byte) (int, error) {
	began := time.Now()
	n, err := r.rc.Read(p)
	r.a.Bytes += int64(n)
	r.a.Took += time.Since(began)
	if err != nil && err != io.EOF {
		r.a.Err = err
	}
	return n, err
}

func (r *observedReader) Close() error {
	err := r.rc.Close()
	if !r.closed {
		r.closed = true
		r.done(r.a)
	}
	return err
}
