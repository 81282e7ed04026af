package ledger

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
)

// day is a run of one span from S to its successor, with what it found.
func dayOf(t *testing.T, l *Ledger, n int, base, official string, v finding.Verification) string {
	t.Helper()
	run, when := fmt.Sprintf("d%03d", n), t0.AddDate(0, 0, n)
	must(t, l.KeepSnapshots(ctx, key.Tenant, key.Timeline, when, []string{base, official}))
	startPlanned(t, l, run, when, plannedSpan(0, base, official, 1, 2))
	must(t, l.FinishSpan(ctx, run, 0, when, v))
	must(t, l.FinishScan(ctx, run, when, finding.ScanTimeline{Tenant: key.Tenant, Timeline: key.Timeline}))
	must(t, l.FinishRun(ctx, run, when, finding.Verdict(strings.Replace(string(v.Verdict), "discrepancies", "findings", 1)), nil, 0))
	return run
}

func runIDs(t *testing.T, l *Ledger) []string {
	t.Helper()
	runs, err := l.Runs(ctx, RunFilter{})
	must(t, err)
	var out []string
	for _, r := range runs {
		out = append(out, r.ID)
	}
	slices.Sort(out)
	return out
}

// TestPruneKeepsWhatIsNeeded has thirty nights: an open discrepancy first seen
// on the third and last on the ninth, one that went, a snapshot that was
// verified long ago and could not be since.
func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	l, now := clocked(t)
	clean := verified(finding.Clean)
	stuck := verified(finding.Inconclusive)
	stuck.Reasons = []string{"WAL is missing"}
	other := TimelineKey{"src", "ten2", "main"}
	for n := range 30 {
		snap := func(i int) string { return fmt.Sprintf("S%02d", i) }
		switch {
		case n == 3 || n == 9: // open: its snapshot is never verified without it, nor expires
			run := fmt.Sprintf("d%03d", n)
			when := t0.AddDate(0, 0, n)
			must(t, l.StartRun(ctx, RunStart{RunID: run, Job: "nightly", StartedAt: when}))
			s := plannedSpan(0, "A", "B", 1, 2)
			s.TimelineKey = other
			must(t, l.SavePlan(ctx, run, when, Plan{Picks: []Pick{{TimelineKey: other}}, Spans: []Span{s}}))
			must(t, l.FinishSpan(ctx, run, 0, when, verified(finding.Discrepancies, disc("open", finding.Critical))))
			must(t, l.FinishScan(ctx, run, when, finding.ScanTimeline{Tenant: other.Tenant, Timeline: other.Timeline}))
			must(t, l.FinishRun(ctx, run, when, finding.Findings, nil, 0))
		case n == 5:
			dayOf(t, l, n, snap(n), snap(n+1), verified(finding.Discrepancies, disc("went", finding.Critical)))
		case n >= 20: // the last span that could be verified was that of day 19
			dayOf(t, l, n, snap(19), snap(20), stuck)
		default:
			dayOf(t, l, n, snap(n), snap(n+1), clean)
		}
	}
	for i, at := range []int{1, 25} {
		must(t, l.RememberSegments(ctx, "ten", "main", t0.AddDate(0, 0, at), Segment{Name: fmt.Sprint("seg", i), ModTime: t0}))
	}
	*now = t0.AddDate(0, 0, 8)
	_, err := l.Acknowledge(ctx, AckRequest{ID: "open", Reason: "x", By: "y", At: *now, Until: now.AddDate(0, 0, 0).Add(time.Hour)})
	must(t, err)
	*now = t0.AddDate(0, 0, 30)
	before, err := l.Timelines(ctx, "other")
	must(t, err)
	totals, err := l.RunTotals(ctx)
	must(t, err)

	p, err := l.Prune(ctx, t0.AddDate(0, 0, 25).Add(-time.Minute))
	must(t, err)
	if p != (Pruned{Runs: 22, Discrepancies: 1, Acknowledgements: 1, Segments: 1}) {
		t.Errorf("taken away: %+v", p)
	}
	if got, want := runIDs(t, l), []string{"d003", "d009", "d019", "d025", "d026", "d027", "d028", "d029"}; !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
	if got := states(t, l); !maps.Equal(got, map[string]string{"open": StateOpen}) {
		t.Errorf("discrepancies: %v", got)
	}
	after, err := l.RunTotals(ctx)
	must(t, err)
	if !maps.Equal(totals, after) {
		t.Errorf("counters went from %v to %v", totals, after)
	}
	tl, err := l.Timelines(ctx, "other")
	must(t, err)
	for i := range tl {
		if !tl[i].LastVerifiedAt.Equal(before[i].LastVerifiedAt) || tl[i].RunsWaited != before[i].RunsWaited || tl[i].OpenDiscrepancies != before[i].OpenDiscrepancies {
			t.Errorf("timeline went from %+v to %+v", before[i], tl[i])
		}
	}
	waited, err := l.Timelines(ctx, "nightly") // ten2 was picked on day 9
	must(t, err)
	if waited[1].Tenant != "ten2" || waited[1].RunsWaited != 20 {
		t.Errorf("waited: %+v", waited[1])
	}
	// The night after, verified again: last_verified_at rests on spans of the past.
	dayOf(t, l, 30, "S19", "S20", stuck)
	tl, err = l.Timelines(ctx, "")
	must(t, err)
	if want := t0.AddDate(0, 0, 19); !tl[0].LastVerifiedAt.Equal(want) {
		t.Errorf("last verified %v, want %v", tl[0].LastVerifiedAt, want)
	}
	if again, err := l.Prune(ctx, t0.AddDate(0, 0, 25).Add(-time.Minute)); err != nil || again != (Pruned{}) {
		t.Errorf("once more: %+v, %v", again, err)
	}
	needed, err := l.Needed(ctx)
	must(t, err)
	if !needed["d003"] || !needed["d019"] || !needed["d030"] || needed["d026"] {
		t.Errorf("needed: %v", needed)
	}
}

// bulky fills a ledger with nights whose discrepancies carry pages.
func bulky(l *Ledger, nights int) error {
	for n := range nights {
		run, when := fmt.Sprintf("d%03d", n), t0.AddDate(0, 0, n)
		if err := l.StartRun(ctx, RunStart{RunID: run, Job: "nightly", StartedAt: when}); err != nil {
			return err
		}
		if err := l.SavePlan(ctx, run, when, Plan{Picks: []Pick{{TimelineKey: key}}, Spans: []Span{plannedSpan(0, "A", "B", 1, 2)}}); err != nil {
			return err
		}
		v := verified(finding.Discrepancies)
		for i := range 20 {
			d := disc(fmt.Sprintf("%d-%d", n, i), finding.Critical)
			d.Pages = &finding.PagePair{Official: make([]byte, 8192), Replayed: make([]byte, 8192)}
			v.Discrepancies = append(v.Discrepancies, d)
			v.DiscrepancyCounts.Add(d.Severity)
		}
		if err := l.FinishSpan(ctx, run, 0, when, v); err != nil { // those of the night before are gone
			return err
		}
		if err := l.FinishScan(ctx, run, when, finding.ScanTimeline{Tenant: key.Tenant, Timeline: key.Timeline}); err != nil {
			return err
		}
		if err := l.FinishRun(ctx, run, when, finding.Findings, nil, 0); err != nil {
			return err
		}
	}
	return nil
}

func TestPruneMakesTheFileShorter(t *testing.T) {
	for _, name := range []string{"new", "made before"} {
		t.Run(name, func(t *testing.T) {
			l := openTest(t)
			if name == "made before" {
				_, err := l.write.Exec("PRAGMA auto_vacuum = none; VACUUM")
				must(t, err)
			}
			must(t, bulky(l, 10))
			_, err := l.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
			must(t, err)
			size := func() int64 {
				st, err := os.Stat(l.Path())
				must(t, err)
				return st.Size()
			}
			full := size()
			_, err = l.Prune(ctx, t0.AddDate(1, 0, 0))
			must(t, err)
			if got := size(); got > full/4 || len(runIDs(t, l)) != 1 {
				t.Errorf("%d bytes before, %d after, runs %v", full, got, runIDs(t, l))
			}
			t.Logf("%d bytes before, %d after", full, size())
		})
	}
}

// childPrune makes a ledger with much to take away, says so, and takes it away.
func childPrune(path string) error {
	l, err := Open(path)
	if err != nil {
		return err
	}
	fmt.Println("pruning")
	if _, err := l.Prune(ctx, t0.AddDate(1, 0, 0)); err != nil {
		return err
	}
	fmt.Println("done")
	return l.Close()
}

// TestPruneSurvivesKills kills it at many moments and finds a whole ledger
// each time, with what must not go.
func TestPruneSurvivesKills(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full.db")
	l, err := Open(full)
	must(t, err)
	must(t, bulky(l, 40))
	must(t, l.Close())
	unfinished := 0
	for i := range 8 {
		path := filepath.Join(dir, fmt.Sprint("ledger", i, ".db"))
		must(t, copyFile(full, path))
		cmd, out := startChild(t, "prune", path)
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "pruning" {
			t.Fatalf("the child says %q", lines.Text())
		}
		time.Sleep(time.Duration(5*i*i) * time.Millisecond)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed, or done before
		l, err := Open(path)
		must(t, err)
		selfCheck(t, l)
		left := runIDs(t, l)
		open, err := l.Discrepancies(ctx, DiscrepancyFilter{State: StateOpen})
		must(t, err)
		if len(open) != 20 || !slices.Contains(left, "d039") {
			t.Fatalf("killed after %d ms: %d open discrepancies, runs %v", 5*i*i, len(open), left)
		}
		for _, id := range left { // whole ones
			r, err := l.Run(ctx, id)
			must(t, err)
			if len(r.Timelines) != 1 || len(r.Timelines[0].Spans) != 1 || len(r.Timelines[0].Spans[0].Discrepancies) != 20 {
				t.Fatalf("killed after %d ms: half of run %s is left", 5*i*i, id)
			}
		}
		totals, err := l.RunTotals(ctx)
		must(t, err)
		if totals[finding.Findings] != 40 {
			t.Errorf("counted %v", totals)
		}
		if len(left) > 1 {
			unfinished++
		}
		_, err = l.Prune(ctx, t0.AddDate(1, 0, 0))
		must(t, err)
		if left := runIDs(t, l); len(left) != 1 {
			t.Errorf("gone on with, %v are left", left)
		}
		must(t, l.Close())
	}
	t.Logf("%d of 8 were killed before they were done", unfinished)
}
