package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// Schedule says when a job is due; robfig/cron's schedules fit it. Next is
// the first tick after t, the zero time if there is none.
type Schedule interface {
	Next(t time.Time) time.Time
}

// Scheduled is a job with its schedule.
type Scheduled struct {
	Job      Job
	Schedule Schedule
	CatchUp  bool // make up, once, for runs missed while no process was up
}

// LoopStore is what the Loop remembers; *ledger.Ledger fits it.
type LoopStore interface {
	Job(ctx context.Context, job string) (ledger.JobState, error)
	Unfinished(ctx context.Context, job string) (*ledger.UnfinishedRun, error)
	MissRuns(ctx context.Context, job string, missed int64, until time.Time) error
}

var _ LoopStore = (*ledger.Ledger)(nil)

// Loop fires jobs when they are due.
//
// A tick that comes while the job runs is a missed run, and so are those that
// passed while no process was up: they are counted, not made up for. If the
// machine slept over several ticks the job runs once. A run that was
// stopped early is resumed at once when the loop starts.
type Loop struct {
	Jobs  []Scheduled
	Store LoopStore
	Run   func(ctx context.Context, job Job, o Options) (finding.Run, error) // Runner.Run
	Log   *slog.Logger                                                       // nil: silence
}

// maxTicks bounds the ticks counted at once: a clock that jumps by years is no reason to count for ever.
const maxTicks = 100_000

// longestSleep bounds a wait, so that a clock that is set is noticed.
const longestSleep = time.Minute

// Serve fires jobs until ctx ends, then waits for the runs under way, which
// end with it, and returns nil. An error says that a job's state could not be
// read from the ledger at the start.
func (l *Loop) Serve(ctx context.Context) error {
	log := l.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var clocks []*clock
	for _, s := range l.Jobs {
		c := &clock{Scheduled: s, loop: l, log: log.With("job", s.Job.Name), done: make(chan error, 1)}
		if err := c.start(ctx); err != nil {
			return fmt.Errorf("start the schedule of job %s: %w", s.Job.Name, err)
		}
		clocks = append(clocks, c)
	}
	var wg sync.WaitGroup
	for _, c := range clocks {
		wg.Go(func() { c.serve(ctx) })
	}
	wg.Wait()
	return nil
}

// clock is one job's schedule at work; all of it happens in one goroutine but the run itself.
type clock struct {
	Scheduled
	loop    *Loop
	log     *slog.Logger
	last    time.Time // ticks up to here are accounted for
	due     bool      // a run is to start at once: a resumed one, or one to catch up
	running bool
	byTick  bool // the run under way answers a tick
	done    chan error
}

// start accounts for the ticks that passed while no process was up.
func (c *clock) start(ctx context.Context) error {
	state, err := c.loop.Store.Job(ctx, c.Job.Name)
	if err != nil {
		return err
	}
	unfinished, err := c.loop.Store.Unfinished(ctx, c.Job.Name)
	if err != nil {
		return err
	}
	now := wallClock()
	c.last = state.AccountedUntil.Local() // cron's schedules without a zone take that of the time they are given
	if state.AccountedUntil.IsZero() || c.last.After(now) {
		c.last = now
	}
	missed, last := c.ticks(c.last, now)
	c.last = last
	if err := c.loop.Store.MissRuns(ctx, c.Job.Name, missed, c.last); err != nil {
		return err
	}
	c.due = unfinished != nil || (c.CatchUp && missed > 0)
	c.log.Info("schedule starts", "next", c.Schedule.Next(c.last), "missed", missed, "starts_now", c.due)
	return nil
}

// wallClock is the time without its monotonic part: schedules follow the clock on the wall, also when it is set.
func wallClock() time.Time { return time.Now().Round(0) }

// ticks counts the ticks after from and not after to, and returns the last of them, or from.
func (c *clock) ticks(from, to time.Time) (n int64, last time.Time) {
	for last = from; n < maxTicks; n++ {
		next := c.Schedule.Next(last)
		if next.IsZero() || next.After(to) {
			return n, last
		}
		last = next
	}
	return n, to
}

func (c *clock) serve(ctx context.Context) {
	if c.due {
		c.fire(ctx, Options{})
	}
	for ctx.Err() == nil {
		c.wait(ctx)
	}
	if c.running {
		c.ended(context.WithoutCancel(ctx), <-c.done)
	}
}

// wait lets one thing happen: a tick, the end of the run, the end of ctx, or some time.
func (c *clock) wait(ctx context.Context) {
	timer := time.NewTimer(c.untilNext())
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case err := <-c.done:
		c.ended(ctx, err)
	case <-timer.C:
		c.tick(ctx, wallClock())
	}
}

func (c *clock) untilNext() time.Duration {
	next := c.Schedule.Next(c.last)
	if next.IsZero() {
		return longestSleep
	}
	return min(max(time.Until(next), 0), longestSleep)
}

// tick acts on the ticks up to now: one run for all of them, or none while one is under way.
func (c *clock) tick(ctx context.Context, now time.Time) {
	if c.last.After(now.Add(longestSleep)) {
		c.last = now // the clock was wrong and has been set back
	}
	n, last := c.ticks(c.last, now)
	if n == 0 {
		return
	}
	c.last = last
	if c.running {
		c.log.Warn("runs are missed: one is under way", "missed", n)
		c.miss(ctx, n)
		return
	}
	if n > 1 {
		c.log.Warn("runs are missed: the clock jumped or the machine slept", "missed", n-1)
		c.miss(ctx, n-1)
	}
	c.fire(ctx, Options{Tick: last})
}

func (c *clock) fire(ctx context.Context, o Options) {
	c.running, c.byTick = true, !o.Tick.IsZero()
	go func() {
		_, err := shielded(ctx, func(ctx context.Context) (finding.Run, error) { return c.loop.Run(ctx, c.Job, o) })
		c.done <- err
	}()
}

// ended notes the end of a run. One that could not start because another process does one was missed.
func (c *clock) ended(ctx context.Context, err error) {
	c.running = false
	switch {
	case err == nil:
	case errors.Is(err, ledger.ErrRunning):
		c.log.Warn("run is missed: another process does one")
		if c.byTick {
			c.miss(ctx, 1)
		}
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		c.log.Info("run is stopped; the next start resumes it")
	default:
		c.log.Error("run could not be finished; the next one resumes it", "error", err)
	}
}

func (c *clock) miss(ctx context.Context, n int64) {
	if err := c.loop.Store.MissRuns(ctx, c.Job.Name, n, c.last); err != nil {
		c.log.Error("missed runs could not be counted", "error", err)
	}
}
