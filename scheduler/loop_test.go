package scheduler

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

func every(t *testing.T, spec string) Schedule {
	t.Helper()
	s, err := cron.ParseStandard(spec)
	must(t, err)
	return s
}

// bench is a Loop over a ledger of its own, in a bubble whose clock starts at midnight UTC, 2000-01-01.
type bench struct {
	*Loop
	ledger *ledger.Ledger
	mu     sync.Mutex
	starts []string // time of each run, * for one without a tick
	takes  time.Duration
	err    error
}

func newBench(t *testing.T, path, spec string) *bench {
	t.Helper()
	b := &bench{ledger: openLedger(t, path)}
	b.Loop = &Loop{Store: b.ledger, Jobs: []Scheduled{{Job: Job{Name: "nightly"}, Schedule: every(t, spec)}}}
	b.Run = func(ctx context.Context, _ Job, o Options) (finding.Run, error) {
		text := time.Now().UTC().Format("01-02 15:04:05")
		if o.Tick.IsZero() {
			text += "*"
		} else if err := b.ledger.MissRuns(ctx, "nightly", 0, o.Tick); err != nil { // as Runner.Run does
			return finding.Run{}, err
		}
		b.mu.Lock()
		b.starts = append(b.starts, text)
		b.mu.Unlock()
		if err := sleep(ctx, b.takes); err != nil {
			return finding.Run{}, err
		}
		return finding.Run{}, b.err
	}
	return b
}

// serve runs the loop for d and returns the count of missed runs.
func (b *bench) serve(t *testing.T, d time.Duration) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(background, d)
	defer cancel()
	must(t, b.Serve(ctx))
	s, err := b.ledger.Job(background, "nightly")
	must(t, err)
	return s.MissedRuns
}

func inBubble(t *testing.T, spec string, f func(t *testing.T, b *bench)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, path, spec)
		defer closeLedger(t, b.ledger)
		f(t, b)
	})
}

func want(t *testing.T, b *bench, missed, wantMissed int64, starts ...string) {
	t.Helper()
	if diff := cmp.Diff(starts, b.starts); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if missed != wantMissed {
		t.Errorf("%d missed runs, want %d", missed, wantMissed)
	}
}

func TestLoopFiresBySchedule(t *testing.T) {
	inBubble(t, "CRON_TZ=UTC 0 2 * * *", func(t *testing.T, b *bench) {
		b.takes = time.Hour
		want(t, b, b.serve(t, 73*time.Hour), 0, "01-01 02:00:00", "01-02 02:00:00", "01-03 02:00:00")
	})
}

func TestLoopKnowsTimeZones(t *testing.T) {
	inBubble(t, "CRON_TZ=Asia/Kolkata 0 2 * * *", func(t *testing.T, b *bench) {
		want(t, b, b.serve(t, 24*time.Hour), 0, "01-01 20:30:00")
	})
}

func TestTicksDuringARunAreMissed(t *testing.T) {
	inBubble(t, "@every 1h", func(t *testing.T, b *bench) {
		b.takes = 150 * time.Minute
		want(t, b, b.serve(t, 6*time.Hour+time.Minute), 4, "01-01 01:00:00", "01-01 04:00:00")
	})
}

func TestTicksWhileDownAreMissed(t *testing.T) {
	inBubble(t, "CRON_TZ=UTC 0 2 * * *", func(t *testing.T, b *bench) {
		want(t, b, b.serve(t, 30*time.Hour), 0, "01-01 02:00:00", "01-02 02:00:00") // until 01-02 06:00
		time.Sleep(72 * time.Hour)                                                  // until 01-05 06:00
		want(t, b, b.serve(t, 24*time.Hour), 3, "01-01 02:00:00", "01-02 02:00:00", "01-06 02:00:00")
		want(t, b, b.serve(t, time.Hour), 3, "01-01 02:00:00", "01-02 02:00:00", "01-06 02:00:00") // not counted twice
	})
}

func TestCatchUpIsOneRun(t *testing.T) {
	inBubble(t, "CRON_TZ=UTC 0 2 * * *", func(t *testing.T, b *bench) {
		b.Jobs[0].CatchUp = true
		want(t, b, b.serve(t, 3*time.Hour), 0, "01-01 02:00:00")
		time.Sleep(72 * time.Hour)
		want(t, b, b.serve(t, time.Hour), 3, "01-01 02:00:00", "01-04 03:00:00*")
	})
}

func TestUnfinishedRunIsResumedAtTheStart(t *testing.T) {
	inBubble(t, "CRON_TZ=UTC 0 2 * * *", func(t *testing.T, b *bench) {
		must(t, b.ledger.StartRun(background, ledger.RunStart{RunID: "r", Job: "nightly", StartedAt: time.Now()}))
		want(t, b, b.serve(t, 3*time.Hour), 0, "01-01 00:00:00*", "01-01 02:00:00")
	})
}

func TestRunOfAnotherProcessMakesATickMissed(t *testing.T) {
	inBubble(t, "@every 1h", func(t *testing.T, b *bench) {
		b.err = errors.Join(errors.New("lock job"), ledger.ErrRunning)
		want(t, b, b.serve(t, 2*time.Hour+time.Minute), 2, "01-01 01:00:00", "01-01 02:00:00")
	})
}

func TestLoopEndsCleanly(t *testing.T) {
	inBubble(t, "@every 1h", func(t *testing.T, b *bench) {
		b.takes = 24 * time.Hour
		start := time.Now()
		want(t, b, b.serve(t, 90*time.Minute), 0, "01-01 01:00:00")
		if took := time.Since(start); took != 90*time.Minute {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestFailedRunDoesNotStopTheLoop(t *testing.T) {
	inBubble(t, "@every 1h", func(t *testing.T, b *bench) {
		b.err = errors.New("disk on fire")
		want(t, b, b.serve(t, 2*time.Hour+time.Minute), 0, "01-01 01:00:00", "01-01 02:00:00")
		b.Run = func(context.Context, Job, Options) (finding.Run, error) { panic("a bug") }
		want(t, b, b.serve(t, 2*time.Hour+time.Minute), 0, "01-01 01:00:00", "01-01 02:00:00")
	})
}

func TestJobsRunBesideEachOther(t *testing.T) {
	inBubble(t, "@every 1h", func(t *testing.T, b *bench) {
		b.takes = 30 * time.Minute
		b.Jobs = append(b.Jobs, Scheduled{Job: Job{Name: "other"}, Schedule: every(t, "@every 70m")})
		b.serve(t, 75*time.Minute)
		if len(b.starts) != 2 {
			t.Errorf("runs %v", b.starts)
		}
	})
}

// TestTickIsRunOrMissed holds the sum: each tick is a run or a missed one, whatever a run takes and whenever the process is down.
func TestTickIsRunOrMissed(t *testing.T) {
	for takes := range 8 {
		inBubble(t, "CRON_TZ=UTC */10 * * * *", func(t *testing.T, b *bench) {
			b.takes = time.Duration(takes) * 7 * time.Minute
			start := time.Now()
			for _, minutes := range []int{15, 5, 61, 33, 120} {
				b.serve(t, time.Duration(minutes)*time.Minute)
				time.Sleep(time.Duration(minutes%40) * time.Minute)
			}
			missed := b.serve(t, time.Second)
			ticks, _ := (&clock{Scheduled: b.Jobs[0]}).ticks(start, time.Now())
			if int64(len(b.starts))+missed != ticks {
				t.Errorf("%d ticks, but %d runs and %d missed", ticks, len(b.starts), missed)
			}
		})
	}
}

func TestTicksAreBounded(t *testing.T) {
	c := &clock{Scheduled: Scheduled{Schedule: every(t, "@every 1s")}}
	to := night0.AddDate(20, 0, 0)
	if n, last := c.ticks(night0, to); n != maxTicks || !last.Equal(to) {
		t.Errorf("%d ticks, the last at %v", n, last)
	}
}
