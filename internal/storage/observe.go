package storage

import (
	"context"
	"errors"
	"io"
	"iter"
)

// The operations that Observe tells of.
const (
	OpList = "list"
	OpOpen = "open"
	OpRead = "read"
	OpStat = "stat"
	OpPut  = "put"
)

// Observed reports whether err is an error of access: the store could not be
// asked, or refused. That a key is not there, or is there already, is an
// answer, and so is the end of the context no error of the store.
func Observed(err error) bool {
	return err != nil && (Transient(err) || errors.Is(err, ErrPermission))
}

// Observe wraps a bucket so that done is called after each operation: each
// listing, each open, each read that fails, each look-up, each write. It is
// called at the same time from several goroutines.
func Observe(b Bucket, done func(op string, err error)) Bucket { return &observed{b, done} }

type observed struct {
	Bucket
	done func(op string, err error)
}

func (b *observed) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var last error
		defer func() { b.done(OpList, last) }()
		for o, err := range b.Bucket.List(ctx, prefix, opt) {
			last = err
			if !yield(o, err) {
				return
			}
		}
	}
}

func (b *observed) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	rc, err := b.Bucket.Open(ctx, key, offset, length)
	b.done(OpOpen, err)
	if err != nil {
		return nil, err
	}
	return &observedReader{rc, b.done}, nil
}

func (b *observed) Stat(ctx context.Context, key string) (Object, error) {
	o, err := b.Bucket.Stat(ctx, key)
	b.done(OpStat, err)
	return o, err
}

func (b *observed) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	src := &failing{r: r}
	if s, ok := r.(io.Seeker); ok {
		r = struct {
			io.Reader
			io.Seeker
		}{src, s}
	} else {
		r = src
	}
	err := b.Bucket.Put(ctx, key, r, opt)
	if src.err == nil { // else it was the source's failure
		b.done(OpPut, err)
	}
	return err
}

type observedReader struct {
	io.ReadCloser
	done func(op string, err error)
}

func (r *observedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		r.done(OpRead, err)
	}
	return n, err
}
