package api

import (
	"context"
	"errors"
	"time"

	"redoubt/internal/finding"
)

// Errors by which those who fill the interfaces choose a status.
var (
	ErrNotFound = errors.New("not found")                  // 404
	ErrRunning  = errors.New("a run is already under way") // 409
)

// RefusedError is a request that cannot be done as asked for, with the reason for whoever asked: 422.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Ledger is what is known of runs, discrepancies and timelines.
type Ledger interface {
	// Runs lists runs, the newest first; job "" takes all.
	Runs(ctx context.Context, job string, limit, offset int) ([]finding.RunSummary, error)
	// Run is one run whole, or ErrNotFound.
	Run(ctx context.Context, id string) (finding.Run, error)
	// Discrepancies lists those that fit, the last seen first, without pages and records.
	Discrepancies(ctx context.Context, f DiscrepancyFilter) ([]finding.Tracked, error)
	// Discrepancy is one discrepancy whole, or ErrNotFound.
	Discrepancy(ctx context.Context, id string) (finding.Tracked, error)
	// SpanOf is the verification that saw a discrepancy last, without the
	// list of its discrepancies; zero if it is not there any more.
	SpanOf(ctx context.Context, d finding.Tracked) (finding.Verification, error)
	// Finding says what a discrepancy, a gap or a damaged segment is that may
	// be acknowledged; ErrNotFound, RefusedError.
	Finding(ctx context.Context, id string) (finding.AckRecord, error)
	// Acks lists acknowledgements, the newest first: of one finding, or of
	// all (""), those that hold or, with all, those that ended too.
	Acks(ctx context.Context, id string, all bool, limit int) ([]finding.AckRecord, error)
	// Acknowledge acknowledges a finding; ErrNotFound, RefusedError.
	Acknowledge(ctx context.Context, r AckRequest) (finding.AckRecord, error)
	// Unacknowledge ends the acknowledgement of a finding; ErrNotFound, RefusedError.
	Unacknowledge(ctx context.Context, id, by string) error
	// Timelines lists all timelines, in order of tenant and timeline.
	Timelines(ctx context.Context) ([]finding.TimelineStatus, error)
}

// AckRequest asks to acknowledge a finding.
type AckRequest struct {
	ID      string `json:"-"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"` // 30d, 12h, a date or a time
	By      string `json:"by"`
}

// Starter starts runs.
type Starter interface {
	// StartRun starts a run of a job and returns its id at once; the run
	// outlives the request. An empty job is the only one there is. seed, where
	// given, repeats the picks of the run that had it. ErrRunning, ErrNotFound.
	StartRun(ctx context.Context, job string, seed *int64) (id string, err error)
}

// DiscrepancyFilter chooses discrepancies; empty fields take all.
type DiscrepancyFilter struct {
	Kind             finding.Kind
	Severity         finding.Severity
	Tenant, Timeline string
	State            string // open, gone, acknowledged
	Text             string // part of the relation's name, the file or the id
	After            *Place // nil: from the start
	Limit            int
}

// Place is a place in the list of discrepancies: that of its last one seen.
type Place struct {
	LastSeen             time.Time
	Tenant, Timeline, ID string
}

// Tenant is one line of the list of tenants.
type Tenant struct {
	TenantID          string `json:"tenant_id"`
	Timelines         int    `json:"timelines"`
	OpenDiscrepancies int64  `json:"open_discrepancies"`
}

// part is a page of a list.
type part struct {
	Limit  int  `json:"limit"`
	Offset int  `json:"offset"`
	Next   *int `json:"next_offset"` // null: this was the last
}
