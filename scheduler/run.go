package scheduler

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// Runner does runs. Its fields are set once; several jobs may run at once.
type Runner struct {
	Store   Store
	Catalog Catalog
	Verify  Verifier
	Scan    Scanner
	Log     *slog.Logger // nil: silence
	Events  Events
	// Transient tells errors worth another attempt; nil: the function Transient.
	Transient func(error) bool
}

// Options of one run.
type Options struct {
	Seed *int64    // nil: a new one; a seed of an earlier run repeats its picks
	Tick time.Time // the time of the schedule it answers; zero: by hand
}

// ErrOtherSeed says that a run of the job is to be resumed first, which has another seed than the one asked for.
var ErrOtherSeed = errors.New("an unfinished run with another seed is to be resumed first")

// Run does one run of a job, or resumes the one that was stopped early, and
// returns it as the ledger has it. The error is not nil if the run is not
// finished: the context ended, the ledger failed, another run of the job is
// under way (ledger.ErrRunning). What spans and scans meet is in the run.
func (r *Runner) Run(ctx context.Context, job Job, o Options) (run finding.Run, err error) {
	lock, err := r.Store.LockJob(job.Name)
	if err != nil {
		return finding.Run{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	b := &batch{Runner: r, job: job, log: r.logger().With("job", job.Name)}
	planned, err := b.begin(ctx, o)
	if err != nil {
		return finding.Run{}, err
	}
	b.log = b.log.With("run_id", b.id)
	if !planned {
		if err := b.plan(ctx); err != nil {
			return finding.Run{}, err
		}
	}
	if err := b.execute(ctx); err != nil {
		return finding.Run{}, err
	}
	return b.end(ctx)
}

func (r *Runner) logger() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

// batch is one run under way.
type batch struct {
	*Runner
	job     Job
	log     *slog.Logger
	id      string
	seed    int64
	started time.Time
}

// begin takes up the unfinished run or starts a new one.
func (b *batch) begin(ctx context.Context, o Options) (planned bool, err error) {
	u, err := b.Store.Unfinished(ctx, b.job.Name)
	if err != nil {
		return false, err
	}
	if u != nil {
		return u.Planned, b.resume(ctx, u, o)
	}
	if err := b.sow(o); err != nil {
		return false, err
	}
	if b.id, err = newRunID(b.started); err != nil {
		return false, err
	}
	b.log.Info("run starts", "run_id", b.id, "seed", b.seed)
	return false, b.Store.StartRun(ctx, ledger.RunStart{RunID: b.id, Job: b.job.Name, Seed: b.seed, StartedAt: b.started, Tick: o.Tick})
}

func (b *batch) resume(ctx context.Context, u *ledger.UnfinishedRun, o Options) error {
	if err := b.takeSeed(u, o); err != nil {
		return err
	}
	b.id, b.started = u.RunID, u.StartedAt
	b.log.Info("run is resumed", "run_id", b.id, "seed", b.seed, "started_at", b.started)
	if o.Tick.IsZero() {
		return nil
	}
	return b.Store.MissRuns(ctx, b.job.Name, 0, o.Tick)
}

// sow starts something new, with the seed that was asked for or one that is drawn.
func (b *batch) sow(o Options) (err error) {
	b.started = time.Now()
	if o.Seed != nil {
		b.seed = *o.Seed
		return nil
	}
	b.seed, err = newSeed()
	return err
}

// takeSeed is sow for an unfinished run, which has a seed.
func (b *batch) takeSeed(u *ledger.UnfinishedRun, o Options) error {
	if o.Seed != nil && *o.Seed != u.Seed {
		return fmt.Errorf("job %s: run %s has seed %d: %w: start without a seed", b.job.Name, u.RunID, u.Seed, ErrOtherSeed)
	}
	b.seed = u.Seed
	return nil
}

// newSeed is short enough to be typed and exact in every JSON reader.
func newSeed() (int64, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<31))
	if err != nil {
		return 0, fmt.Errorf("draw a seed: %w", err)
	}
	return n.Int64(), nil
}

// newRunID sorts by time and is fit for file names and URLs.
func newRunID(at time.Time) (string, error) {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw a run id: %w", err)
	}
	return at.UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:]), nil
}

// end judges the run by what the ledger holds and closes it.
func (b *batch) end(ctx context.Context) (finding.Run, error) {
	if err := b.Store.ReviseSpans(ctx, b.id, blameBases); err != nil {
		return finding.Run{}, err
	}
	run, err := b.Store.Run(ctx, b.id)
	if err != nil {
		return finding.Run{}, err
	}
	verdict, reasons := Verdict(run, run.Reasons)
	if err := b.Store.FinishRun(ctx, b.id, time.Now(), verdict, reasons, finding.Summarize(run).Acknowledged); err != nil {
		return finding.Run{}, err
	}
	b.log.Info("run ends", "verdict", verdict, "timelines", len(run.Timelines))
	return b.Store.Run(ctx, b.id)
}
