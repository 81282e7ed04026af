package walbackup

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the waits between attempts: doubled from First to Max, of each
// at least half and the rest at random, so that many don't come at once.
type Backoff struct{ First, Max time.Duration }

// Wait is that before the n-th attempt after the first, n from 1 on.
func (b Backoff) Wait(n int) time.Duration {
	d := b.First
	for ; n > 1 && d < b.Max; n-- {
		d *= 2
	}
	d = max(min(d, b.Max), 2)
	return d/2 + rand.N(d/2)
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// until tries f until it succeeds; false when ctx ends before.
func (a *Agent) until(ctx context.Context, what string, f func() error) bool {
	for n := 1; ctx.Err() == nil; n++ {
		err := f()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			break
		}
		a.cfg.Log.Warn(what+": it is tried again", "attempt", n, "error", err)
		if !sleep(ctx, a.cfg.Retry.Wait(n)) {
			break
		}
	}
	return false
}
