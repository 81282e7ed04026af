package scheduler

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// fleet is a catalog of many timelines, each with a base backup a day, of which
// the last seven are kept.
type fleet struct {
	perDay []int64 // WAL of a day, in bytes
	start  time.Time
}

const (
	keptBackups = 7
	day         = 24 * time.Hour
)

// fleetOf has sizes as fleets have them: many small timelines and few large
// ones (log-normal, median 2 GiB of WAL a day, the largest of 1,000 some 150 GiB).
func fleetOf(n int, start time.Time) *fleet {
	rng := rand.New(rand.NewPCG(7, 7))
	f := &fleet{start: start}
	for range n {
		f.perDay = append(f.perDay, int64(2*float64(1<<30)*math.Exp(1.5*rng.NormFloat64())))
	}
	return f
}

func (f *fleet) Timelines(context.Context) (Listing, error) {
	var l Listing
	for i := range f.perDay {
		l.Timelines = append(l.Timelines, ledger.Timeline{TimelineKey: keyN(i)})
	}
	return l, nil
}

func (f *fleet) Snapshots(_ context.Context, k ledger.TimelineKey) (out []Snapshot, err error) {
	var i int
	if _, err := fmt.Sscanf(k.Tenant, "tenant%d", &i); err != nil {
		return nil, err
	}
	today := int64(time.Since(f.start) / day)
	for d := max(0, today-keptBackups+1); d <= today; d++ {
		at := pg.LSN(1<<24 + (d+keptBackups)*f.perDay[i])
		out = append(out, Snapshot{Name: fmt.Sprintf("day%04d", d), Redo: at, End: at, TLI: 1})
	}
	return out, nil
}

// year is what a year of nights came to.
type year struct {
	whole, spans [][]int // nights on which a timeline was verified whole, or a span of it was
	verified     int64   // bytes
}

// nights runs a job each night, with the real runner and the real ledger.
func nights(t *testing.T, l *ledger.Ledger, f *fleet, job Job, n int) *year {
	t.Helper()
	y := &year{whole: make([][]int, len(f.perDay)), spans: make([][]int, len(f.perDay))}
	night := 0
	r := &Runner{Store: l, Catalog: f, Scan: func(_ context.Context, s ScanSpec) (finding.ScanTimeline, error) {
		return finding.ScanTimeline{Tenant: s.Tenant, Timeline: s.Timeline, TLI: 1, Expected: 1, Present: 1}, nil
	}}
	r.Verify = func(_ context.Context, s SpanSpec) (finding.Verification, error) {
		return finding.Verification{Verdict: finding.Clean, Span: s.Range}, nil
	}
	r.Events.Planned = func(_ string, spans []ledger.Span, _ []ledger.TimelineKey) {
		for _, s := range spans {
			y.verified += int64(s.Range.Bytes())
		}
	}
	for ; night < n; night++ {
		seed := int64(night)
		run, err := r.Run(t.Context(), job, Options{Seed: &seed})
		must(t, err)
		for _, tl := range run.Timelines {
			var i int
			_, err := fmt.Sscanf(tl.Tenant, "tenant%d", &i)
			must(t, err)
			done := 0
			for _, s := range tl.Spans {
				if s.Verdict == finding.Clean {
					done++
				}
			}
			if done > 0 {
				y.spans[i] = append(y.spans[i], night)
			}
			if done == len(tl.Spans) {
				y.whole[i] = append(y.whole[i], night)
			}
		}
		time.Sleep(day)
	}
	return y
}

// waits are the longest times without, per timeline, in nights.
func waits(seen [][]int, n int) (out []int) {
	for _, at := range seen {
		worst, last := 0, -1
		for _, a := range append(slices.Clone(at), n) {
			worst, last = max(worst, a-last), a
		}
		out = append(out, worst)
	}
	slices.Sort(out)
	return out
}

func quantile(sorted []int, q float64) int {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// TestYear lets the runner plan night after night for a fleet of timelines of
// very different sizes, and measures how long they wait. The figures of the year
// (make prove) are in docs/planning.md. What it demands: each timeline whose spans
// fit into a night's limit is verified whole within the time that all of them take
// and half as much again, and of the larger ones spans are.
func TestYear(t *testing.T) {
	timelines, n := 60, 40
	type night struct {
		picks int
		limit int64 // bytes of WAL
	}
	cases := []night{{20, 200 << 30}}
	if os.Getenv("REDOUBT_PROVE") == "1" {
		timelines, n = 1000, 365
		cases = []night{{10, 200 << 30}, {40, 1 << 40}, {80, 4 << 40}}
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d a night, %d GiB", c.picks, c.limit>>30), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { aYear(t, dir, timelines, n, c.picks, c.limit) })
		})
	}
}

func aYear(t *testing.T, dir string, timelines, n, perNight int, limit int64) {
	l := openLedger(t, filepath.Join(dir, "ledger.db"))
	defer func() { must(t, l.Close()) }()
	f := fleetOf(timelines, time.Now())
	time.Sleep(keptBackups * day)
	job := testJob()
	job.Timelines, job.WALBytes = perNight, limit
	y := nights(t, l, f, job, n)

	fits, total := func(i int) bool { return (keptBackups-1)*f.perDay[i] <= limit }, int64(0)
	var whole, spans [][]int
	for i := range f.perDay {
		total += min(limit, (keptBackups-1)*f.perDay[i])
		spans = append(spans, y.spans[i])
		if fits(i) {
			whole = append(whole, y.whole[i])
		}
	}
	bound := 3 * max((timelines+perNight-1)/perNight, int(total/limit)) * max(job.Patience, 1) / 2
	for what, seen := range map[string][][]int{"whole": whole, "a span": spans} {
		w := waits(seen, n)
		t.Logf("%s: %d timelines, nights without: median %d, 95 %% %d, worst %d (bound %d)", what, len(w), quantile(w, .5), quantile(w, .95), w[len(w)-1], bound)
		if w[len(w)-1] > bound {
			t.Errorf("%s: a timeline waited %d nights, more than %d", what, w[len(w)-1], bound)
		}
	}
	t.Logf("%.0f GiB of WAL a night; %.0f GiB arise", float64(y.verified)/float64(n<<30), float64(sum(f.perDay))/(1<<30))
}

func sum(of []int64) (n int64) {
	for _, v := range of {
		n += v
	}
	return n
}
