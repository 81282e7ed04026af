package api

import (
	"context"
	"errors"
	"io"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// Errors by which those who fill the interfaces choose a status.
var (
	ErrNotFound = errors.New("not found")                  // 404
	ErrRunning  = errors.New("a run is already under way") // 409
)

// Ledger is what is known of runs, discrepancies and timelines.
type Ledger interface {
	// Runs lists runs, the newest first; job "" takes all.
	Runs(ctx context.Context, job string, limit, offset int) ([]finding.RunSummary, error)
	// Run is one run whole, or ErrNotFound.
	Run(ctx context.Context, id string) (finding.Run, error)
	// Discrepancies lists those that fit, the last seen first.
	Discrepancies(ctx context.Context, f DiscrepancyFilter) ([]Discrepancy, error)
	// Timelines lists all timelines, in order of tenant and timeline.
	Timelines(ctx context.Context) ([]Timeline, error)
}

// Starter starts runs.
type Starter interface {
	// StartRun starts a run of a job and returns its id at once; the run
	// outlives the request. An empty job is the only one there is. seed, where
	// given, repeats the picks of the run that had it. ErrRunning, ErrNotFound.
	StartRun(ctx context.Context, job string, seed *int64) (id string, err error)
}

// Pages makes the reports.
type Pages interface {
	// Index lists runs; more says that there are older ones.
	Index(w io.Writer, runs []finding.RunSummary, more bool) error
	Run(w io.Writer, run finding.Run) error
	// RunJSON writes a run as `redoubt run --format json` does.
	RunJSON(w io.Writer, run finding.Run) error
	// CSP is the Content-Security-Policy that the pages need.
	CSP() string
}

// DiscrepancyFilter chooses discrepancies; empty fields take all.
type DiscrepancyFilter struct {
	Kind             finding.Kind
	Severity         finding.Severity
	Tenant, Timeline string
	Open             *bool
	Limit, Offset    int
}

// Discrepancy is a discrepancy over all runs.
type Discrepancy struct {
	finding.Discrepancy            // as last seen
	Tenant              string     `json:"tenant"`
	Timeline            string     `json:"timeline"`
	State               string     `json:"state"` // open, gone
	FirstSeen           time.Time  `json:"first_seen"`
	FirstRunID          string     `json:"first_run_id"`
	LastSeen            time.Time  `json:"last_seen"`
	LastRunID           string     `json:"last_run_id"`
	GoneAt              *time.Time `json:"gone_at,omitempty"`
}

// Timeline is what is known of a timeline.
type Timeline struct {
	TenantID          string                `json:"tenant_id"`
	TimelineID        string                `json:"timeline_id"`
	Source            string                `json:"source"` // the configured source it is read from
	Shadow            bool                  `json:"shadow"` // made by recovery: never picked
	FirstSeen         time.Time             `json:"first_seen"`
	LastSeen          time.Time             `json:"last_seen"`
	LastPickedAt      *time.Time            `json:"last_picked_at"`
	LastVerifiedAt    *time.Time            `json:"last_verified_at"` // null: never verified whole
	LastVerifiedLSN   *pg.LSN               `json:"last_verified_lsn"`
	OpenDiscrepancies int64                 `json:"open_discrepancies"` // benign ones apart
	Scan              *finding.ScanTimeline `json:"scan"`               // the newest; null: never scanned
	ScannedAt         *time.Time            `json:"scanned_at"`
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
