package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"
)

// Transient reports whether a later attempt may succeed: some error in err's
// tree has a method Transient() bool that says so, as those of a source that
// cannot be reached have.
func Transient(err error) bool {
	var t interface{ Transient() bool }
	return errors.As(err, &t) && t.Transient()
}

// retry calls f until it succeeds, fails for good or the attempts are used
// up. A panic in f becomes an error, once.
func retry[T any](ctx context.Context, r Retries, transient func(error) bool, f func(context.Context) (T, error)) (out T, err error) {
	for attempt := 1; ; attempt++ {
		out, err = shielded(ctx, f)
		if err == nil || ctx.Err() != nil || !transient(err) {
			return out, err
		}
		if attempt >= max(r.Attempts, 1) {
			if attempt > 1 {
				err = fmt.Errorf("given up after %d attempts: %w", attempt, err)
			}
			return out, err
		}
		if waitErr := sleep(ctx, r.wait(attempt)); waitErr != nil {
			return out, fmt.Errorf("%w (while waiting to try again: %w)", err, waitErr)
		}
	}
}

// wait is the time after the n-th attempt, less up to half of it, so that
// spans which failed together do not try again together.
func (r Retries) wait(n int) time.Duration {
	d := r.FirstWait
	for range n - 1 {
		if d >= r.MaxWait {
			break
		}
		d *= 2
	}
	d = min(d, max(r.MaxWait, r.FirstWait))
	if d <= 1 {
		return d
	}
	return d - rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// shielded turns a panic of f into an error with its stack.
func shielded[T any](ctx context.Context, f func(context.Context) (T, error)) (out T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{fmt.Sprint(p), oneLine(debug.Stack())}
		}
	}()
	return f(ctx)
}

// panicError is a bug of ours, or of a library, met in one span.
type panicError struct{ value, stack string }

func (e *panicError) Error() string {
	return fmt.Sprintf("a bug stopped it: panic: %s; please report it with this stack: %s", e.value, e.stack)
}

const maxStack = 4 << 10

// oneLine makes a stack one line of bounded length.
func oneLine(stack []byte) string {
	s := strings.ReplaceAll(string(stack), "\n\t", " at ")
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	if len(s) > maxStack {
		s = s[:maxStack] + "…"
	}
	return s
}
