package scheduler

import (
	"slices"
	"time"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// Estimate is what a span is expected to take, by what spans took before; the
// zero value of a field says that nothing is known.
type Estimate struct {
	Wall         time.Duration
	ScratchBytes int64
}

// Estimator expects of a span what spans of its timeline took, or, where there
// were none, those of all timelines.
type Estimator struct {
	own map[ledger.TimelineKey]*costs
	all *costs
}

// costs of past spans. Work is the bytes of WAL that were replayed and of pages
// that were compared.
type costs struct {
	rates   []float64 // seconds per byte of work
	blocks  []float64 // blocks compared
	scratch []float64 // scratch bytes per byte of WAL
}

// NewEstimator learns from past spans.
func NewEstimator(past []ledger.SpanCost) *Estimator {
	e := &Estimator{own: make(map[ledger.TimelineKey]*costs), all: &costs{}}
	for _, p := range past {
		k := ledger.TimelineKey{Tenant: p.Tenant, Timeline: p.Timeline}
		if e.own[k] == nil {
			e.own[k] = &costs{}
		}
		e.own[k].learn(p)
		e.all.learn(p)
	}
	return e
}

func (c *costs) learn(p ledger.SpanCost) {
	if work := work(float64(p.WALBytes), float64(p.Blocks)); work > 0 && p.WallSeconds > 0 {
		c.rates = append(c.rates, p.WallSeconds/work)
		c.blocks = append(c.blocks, float64(p.Blocks))
	}
	if p.WALBytes > 0 {
		c.scratch = append(c.scratch, float64(p.ScratchBytes)/float64(p.WALBytes))
	}
}

func work(walBytes, blocks float64) float64 { return walBytes + blocks*pg.BlockSize }

// Expect expects the median of what was; of scratch space, the most.
func (e *Estimator) Expect(s ledger.Span) (out Estimate) {
	c := e.own[ledger.TimelineKey{Tenant: s.Tenant, Timeline: s.Timeline}]
	if c == nil || len(c.rates) == 0 {
		c = e.all
	}
	if len(c.rates) > 0 {
		seconds := median(c.rates) * work(float64(s.Range.Bytes()), median(c.blocks))
		out.Wall = time.Duration(min(seconds, maxWall.Seconds()) * float64(time.Second))
	}
	if len(c.scratch) > 0 {
		out.ScratchBytes = int64(slices.Max(c.scratch) * float64(s.Range.Bytes()))
	}
	return out
}

// maxWall keeps an estimate from overflowing.
const maxWall = 1000 * time.Hour

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// Together is what estimates come to where n spans run at once, in their order:
// the time of all, and the scratch space of the n that take the most.
func Together(estimates []Estimate, n int) (out Estimate) {
	busy := make([]time.Duration, max(n, 1))
	scratch := make([]int64, 0, len(estimates))
	for _, e := range estimates {
		i := slices.Index(busy, slices.Min(busy))
		busy[i] += e.Wall
		out.Wall = max(out.Wall, busy[i])
		scratch = append(scratch, e.ScratchBytes)
	}
	slices.Sort(scratch)
	for _, b := range scratch[max(0, len(scratch)-len(busy)):] {
		out.ScratchBytes += b
	}
	return out
}
