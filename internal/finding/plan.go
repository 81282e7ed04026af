package finding

import (
	"time"

	"redoubt/internal/pg"
)

// Plan is the object `redoubt plan --format json` prints: what a run of a job
// would do.
type Plan struct {
	Job       string         `json:"job"`
	Seed      int64          `json:"seed"`
	Resumes   string         `json:"resumes,omitempty"` // the unfinished run whose rest this is
	Reasons   []string       `json:"reasons"`           // what of the sources could not be read
	Timelines []PlanTimeline `json:"timelines"`
	WALBytes  int64          `json:"wal_bytes"` // of all spans that are not deferred
	// Expected is what all of it will take, as many spans at once as the job
	// says; nil: no span was verified yet from which it could be told.
	Expected     *Expected `json:"expected"`
	LearnedSpans int       `json:"learned_spans"` // from which that is told
}

// Expected is what work is expected to take, by what it took before.
type Expected struct {
	WallSeconds  float64 `json:"wall_seconds"`
	ScratchBytes int64   `json:"scratch_bytes"` // at its most
}

// PlanTimeline is one picked timeline.
type PlanTimeline struct {
	Source         string     `json:"source"`
	Tenant         string     `json:"tenant"`
	Timeline       string     `json:"timeline"`
	LastVerifiedAt *time.Time `json:"last_verified_at"` // all its spans; nil: never
	RunsWaited     int        `json:"runs_waited"`
	PicksInVain    int        `json:"picks_in_vain"`
	PutOff         bool       `json:"put_off"` // the limit leaves no room for any of its spans
	Reasons        []string   `json:"reasons"` // what of it cannot be verified, and why
	Spans          []PlanSpan `json:"spans"`
}

// PlanSpan is a span of a picked timeline.
type PlanSpan struct {
	Order         int        `json:"order"` // of execution, over all timelines, from 0
	Span          pg.Range   `json:"span"`
	TLI           pg.TLI     `json:"tli"`
	Base          string     `json:"base"` // names of snapshots
	Official      string     `json:"official"`
	WALBytes      int64      `json:"wal_bytes"`
	Attempts      int        `json:"attempts"` // in earlier runs
	LastAttemptAt *time.Time `json:"last_attempt_at"`
	Verified      bool       `json:"verified"`           // in one of them
	Deferred      string     `json:"deferred,omitempty"` // why it is not verified in this run
	Expected      *Expected  `json:"expected"`
}
