package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// PlannedSpan is a span and what became of it in earlier runs.
type PlannedSpan struct {
	ledger.Span
	Past ledger.SpanPast
}

// vainAttempts is how often a span that was never verified goes before those
// that were. One that cannot be verified then waits with them for its turn, and
// does not take the place of others night after night.
const vainAttempts = 3

// fresh says that a span goes before those that were verified before.
func (s PlannedSpan) fresh() bool { return !s.Past.Verified && s.Past.Attempts < vainAttempts }

// Arrange puts the spans of the picks, the most urgent pick first, into their
// order of execution, and defers those beyond the limit (walBytes; 0: none).
//
// First come the spans that were never verified, pick by pick, the newest first,
// for that is the WAL that nothing has looked at. Those of a pick are taken
// together or not at all, so that timelines are verified whole: where they do not
// fit any more the next pick may. What room is left is for the other spans, those
// tried longest ago first: what lies on disks can rot.
//
// The first span is always taken, so one longer than the limit is not put off for
// ever, and neither is a pick whose spans fit into no run: it gets what room there
// is, and passes the limit by one span at most.
func Arrange(picks [][]PlannedSpan, walBytes int64) []PlannedSpan {
	room := budget{limit: uint64(walBytes)}
	var out, deferred, known []PlannedSpan
	for _, spans := range picks {
		var fresh []PlannedSpan
		for _, s := range slices.Backward(inRange(spans)) {
			if s.fresh() {
				fresh = append(fresh, s)
			} else {
				known = append(known, s)
			}
		}
		if room.putsOff(fresh) {
			deferred = append(deferred, fresh...)
			continue
		}
		for _, s := range fresh {
			if room.take(s) {
				out = append(out, s)
			} else {
				deferred = append(deferred, s)
			}
		}
	}
	slices.SortStableFunc(known, func(a, b PlannedSpan) int { return a.Past.LastAttempt.Compare(b.Past.LastAttempt) })
	for _, s := range known {
		if room.take(s) {
			out = append(out, s)
		} else {
			deferred = append(deferred, s)
		}
	}
	for i := range deferred {
		deferred[i].Deferred = fmt.Sprintf("not verified in this run: the job's limit of %s of WAL was reached", humanize.IBytes(room.limit))
	}
	out = append(out, deferred...)
	for i := range out {
		out[i].Number = i
	}
	return out
}

// budget is how much WAL a run may replay and how much its plan has, in bytes.
type budget struct{ limit, taken uint64 }

func (b *budget) take(s PlannedSpan) bool {
	if b.limit > 0 && b.taken >= b.limit {
		return false
	}
	b.taken += s.Range.Bytes()
	return true
}

// putsOff says that spans do not fit any more, and would into another run.
func (b *budget) putsOff(spans []PlannedSpan) bool {
	sum := uint64(0)
	for _, s := range spans {
		sum += s.Range.Bytes()
	}
	return b.limit > 0 && b.taken > 0 && sum <= b.limit && b.taken+sum > b.limit
}

// putOff are the timelines of which no span is taken: they go on waiting.
func putOff(spans []PlannedSpan) map[ledger.TimelineKey]bool {
	out := make(map[ledger.TimelineKey]bool)
	for _, s := range slices.Backward(spans) { // those that are taken come last here
		out[s.TimelineKey] = s.Deferred != ""
	}
	return out
}

func inRange(spans []PlannedSpan) []PlannedSpan {
	return slices.SortedStableFunc(slices.Values(spans), func(a, b PlannedSpan) int {
		return cmp.Or(cmp.Compare(a.Range.From, b.Range.From), cmp.Compare(a.Range.To, b.Range.To), cmp.Compare(a.Base, b.Base), cmp.Compare(a.Official, b.Official))
	})
}

// withPast joins a timeline's spans with what the ledger knows of them. A span
// from the lower bound of a range, which moves from night to night, is left out if
// one from further below to the same LSN was verified.
func withPast(spans []ledger.Span, past map[ledger.SpanName]ledger.SpanPast) []PlannedSpan {
	out := make([]PlannedSpan, 0, len(spans))
	for _, s := range spans {
		p, known := past[ledger.SpanName{Base: s.Base, Official: s.Official}]
		if !known && contained(s, past) {
			continue
		}
		out = append(out, PlannedSpan{s, p})
	}
	return out
}

func contained(s ledger.Span, past map[ledger.SpanName]ledger.SpanPast) bool {
	of, from, ok := SplitAt(s.Base)
	if !ok {
		return false
	}
	for name, p := range past {
		if of2, from2, ok := SplitAt(name.Base); ok && p.Verified && name.Official == s.Official && of2 == of && from2 < from {
			return true
		}
	}
	return false
}

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
