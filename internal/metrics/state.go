package metrics

import (
	"context"
	"time"

	"redoubt/internal/finding"
)

// StateFunc reads what the ledger knows now.
type StateFunc func(ctx context.Context) (State, error)

// State is what the ledger knows and a restart must not forget.
type State struct {
	Runs      map[finding.Verdict]int64 // finished runs, by verdict
	Jobs      []Job
	Open      []Open
	Timelines []Timeline
	// Recoveries counts the timelines made by recovery, by state, deleted ones apart.
	Recoveries map[finding.State]int64
}

// Job is a job that is configured, or that ran before.
type Job struct {
	Name       string
	LastRun    time.Time       // when its latest finished run finished; zero: none has
	Verdict    finding.Verdict // of that run
	MissedRuns int64
	// Inconclusive is how many of its latest finished runs in a row, the newest
	// included, ended inconclusive.
	Inconclusive int64
}

// Open is the number of open discrepancies of one kind and severity.
type Open struct {
	Kind     finding.Kind
	Severity finding.Severity
	Count    int64
}

// Timeline is what is known of one timeline.
type Timeline struct {
	Tenant, Timeline string
	MismatchedBlocks int64     // open discrepancies, benign ones apart
	MissingSegments  int64     // by its newest scan
	DamagedSegments  int64     // by its newest scan
	LastVerified     time.Time // zero: never
	FirstSeen        time.Time
	Exempt           bool // it is not to be verified: gone from its source, or a shadow
}

// waitsSince is since when it waits to be verified.
func (t *Timeline) waitsSince() time.Time {
	if t.LastVerified.IsZero() {
		return t.FirstSeen
	}
	return t.LastVerified
}
