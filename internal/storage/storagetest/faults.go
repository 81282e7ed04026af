package storagetest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"

	"redoubt/internal/storage"
)

// ErrInjected is what a Faults bucket fails with unless told otherwise.
var ErrInjected = errors.New("injected fault")

// Op names an operation that can be made to fail.
type Op string

// The operations. List counts once per listing and once per listed object,
// Read once per Read call of an opened object.
const (
	OpList Op = "list"
	OpOpen Op = "open"
	OpRead Op = "read"
	OpStat Op = "stat"
	OpPut  Op = "put"
)

// Faults wraps a bucket. Before each operation Fail is asked with the number
// of the operation, counted from 0; what it returns is the operation's error.
type Faults struct {
	storage.Bucket
	Fail  func(n int64, op Op, key string) error
	calls atomic.Int64
}

// Inject makes s fail as fail says.
func Inject(s *storage.Store, fail func(n int64, op Op, key string) error) (*storage.Store, *Faults) {
	f := &Faults{Fail: fail}
	return s.Wrap(func(b storage.Bucket) storage.Bucket {
		f.Bucket = b
		return f
	}), f
}

// From makes every operation from the i-th on fail, or only the i-th if once.
func From(i int64, once bool) func(int64, Op, string) error {
	return func(n int64, _ Op, _ string) error {
		if n == i || n > i && !once {
			return ErrInjected
		}
		return nil
	}
}

// Calls is the number of operations so far.
func (f *Faults) Calls() int64 { return f.calls.Load() }

func (f *Faults) try(op Op, key string) error {
	n := f.calls.Add(1) - 1
	if f.Fail == nil {
		return nil
	}
	return f.Fail(n, op, key)
}

// List fails at its beginning or at any object.
func (f *Faults) List(ctx context.Context, prefix string, opt storage.ListOptions) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := f.try(OpList, prefix); err != nil {
			yield(storage.Object{}, err)
			return
		}
		for o, err := range f.Bucket.List(ctx, prefix, opt) {
			if err == nil {
				err = f.try(OpList, o.Key)
			}
			if err != nil {
				yield(storage.Object{}, err)
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Open may fail, and so may each read of what it opened.
func (f *Faults) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := f.try(OpOpen, key); err != nil {
		return nil, err
	}
	rc, err := f.Bucket.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	return &faultyReader{ReadCloser: rc, f: f, key: key}, nil
}

// Stat may fail.
func (f *Faults) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := f.try(OpStat, key); err != nil {
		return storage.Object{}, err
	}
	return f.Bucket.Stat(ctx, key)
}

// Put may fail before anything is written.
func (f *Faults) Put(ctx context.Context, key string, r io.Reader, opt storage.PutOptions) error {
	if err := f.try(OpPut, key); err != nil {
		return err
	}
	return f.Bucket.Put(ctx, key, r, opt)
}

type faultyReader struct {
	io.ReadCloser
	f   *Faults
	key string
}

func (r *faultyReader) Read(p []byte) (int, error) {
	if err := r.f.try(OpRead, r.key); err != nil {
		return 0, err
	}
	return r.ReadCloser.Read(p)
}
