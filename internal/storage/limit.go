package storage

import (
	"context"
	"io"
	"iter"

	"golang.org/x/time/rate"
)

// Limits bound what is asked of a store; 0 is no limit.
type Limits struct {
	Bytes    int64 // per second, both ways together
	Requests int   // per second
}

// listPage is how many objects a request for a listing brings.
const listPage = 1000

// WithLimits wraps a bucket so that it is used no faster than l says. A second's
// worth may come at once.
func WithLimits(b Bucket, l Limits) Bucket {
	if l.Bytes <= 0 && l.Requests <= 0 {
		return b
	}
	w := &limited{Bucket: b}
	if l.Bytes > 0 {
		w.bytes = rate.NewLimiter(rate.Limit(l.Bytes), int(min(l.Bytes, 1<<30)))
	}
	if l.Requests > 0 {
		w.requests = rate.NewLimiter(rate.Limit(l.Requests), l.Requests)
	}
	return w
}

type limited struct {
	Bucket
	bytes, requests *rate.Limiter // nil: no limit
}

func (b *limited) request(ctx context.Context) error {
	if b.requests == nil {
		return ctx.Err()
	}
	return waited(ctx, b.requests.Wait(ctx))
}

// waited is the context's own error where a limiter sees that time would not
// suffice.
func waited(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return context.DeadlineExceeded
}

func (b *limited) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		n := 0
		if err := b.request(ctx); err != nil {
			yield(Object{}, err)
			return
		}
		for o, err := range b.Bucket.List(ctx, prefix, opt) {
			if n++; err == nil && n%listPage == 0 {
				err = b.request(ctx)
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

func (b *limited) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := b.request(ctx); err != nil {
		return nil, err
	}
	rc, err := b.Bucket.Open(ctx, key, offset, length)
	if err != nil || b.bytes == nil {
		return rc, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&limitedReader{ctx, rc, b.bytes}, rc}, nil
}

func (b *limited) Stat(ctx context.Context, key string) (Object, error) {
	if err := b.request(ctx); err != nil {
		return Object{}, err
	}
	return b.Bucket.Stat(ctx, key)
}

func (b *limited) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	if err := b.request(ctx); err != nil {
		return err
	}
	if b.bytes != nil {
		r = &limitedReader{ctx, r, b.bytes}
	}
	return b.Bucket.Put(ctx, key, r, opt)
}

// limitedReader pays for what it read before it hands it on.
type limitedReader struct {
	ctx context.Context
	r   io.Reader
	l   *rate.Limiter
}

func (r *limitedReader) Read(p []byte) (int, error) {
	if burst := r.l.Burst(); len(p) > burst {
		p = p[:burst]
	}
	n, err := r.r.Read(p)
	if n > 0 {
		if w := waited(r.ctx, r.l.WaitN(r.ctx, n)); w != nil {
			return 0, w
		}
	}
	return n, err
}
