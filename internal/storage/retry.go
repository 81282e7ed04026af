package storage

import (
	"context"
	"fmt"
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
