package verify

import (
	"context"
	"errors"
	"time"

	"redoubt/internal/finding"
	"redoubt/replay/native"
)

// RunTampered is Run with an engine that redoes wrongly: tamper changes what
// the native replay of the base left, whose pages alias the overlay.
func RunTampered(ctx context.Context, o Options, tamper func(*native.Result)) (*finding.Verification, error) {
	r := newRun(o)
	err := errors.Join(r.meta(ctx), r.bounds(ctx))
	if err == nil {
		err = r.replayBase(ctx)
	}
	if err == nil {
		tamper(r.ra)
		err = r.judgeSides(ctx)
	}
	err = errors.Join(err, r.close())
	r.finish(err, time.Second)
	return r.out, err
}

// DialectReasons are the reasons that a span of that dialect ends with.
func DialectReasons(p finding.Postgres, undecided int64, accept bool) []string {
	r := &run{Options: Options{AcceptUnproven: accept}, out: &finding.Verification{Postgres: p}, undecided: undecided}
	return r.dialectReasons()
}
