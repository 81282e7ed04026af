package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"redoubt/internal/ledger"
)

var night0 = time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC)

func keyN(i int) ledger.TimelineKey {
	return ledger.TimelineKey{Source: "src", Tenant: fmt.Sprintf("tenant%03d", i), Timeline: "main"}
}

func candidatesN(n int) []Candidate {
	out := make([]Candidate, n)
	for i := range out {
		out[i].TimelineKey = keyN(i)
	}
	return out
}

func TestPickIsReproducible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := candidatesN(rapid.IntRange(0, 40).Draw(t, "candidates"))
		for i := range pool {
			pool[i].Shadow = rapid.Bool().Draw(t, "shadow")
			pool[i].RunsWaited = rapid.IntRange(0, 30).Draw(t, "waited")
			pool[i].PicksInVain = rapid.IntRange(0, 5).Draw(t, "in vain")
			if h := rapid.IntRange(-5, 1000).Draw(t, "hours"); h != 0 {
				pool[i].LastVerified = night0.Add(-time.Duration(h) * time.Hour)
			}
		}
		n, seed := rapid.IntRange(0, 12).Draw(t, "n"), rapid.Int64().Draw(t, "seed")
		before := slices.Clone(pool)
		got := Pick(pool, n, 2, seed, night0)
		if diff := cmp.Diff(before, pool); diff != "" {
			t.Fatalf("Pick changed its input: %s", diff)
		}
		rand.New(rand.NewPCG(uint64(n), 1)).Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		if diff := cmp.Diff(got, Pick(pool, n, 2, seed, night0)); diff != "" {
			t.Fatalf("another order of candidates, other picks: %s", diff)
		}
		eligible := len(slices.DeleteFunc(pool, func(c Candidate) bool { return c.Shadow }))
		if len(got) != min(n, eligible) || slices.ContainsFunc(got, func(c Candidate) bool { return c.Shadow }) {
			t.Fatalf("%d of %d picked for %d: %v", len(got), eligible, n, got)
		}
		overdue := func(c Candidate) int { return max(0, c.RunsWaited-2*((eligible+n-1)/n)+1) }
		seen := map[ledger.TimelineKey]bool{}
		for i, c := range got {
			if seen[c.TimelineKey] || i > 0 && overdue(got[i-1]) < overdue(c) {
				t.Fatalf("picked twice or out of order: %v", got)
			}
			seen[c.TimelineKey] = true
		}
	})
}

func TestPickDependsOnTheSeed(t *testing.T) {
	seen := map[string]bool{}
	for seed := range int64(50) {
		seen[fmt.Sprint(Pick(candidatesN(20), 5, 100, seed, night0))] = true
	}
	if len(seen) < 45 {
		t.Errorf("%d different picks of 50 seeds", len(seen))
	}
}

// TestPickPrefersTheOldest counts who is picked in many draws of one of four.
func TestPickPrefersTheOldest(t *testing.T) {
	pool := candidatesN(4)
	pool[0].LastVerified = night0.Add(-10 * time.Hour)
	pool[1].LastVerified = night0.Add(-100 * time.Hour)
	pool[3].PicksInVain = 9 // never verified, as pool[2], but tried in vain
	var picked [4]int
	for seed := range int64(10_000) {
		for i, c := range pool {
			if Pick(pool, 1, 100, seed, night0)[0].TimelineKey == c.TimelineKey {
				picked[i]++
			}
		}
	}
	// Weights 10, 100, 200 and 20 of 330.
	for i, want := range [4]int{303, 3030, 6061, 606} {
		if d := picked[i] - want; d < -200 || d > 200 {
			t.Errorf("candidate %d was picked %d times of 10000, want about %d", i, picked[i], want)
		}
	}
}

// TestPickStarvesNobody simulates nights in which some timelines can never
// be verified, and holds the promise about the longest wait.
func TestPickStarvesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "timelines")
		perRun := rapid.IntRange(1, 12).Draw(t, "per run")
		patience := rapid.IntRange(1, 4).Draw(t, "patience")
		hopeless := rapid.IntRange(0, n).Draw(t, "hopeless")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		pool := candidatesN(n)
		for i := range pool {
			if rapid.Bool().Draw(t, "verified before") {
				pool[i].LastVerified = night0.Add(-time.Duration(rng.IntN(10_000)) * time.Hour)
			}
		}
		rounds := (n + perRun - 1) / perRun
		for night := range 6 * rounds {
			now := night0.AddDate(0, 0, night)
			picked := map[ledger.TimelineKey]bool{}
			for _, c := range Pick(pool, perRun, patience, rng.Int64(), now) {
				picked[c.TimelineKey] = true
			}
			for i := range pool {
				c := &pool[i]
				switch {
				case !picked[c.TimelineKey]:
					c.RunsWaited++
					if c.RunsWaited > (patience+1)*rounds {
						t.Fatalf("%s waits for %d runs: %d timelines, %d per run, patience %d", c.Tenant, c.RunsWaited, n, perRun, patience)
					}
				case i < hopeless:
					c.RunsWaited, c.PicksInVain = 0, c.PicksInVain+1
				default:
					c.RunsWaited, c.PicksInVain, c.LastVerified = 0, 0, now
				}
			}
		}
	})
}
