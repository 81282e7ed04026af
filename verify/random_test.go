package verify_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"redoubt/internal/pgtest"
)

// randomSeeds are verified in every run: some to begin with, and each that has
// ever failed. REDOUBT_RANDOM_SEEDS=100-199 adds others, REDOUBT_RANDOM_MAJORS
// names the servers, "15 17" if it is empty.
var randomSeeds = []uint64{2, 6}

// TestRandom verifies clusters of every index method under random concurrent
// work, killed in the middle. The seed decides about the server's settings, too.
func TestRandom(t *testing.T) {
	for i, seed := range append(randomSeeds, moreSeeds(t)...) {
		major := randomMajors(t)[i%len(randomMajors(t))]
		s := randomSettings(seed, major)
		t.Run(fmt.Sprintf("seed %d on %s", seed, s.settings), func(t *testing.T) {
			h := live(t, major, func(c *pgtest.Cluster) {
				pgtest.Random{Seed: seed, Kills: s.kills}.Run(c)
			}, s.options()...)
			h.prove(t)
		})
	}
}

// randomOf is what a seed makes of a server's settings.
type randomOf struct {
	settings
	segmentMiB, kills int
	conf              map[string]string
}

func randomSettings(seed uint64, major int) randomOf {
	rnd := rand.New(rand.NewPCG(seed, 3))
	coin := func() bool { return rnd.IntN(2) == 0 }
	s := randomOf{settings: settings{major: major, checksums: coin(), fullPageWrites: coin(), consistency: coin()},
		segmentMiB: []int{1, 4, 16}[rnd.IntN(3)], kills: rnd.IntN(3), conf: map[string]string{}}
	if s.consistency {
		// Servers do not recover with images that they check and without full-page
		// writes; nor, of GiST pages whose dead entries were deleted, with them.
		s.fullPageWrites, s.kills = true, 0
	}
	for name, values := range map[string][]string{"wal_log_hints": {"off", "on"}, "wal_level": {"replica", "logical"}} {
		s.conf[name] = values[rnd.IntN(2)]
	}
	s.conf["wal_compression"] = []string{"off", "pglz"}[rnd.IntN(2)]
	if major < 15 && s.conf["wal_compression"] == "pglz" {
		s.conf["wal_compression"] = "on"
	}
	return s
}

func (s randomOf) options() []pgtest.Option {
	o := append(s.settings.options(), pgtest.WALSegmentMiB(s.segmentMiB))
	for name, value := range s.conf {
		o = append(o, pgtest.Conf(name, value))
	}
	return o
}

// moreSeeds are those of the environment.
func moreSeeds(t *testing.T) (seeds []uint64) {
	t.Helper()
	span := os.Getenv("REDOUBT_RANDOM_SEEDS")
	if span == "" {
		return nil
	}
	from, to, ok := strings.Cut(span, "-")
	if !ok {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 32)
	last, err2 := strconv.ParseUint(to, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatalf("REDOUBT_RANDOM_SEEDS=%s: want a number or first-last", span)
	}
	for seed := first; seed <= last; seed++ {
		seeds = append(seeds, seed)
	}
	return seeds
}

func randomMajors(t *testing.T) []int {
	t.Helper()
	var list []int
	for _, s := range strings.Fields(os.Getenv("REDOUBT_RANDOM_MAJORS")) {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("REDOUBT_RANDOM_MAJORS: %v", err)
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return majors
	}
	return list
}
