package scheduler

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"redoubt/internal/ledger"
)

// Candidate is a timeline that may be picked.
type Candidate struct {
	ledger.TimelineKey
	Shadow       bool
	LastVerified time.Time // zero: never
	RunsWaited   int       // runs of the job since it was last picked or first seen
	PicksInVain  int       // picks since a span of it was last verified
}

// Pick draws n timelines, never a shadow, the most urgent first.
//
// The draw is random, weighted by how long ago a timeline was verified; one
// never verified weighs twice the most. A timeline that was picked in vain
// weighs less, so that those which cannot be verified do not crowd out the
// others.
//
// No timeline starves: one that waited patience*ceil(candidates/n) runs is
// taken first, the longest waiting before others. So none waits longer than
// (patience+1)*ceil(candidates/n) runs while the number of candidates stays.
//
// The same candidates in any order, n, patience, seed and now give the same picks.
func Pick(candidates []Candidate, n, patience int, seed int64, now time.Time) []Candidate {
	pool := slices.DeleteFunc(slices.Clone(candidates), func(c Candidate) bool { return c.Shadow })
	slices.SortFunc(pool, byKey)
	n = min(n, len(pool))
	if n <= 0 {
		return nil
	}
	draws := weigh(pool, patience*((len(pool)+n-1)/n), rand.New(rand.NewPCG(uint64(seed), 1)), now)
	slices.SortFunc(draws, func(a, b draw) int {
		return cmp.Or(cmp.Compare(b.overdue, a.overdue), cmp.Compare(a.at, b.at), byKey(a.Candidate, b.Candidate))
	})
	picks := make([]Candidate, n)
	for i := range picks {
		picks[i] = draws[i].Candidate
	}
	return picks
}

func byKey(a, b Candidate) int { return compareKeys(a.TimelineKey, b.TimelineKey) }

func compareKeys(a, b ledger.TimelineKey) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.Source, b.Source))
}

// draw is a candidate's place in the lottery.
type draw struct {
	Candidate
	overdue int     // runs waited, 0 unless the patience is over
	at      float64 // the smaller, the earlier
}

// weigh draws a number for each: with an exponential one divided by the
// weight, taking the n smallest is drawing n by weight without putting back
// (Efraimidis and Spirakis).
func weigh(pool []Candidate, patience int, rng *rand.Rand, now time.Time) []draw {
	never := 2 * oldest(pool, now)
	draws := make([]draw, len(pool))
	for i, c := range pool {
		weight := never
		if !c.LastVerified.IsZero() {
			weight = age(c, now)
		}
		weight /= float64(1 + c.PicksInVain)
		draws[i] = draw{Candidate: c, at: -math.Log(1-rng.Float64()) / weight}
		if c.RunsWaited >= patience {
			draws[i].overdue = c.RunsWaited
		}
	}
	return draws
}

func oldest(pool []Candidate, now time.Time) float64 {
	most := 1.0
	for _, c := range pool {
		if !c.LastVerified.IsZero() {
			most = max(most, age(c, now))
		}
	}
	return most
}

// age is in hours, at least one: a clock that was set back makes nothing weightless.
func age(c Candidate, now time.Time) float64 {
	return max(now.Sub(c.LastVerified).Hours(), 1)
}
