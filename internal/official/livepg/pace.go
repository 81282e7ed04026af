package livepg

import (
	"context"
	"fmt"
	"time"

	"redoubt/internal/pg"
)

type sleeper func(context.Context, time.Duration) error

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

const (
	lagEvery  = 5 * time.Second // between two looks at the lag
	firstRest = time.Second
	longRest  = 30 * time.Second
)

// pacer rests between reads.
type pacer struct {
	Pace
	now      func() time.Time
	sleep    sleeper
	note     func(string) // may be nil
	free     time.Time    // when the rates allow the next read
	lagAt    time.Time    // when lag was looked at
	lag      func(context.Context) (int64, error)
	rested   time.Duration // for lag or latency, since it was last well
	nextRest time.Duration
	total    time.Duration // for lag or latency, in all
}

// before waits until the next read may begin.
func (p *pacer) before(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	for told := false; ; told = true {
		d := p.Hours.wait(p.now())
		if d == 0 {
			break
		}
		if !told && p.note != nil {
			p.note("the server is read within the given hours only: waiting until " + p.now().Add(d).Format("15:04"))
		}
		if err := p.sleep(ctx, min(d, time.Minute)); err != nil {
			return err
		}
	}
	if err := p.awaitLag(ctx); err != nil {
		return err
	}
	if d := p.free.Sub(p.now()); d > 0 {
		return p.sleep(ctx, d)
	}
	return nil
}

// awaitLag rests while standbys are too far behind.
func (p *pacer) awaitLag(ctx context.Context) error {
	if p.MaxLag <= 0 || p.now().Sub(p.lagAt) < lagEvery {
		return nil
	}
	for {
		lag, err := p.lag(ctx)
		if err != nil {
			return err
		}
		p.lagAt = p.now()
		if lag <= p.MaxLag {
			return nil
		}
		if err := p.rest(ctx, fmt.Sprintf("replication lags %d bytes behind, the limit is %d", lag, p.MaxLag)); err != nil {
			return err
		}
	}
}

// after notes a read of so many bytes that took so long, and rests if that was too long.
func (p *pacer) after(ctx context.Context, bytes int, took time.Duration) error {
	now := p.now()
	need := time.Duration(0)
	if p.BytesPerSecond > 0 {
		need = time.Duration(float64(bytes) / float64(p.BytesPerSecond) * float64(time.Second))
	}
	if p.PagesPerSecond > 0 {
		need = max(need, time.Duration(float64(bytes)/pg.BlockSize/float64(p.PagesPerSecond)*float64(time.Second)))
	}
	if p.free.Before(now.Add(-took)) {
		p.free = now.Add(-took)
	}
	p.free = p.free.Add(need)
	if p.MaxLatency > 0 && took > p.MaxLatency {
		return p.rest(ctx, fmt.Sprintf("a read took %v, the limit is %v", took.Round(time.Millisecond), p.MaxLatency))
	}
	p.rested, p.nextRest = 0, 0
	return nil
}

// rest rests, longer each time, until patience is at its end.
func (p *pacer) rest(ctx context.Context, why string) error {
	if p.rested >= p.Patience {
		return fmt.Errorf("read the server: given up after resting for %v: %s", p.rested, why)
	}
	p.nextRest = min(max(2*p.nextRest, firstRest), longRest)
	p.rested += p.nextRest
	p.total += p.nextRest
	return p.sleep(ctx, p.nextRest)
}
