package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"redoubt/internal/storage"
)

// outlast does something, and does it again where a store cannot be reached
// that could be: what is long under way is not to end for an outage of a
// minute. What it does tells when the stores were reached, and goes on with what
// it left, or begins anew.
func outlast(ctx context.Context, note func(string), do func(ctx context.Context, begun func()) error) error {
	r, reached := patient(storage.Retry{}), false
	for n := 1; ; n++ {
		err := do(ctx, func() { reached = true })
		full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) // a person has to see to that
		if !reached || !unreachable(err) || full || !r.More(n, err) || ctx.Err() != nil {
			return err
		}
		note(fmt.Sprintf("%v; it is tried again", err))
		if paused := r.Pause(ctx, n); paused != nil {
			return err
		}
	}
}
