package storage

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"time"
)

// Retry says how often what failed for a reason of the moment is tried again,
// and how long to wait: Wait, then twice as long each time up to Max, less a
// random part of up to a half, so that many who failed together don't come
// back together.
type Retry struct {
	Attempts int           // including the first; 0 means 4
	Wait     time.Duration // 0 means 200 ms
	Max      time.Duration // 0 means 64 × Wait
}

func (r Retry) attempts() int {
	if r.Attempts <= 0 {
		return 4
	}
	return r.Attempts
}

// delay is how long to wait before attempt number n, at most; 1 is the first
// repetition.
func (r Retry) delay(n int) time.Duration {
	wait := r.Wait
	if wait <= 0 {
		wait = 200 * time.Millisecond
	}
	most := r.Max
	if most <= 0 {
		most = wait << 6
	}
	for range n - 1 {
		if wait >= most/2 {
			return most
		}
		wait *= 2
	}
	return min(wait, most)
}

// Pause waits before attempt number n. It returns the context's error if that
// ends first.
func (r Retry) Pause(ctx context.Context, n int) error {
	most := r.delay(n)
	t := time.NewTimer(most - rand.N(most/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// More reports whether n failures, the last of them err, leave another attempt.
func (r Retry) More(n int, err error) bool { return Transient(err) && n < r.attempts() }

// Do runs try until it succeeds, fails for good, or was tried often enough.
func (r Retry) Do(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || !r.More(n, err) {
			return err
		}
		if ended := r.Pause(ctx, n); ended != nil {
			return fmt.Errorf("%w; before that: %w", ended, err)
		}
	}
}

// WithRetry wraps a bucket so that operations are repeated as r says: a
// listing goes on behind the last key, a write is repeated if what is written
// can be rewound (io.Seeker). A write on the condition that the key is free
// may then find its own earlier attempt: ErrExist, which PutOnce understands.
// Reads that break off are the reader's to repeat.
func WithRetry(b Bucket, r Retry) Bucket { return &retried{Bucket: b, r: r} }

type retried struct {
	Bucket
	r Retry
}

func (b *retried) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		last, enough := "", false
		err := b.r.Do(ctx, func() error {
			for o, err := range b.Bucket.List(ctx, prefix, opt) {
				if err != nil {
					return err
				}
				if last != "" && o.Key <= last {
					continue
				}
				last = o.Key
				if enough = !yield(o, nil); enough {
					return nil
				}
			}
			return nil
		})
		if err != nil && !enough {
			yield(Object{}, err)
		}
	}
}

func (b *retried) Open(ctx context.Context, key string, offset, length int64) (rc io.ReadCloser, err error) {
	err = b.r.Do(ctx, func() (err error) {
		rc, err = b.Bucket.Open(ctx, key, offset, length)
		return err
	})
	return rc, err
}

func (b *retried) Stat(ctx context.Context, key string) (o Object, err error) {
	err = b.r.Do(ctx, func() (err error) {
		o, err = b.Bucket.Stat(ctx, key)
		return err
	})
	return o, err
}

func (b *retried) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	s, ok := r.(io.Seeker)
	if !ok {
		return b.Bucket.Put(ctx, key, r, opt)
	}
	start, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return b.Bucket.Put(ctx, key, r, opt)
	}
	return b.r.Do(ctx, func() error {
		if _, err := s.Seek(start, io.SeekStart); err != nil {
			return &SourceError{Err: err}
		}
		return b.Bucket.Put(ctx, key, r, opt)
	})
}
