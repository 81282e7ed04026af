package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// spansN are n spans of timeline t, each of that much WAL, never tried.
func spansN(t, n int, bytes pg.LSN) []PlannedSpan {
	out := make([]PlannedSpan, n)
	for i := range out {
		from := pg.LSN(1+i) * bytes
		out[i].Span = ledger.Span{TimelineKey: keyN(t), Base: fmt.Sprint(i), Official: fmt.Sprint(i + 1), Range: pg.Range{From: from, To: from + bytes}}
	}
	return out
}

// order is what Arrange made of it: timeline and base of each span, those deferred behind a bar.
func order(spans []PlannedSpan) string {
	var taken, deferred []string
	for _, s := range spans {
		text := s.Tenant[len(s.Tenant)-1:] + "/" + s.Base
		if s.Deferred == "" {
			taken = append(taken, text)
		} else {
			deferred = append(deferred, text)
		}
	}
	return strings.Join(append(append(taken, "|"), deferred...), " ")
}

func TestArrange(t *testing.T) {
	tried := func(s *PlannedSpan, hoursAgo, attempts int, verified bool) {
		s.Past = ledger.SpanPast{Attempts: attempts, LastAttempt: night0.Add(-time.Duration(hoursAgo) * time.Hour), Verified: verified}
	}
	picks := [][]PlannedSpan{spansN(2, 4, 1<<20), spansN(1, 3, 1<<20)}
	tried(&picks[0][0], 5, 1, true)
	tried(&picks[0][1], 9, 3, false) // in vain, too often
	tried(&picks[0][2], 1, 2, false) // in vain, but may be tried again
	tried(&picks[1][0], 7, 4, true)
	if got, want := order(Arrange(picks, 0)), "2/3 2/2 1/2 1/1 2/1 1/0 2/0 |"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
	// 2.5 MiB: the fresh spans of the second pick do not fit any more, and the
	// third span passes the limit.
	got := Arrange(picks, 5<<19)
	if want := "2/3 2/2 2/1 | 1/2 1/1 1/0 2/0"; order(got) != want {
		t.Errorf("order %q, want %q", order(got), want)
	}
	if want := "not verified in this run: the job's limit of 2.5 MiB of WAL was reached"; got[3].Deferred != want {
		t.Errorf("deferred: %q, want %q", got[3].Deferred, want)
	}
	if one := Arrange([][]PlannedSpan{spansN(1, 1, 1<<40)}, 1); one[0].Deferred != "" {
		t.Error("a span longer than the limit is never taken")
	}
}

// TestArrangeKeepsAll holds for any spans: each is there once, by its number,
// whatever the order of the input.
func TestArrangeKeepsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var picks [][]PlannedSpan
		n := 0
		for i := range rapid.IntRange(0, 4).Draw(t, "picks") {
			spans := spansN(i, rapid.IntRange(0, 5).Draw(t, "spans"), 1<<20)
			for j := range spans {
				spans[j].Past = ledger.SpanPast{
					Attempts: rapid.IntRange(0, 5).Draw(t, "attempts"), Verified: rapid.Bool().Draw(t, "verified"),
					LastAttempt: night0.Add(time.Duration(n) * time.Minute),
				}
				n++
			}
			picks = append(picks, spans)
		}
		limit := rapid.Int64Range(0, 8<<20).Draw(t, "limit")
		got := Arrange(picks, limit)
		var shuffled [][]PlannedSpan
		for _, p := range picks {
			p = slices.Clone(p)
			slices.Reverse(p)
			shuffled = append(shuffled, p)
		}
		if diff := cmp.Diff(got, Arrange(shuffled, limit)); diff != "" {
			t.Fatalf("the order of the input matters: %s", diff)
		}
		seen, deferred := map[string]bool{}, false
		for i, s := range got {
			seen[s.Tenant+s.Base] = true
			if s.Number != i || deferred && s.Deferred == "" {
				t.Fatalf("span %d: %+v", i, s)
			}
			deferred = s.Deferred != ""
		}
		if len(seen) != n || len(got) != n {
			t.Fatalf("%d of %d spans: %v", len(seen), n, got)
		}
	})
}

func TestWithPast(t *testing.T) {
	span := func(base, official string) ledger.Span { return ledger.Span{Base: base, Official: official} }
	past := map[ledger.SpanName]ledger.SpanPast{
		{Base: "ps@0/100", Official: "ps@0/200"}: {Attempts: 1, Verified: true},
		{Base: "ps@0/200", Official: "ps@0/300"}: {Attempts: 1},
		{Base: "a", Official: "b"}:               {Attempts: 2},
	}
	for _, tc := range []struct {
		span ledger.Span
		want int // attempts; -1: left out
	}{
		{span("a", "b"), 2},
		{span("b", "c"), 0},
		{span("ps@0/180", "ps@0/200"), -1}, // the lower bound moved
		{span("ps@0/80", "ps@0/200"), 0},   // it did not move that way
		{span("ps@0/280", "ps@0/300"), 0},  // the whole one was never verified
		{span("other@0/180", "ps@0/200"), 0},
	} {
		got := withPast([]ledger.Span{tc.span}, past)
		attempts := -1
		if len(got) == 1 {
			attempts = got[0].Past.Attempts
		}
		if attempts != tc.want {
			t.Errorf("%s to %s: %d attempts, want %d", tc.span.Base, tc.span.Official, attempts, tc.want)
		}
	}
}

func TestEstimator(t *testing.T) {
	span := func(i int, bytes pg.LSN) ledger.Span { return spansN(i, 1, bytes)[0].Span }
	past := func(i int, wal, blocks int64, seconds float64, scratch int64) ledger.SpanCost {
		return ledger.SpanCost{Tenant: keyN(i).Tenant, Timeline: keyN(i).Timeline, WALBytes: wal, Blocks: blocks, WallSeconds: seconds, ScratchBytes: scratch}
	}
	if got := NewEstimator(nil).Expect(span(1, 1<<20)); got != (Estimate{}) {
		t.Errorf("nothing is known, yet it expects %+v", got)
	}
	e := NewEstimator([]ledger.SpanCost{
		past(1, 1<<20, 128, 2, 0), past(1, 1<<20, 128, 4, 1<<20), past(1, 3<<20, 128, 100, 0), // 128 blocks are 1 MiB
		past(2, 1<<20, 0, 1000, 0),
	})
	for _, tc := range []struct {
		span ledger.Span
		want Estimate
	}{
		{span(1, 1<<20), Estimate{4 * time.Second, 1 << 20}},
		{span(1, 3<<20), Estimate{8 * time.Second, 3 << 20}},
		{span(3, 1<<20), Estimate{50 * time.Second, 1 << 20}}, // of all timelines
	} {
		if got := e.Expect(tc.span); got != tc.want {
			t.Errorf("%s %s: %+v, want %+v", tc.span.Tenant, tc.span.Range, got, tc.want)
		}
	}
	all := []Estimate{{4 * time.Second, 1}, {3 * time.Second, 20}, {2 * time.Second, 300}}
	if got, want := Together(all, 2), (Estimate{5 * time.Second, 320}); got != want {
		t.Errorf("two at once: %+v, want %+v", got, want)
	}
	if got, want := Together(all, 1), (Estimate{9 * time.Second, 300}); got != want {
		t.Errorf("one at once: %+v, want %+v", got, want)
	}
}
