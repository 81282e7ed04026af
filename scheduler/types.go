package scheduler

import (
	"context"
	"strings"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// Catalog lists what could be verified.
type Catalog interface {
	// Timelines lists the timelines of all sources. A source that cannot be
	// read is a Problem; an error means that nothing could be listed.
	Timelines(ctx context.Context) (Listing, error)
	// Snapshots lists the snapshots of one timeline, in any order, those
	// that cannot be used included.
	Snapshots(ctx context.Context, t ledger.TimelineKey) ([]Snapshot, error)
}

// Listing is what a Catalog found.
type Listing struct {
	Timelines []ledger.Timeline
	Problems  []Problem
}

// Problem is a source, or a part of it, that could not be read.
type Problem struct {
	Source string
	Reason string
}

// Snapshot is all official pages of a timeline at one LSN, or at each LSN of a
// range. Its name is unique within the timeline and the same every night.
type Snapshot struct {
	Name string
	Redo pg.LSN // where replay of its own WAL starts
	// End is the LSN from which it is consistent: Redo for a clean one, the
	// backup's end for an online one, 0 where that is not known before the WAL is read.
	End pg.LSN
	// Upto makes it a range, as a Neon pageserver has them: its pages can be read
	// as they were at any LSN from Redo up to this one. A span
	// names the pages at one LSN as At does. 0: only at one.
	Upto     pg.LSN
	Online   bool
	TLI      pg.TLI
	Major    int    // 0: not known
	SystemID uint64 // 0: not known
	Broken   string // why it cannot be used; empty: it can
}

// position is where the snapshot stands among those of its timeline.
func (s Snapshot) position() pg.LSN { return max(s.Redo, s.End) }

// At names the pages of a range at one LSN: `pageserver@0/1A2B3C8`. The LSN need
// not be the end of a record: then the next such end is meant.
func At(name string, lsn pg.LSN) string { return name + "@" + lsn.String() }

// SplitAt takes apart what At made; ok is false for the name of a snapshot that
// is no range.
func SplitAt(name string) (of string, lsn pg.LSN, ok bool) {
	i := strings.LastIndexByte(name, '@')
	if i < 0 {
		return name, 0, false
	}
	lsn, err := pg.ParseLSN(name[i+1:])
	if err != nil {
		return name, 0, false
	}
	return name[:i], lsn, true
}

// SpanSpec is a span to be verified: the pages of snapshot Base and the WAL
// behind it against the pages of snapshot Official. Range is where the plan
// sees it; what the verifier reports is what counts.
type SpanSpec struct {
	ledger.Span
	RunID string
	Job   string
	Seed  int64 // of the run, for samples
}

// ScanSpec is a timeline whose archive is to be scanned.
type ScanSpec struct {
	ledger.TimelineKey
	RunID string
	Job   string
}

// Verifier verifies a span. An error says that it did not come to an end;
// what was found until then may be in the Verification nevertheless. Errors
// that a later attempt may not meet say so: see Transient.
type Verifier func(ctx context.Context, s SpanSpec) (finding.Verification, error)

// Scanner scans a timeline's archive. An error is as for a Verifier.
type Scanner func(ctx context.Context, s ScanSpec) (finding.ScanTimeline, error)

// Store is the record of runs; *ledger.Ledger fits it.
type Store interface {
	LockJob(job string) (*ledger.JobLock, error)
	Unfinished(ctx context.Context, job string) (*ledger.UnfinishedRun, error)
	StartRun(ctx context.Context, r ledger.RunStart) error
	MissRuns(ctx context.Context, job string, missed int64, until time.Time) error
	SeeTimelines(ctx context.Context, at time.Time, timelines []ledger.Timeline) error
	Timelines(ctx context.Context, job string) ([]ledger.TimelineState, error)
	PicksBySeed(ctx context.Context, job string, seed int64) ([]ledger.TimelineKey, error)
	SpansPast(ctx context.Context, tenant, timeline string) (map[ledger.SpanName]ledger.SpanPast, error)
	SpanCosts(ctx context.Context, n int) ([]ledger.SpanCost, error)
	KeepSnapshots(ctx context.Context, tenant, timeline string, at time.Time, names []string) error
	SavePlan(ctx context.Context, runID string, at time.Time, p ledger.Plan) error
	Remaining(ctx context.Context, runID string) ([]ledger.Span, []ledger.TimelineKey, error)
	FinishSpan(ctx context.Context, runID string, span int, at time.Time, v finding.Verification) error
	FinishScan(ctx context.Context, runID string, at time.Time, s finding.ScanTimeline) error
	ReviseSpans(ctx context.Context, runID string, revise func(before, v *finding.Verification) bool) error
	FinishRun(ctx context.Context, runID string, at time.Time, verdict finding.Verdict, reasons []string, acknowledged int64) error
	Run(ctx context.Context, runID string) (finding.Run, error)
}

var _ Store = (*ledger.Ledger)(nil)

// Job says how much a run does.
type Job struct {
	Name          string
	Sources       []string      // empty: all
	Timelines     int           // picked per run
	Patience      int           // see Pick
	ParallelSpans int           // also the number of scans at once
	Engine        string        // named in results that no engine reported
	SpanBytes     int64         // WAL of a span between LSNs of a range; 0: DefaultSpanBytes
	WALBytes      int64         // no further span is taken once this much is planned; 0: no limit
	Duration      time.Duration // since the start, or the resumption; spans that still run by then are cancelled; 0: no limit
	Retries       Retries
}

// DefaultSpanBytes is how much WAL a span between LSNs of a range has.
const DefaultSpanBytes = 1 << 30

// Retries say how often a source that cannot be reached is tried, and how
// long to wait between attempts: FirstWait, doubled each time, at most MaxWait.
type Retries struct {
	Attempts  int // in all
	FirstWait time.Duration
	MaxWait   time.Duration
}

// Events are called as a run goes on, from several goroutines at once; nil ones are not.
type Events struct {
	// Planned is called once the plan is in the ledger, or was found there:
	// how many spans and scans are still to be done.
	Planned      func(runID string, spans []ledger.Span, scans []ledger.TimelineKey)
	SpanStarted  func(s SpanSpec)
	SpanFinished func(s SpanSpec, v finding.Verification)
	ScanFinished func(s ScanSpec, scan finding.ScanTimeline)
}
