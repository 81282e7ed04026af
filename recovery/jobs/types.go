package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// Engine makes data directories. Its methods may be called concurrently.
type Engine interface {
	// Timelines lists the official timelines of a tenant; none: ErrNotFound.
	Timelines(ctx context.Context, tenant string) ([]string, error)
	// Resolve finds out from what a timeline would be recovered, reading as
	// little as it can. A timeline that is not there is ErrNotFound; what
	// cannot be had is a *RefusedError.
	Resolve(ctx context.Context, r Request) (Origin, error)
	// Holds reports whether an archive has something under a timeline's name.
	Holds(ctx context.Context, tenant, timeline string) (bool, error)
	// Unfinished reports whether j.Directory is what a recovery of the very
	// same job left when it was stopped, so that Recover may go on with it.
	Unfinished(j ledger.Recovery) bool
	// Recover makes j.Directory, which is not there or Unfinished. Progress
	// may be called from any goroutine.
	Recover(ctx context.Context, j ledger.Recovery, progress Progress) (Result, error)
	// Transient reports whether an error may pass, as of a store that cannot be reached.
	Transient(err error) bool
}

// Request asks for a recovery. Zero values are not given.
type Request struct {
	Tenant, Timeline string
	Target           string // id of the new timeline
	From, To         pg.LSN
	ToTime           time.Time
}

// Origin is what a recovery starts from.
type Origin struct {
	Source  string // the configured source
	Base    string // name of the snapshot
	BaseLSN pg.LSN // at which it is consistent
}

// Progress is told how far it is. What was said before holds on where an LSN is zero.
type Progress func(ledger.Reached)

// Result is what was made.
type Result struct {
	Target pg.LSN // what was to be reached
	Last   pg.LSN // the end of the last record before: there the new timeline leaves its ancestor
	Doubt  string // what is doubtful about it; empty: nothing
}

// ErrNotFound says that there is no such tenant or timeline.
var ErrNotFound = errors.New("not found")

// RefusedError is a recovery that cannot be had, with the reason for whoever asked.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

func refusef(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// ConflictError is something that cannot be done as things stand, with the reason.
type ConflictError struct{ Reason string }

func (e *ConflictError) Error() string { return e.Reason }

func conflictf(format string, args ...any) error {
	return &ConflictError{fmt.Sprintf(format, args...)}
}

// Config is what a Manager is made from.
type Config struct {
	Ledger   *ledger.Ledger
	Engine   Engine
	Dir      string // below it DIR/TENANT/TIMELINE is made
	Parallel int    // recoveries under way at once; others wait
	Retries  Retries
	Log      *slog.Logger
}

// Retries say how often a recovery is tried while its source cannot be reached.
type Retries struct {
	Attempts           int // in all
	FirstWait, MaxWait time.Duration
}
