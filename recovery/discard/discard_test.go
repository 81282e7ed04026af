package discard

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"redoubt/internal/pg"
)

const size = 16

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// archived are n segments, one archived each hour.
func archived(n int) (out []Segment) {
	for i := range n {
		from := pg.LSN(i * size)
		out = append(out, Segment{Name: fmt.Sprint(i), Range: pg.Range{From: from, To: from + size}, Stored: epoch.Add(time.Duration(i) * time.Hour)})
	}
	return out
}

func names(s []Segment) (out []string) {
	for _, g := range s {
		out = append(out, g.Name)
	}
	return out
}

func TestFind(t *testing.T) {
	a := Snapshot{Name: "a", Redo: 8, Consistent: 8, Proved: true, OnHistory: true}
	b := Snapshot{Name: "b", Redo: 40, Consistent: 50, OnHistory: true}
	c := Snapshot{Name: "c", Redo: 100, Consistent: 100, OnHistory: true}
	ab, bc := Span{"a", "b", 8}, Span{"b", "c", 40}
	branch := c
	branch.OnHistory = false
	for _, x := range []struct {
		name      string
		snapshots []Snapshot
		verified  []Span
		rule      Rule
		from      pg.LSN
		want      string
	}{
		{"all verified, one kept", []Snapshot{c, a, b}, []Span{ab, bc}, Rule{Snapshots: 1}, 100, "[0 1 2 3 4 5]"},
		{"two kept", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{Snapshots: 2}, 40, "[0 1]"},
		{"more are to be kept than there are", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{Snapshots: 4}, 0, "[]"},
		{"a span in the middle is not verified", []Snapshot{a, b, c}, []Span{bc}, Rule{Snapshots: 1}, 100, "[4 5]"},
		{"the last span is not verified", []Snapshot{a, b, c}, []Span{ab}, Rule{Snapshots: 1}, 40, "[0 1]"},
		{"nothing is verified", []Snapshot{b, c}, nil, Rule{Snapshots: 1}, 0, "[]"},
		{"by LSN", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{From: 99}, 40, "[0 1]"},
		{"by an LSN in a backup", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{From: 45}, 8, "[]"},
		{"by time", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{Since: epoch.Add(5 * time.Hour)}, 40, "[0 1]"},
		{"by a time before all", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{Since: epoch.Add(-time.Hour)}, 0, "[]"},
		{"all parts of a rule", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{Snapshots: 1, From: 60}, 40, "[0 1]"},
		{"no rule", []Snapshot{a, b, c}, []Span{ab, bc}, Rule{}, 0, "[]"},
		{"an abandoned branch", []Snapshot{a, b, branch}, []Span{ab, bc}, Rule{Snapshots: 1}, 40, "[0 1]"},
		{"none", nil, nil, Rule{Snapshots: 1}, 0, "[]"},
	} {
		r := Find(x.snapshots, x.verified, archived(10), x.rule)
		if got := fmt.Sprint(names(r.Unneeded)); r.KeepFrom != x.from || got != x.want {
			t.Errorf("%s: from %s %s, want %s %s", x.name, r.KeepFrom, got, x.from, x.want)
		}
	}
}

// TestNothingNeededIsListed: whatever the history, without the segments listed
// every snapshot that the rule keeps can still be replayed to the end, and
// every span that is not verified still can be.
func TestNothingNeededIsListed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segments := archived(rapid.IntRange(1, 30).Draw(t, "segments"))
		end := segments[len(segments)-1].Range.To
		var snapshots []Snapshot
		for i := range rapid.IntRange(0, 8).Draw(t, "snapshots") {
			redo := pg.LSN(rapid.IntRange(1, int(end)-1).Draw(t, "redo"))
			snapshots = append(snapshots, Snapshot{Name: fmt.Sprint("s", i), Redo: redo,
				Consistent: redo + pg.LSN(rapid.IntRange(0, 40).Draw(t, "window")),
				Proved:     rapid.Bool().Draw(t, "proved"), OnHistory: rapid.IntRange(0, 4).Draw(t, "branch") > 0})
		}
		var verified []Span
		for _, a := range snapshots {
			for _, b := range snapshots {
				if a.Name != b.Name && rapid.IntRange(0, 2).Draw(t, "clean") == 0 {
					verified = append(verified, Span{a.Name, b.Name, a.Redo})
				}
			}
		}
		rule := Rule{Snapshots: rapid.IntRange(0, 4).Draw(t, "keep")}
		if rapid.Bool().Draw(t, "by time") {
			rule.Since = epoch.Add(time.Duration(rapid.IntRange(-2, 40).Draw(t, "since")) * time.Hour)
		}
		if rapid.Bool().Draw(t, "by LSN") {
			rule.From = pg.LSN(rapid.IntRange(1, int(end)).Draw(t, "from"))
		}
		r := Find(snapshots, verified, segments, rule)
		gone := func(at pg.LSN) bool {
			return slices.ContainsFunc(r.Unneeded, func(g Segment) bool { return at >= g.Range.From && at < g.Range.To })
		}
		whole := func(what string, from, to pg.LSN) {
			for at := from; at < to; at++ {
				if gone(at) {
					t.Fatalf("%s needs %s, which is listed: %+v of %+v, verified %v, rule %+v", what, at, r, snapshots, verified, rule)
				}
			}
		}
		trusted := func(s Snapshot) bool {
			return s.OnHistory && (s.Proved || slices.ContainsFunc(verified, func(v Span) bool { return v.Base == s.Name || v.Official == s.Name }))
		}
		var sound []Snapshot
		for _, s := range snapshots {
			if trusted(s) {
				sound = append(sound, s)
			}
		}
		slices.SortFunc(sound, func(a, b Snapshot) int { return int(max(b.Redo, b.Consistent)) - int(max(a.Redo, a.Consistent)) })
		for i, s := range sound {
			if i < rule.Snapshots {
				whole("snapshot "+s.Name+", which is kept,", s.Redo, end)
			}
		}
		// An LSN that the rule wants is recoverable from some trusted snapshot if it was before.
		recoverable := func(at pg.LSN) (before, after bool) {
			for _, s := range sound {
				if max(s.Redo, s.Consistent) > at {
					continue
				}
				before, after = true, after || !slices.ContainsFunc(r.Unneeded, func(g Segment) bool { return g.Range.To > s.Redo && g.Range.From < at })
			}
			return before, after
		}
		if rule.From != 0 {
			for at := rule.From; at < end; at++ {
				if before, after := recoverable(at); before && !after {
					t.Fatalf("%s can't be recovered any more: %+v of %+v, verified %v", at, r, snapshots, verified)
				}
			}
		}
		if !rule.Since.IsZero() {
			for _, g := range segments {
				if before, after := recoverable(g.Range.To - 1); g.Stored.After(rule.Since) && before && !after {
					t.Fatalf("%s, archived at %s, can't be recovered any more", g.Name, g.Stored)
				}
			}
		}
		inOrder := slices.SortedFunc(slices.Values(snapshots), func(a, b Snapshot) int {
			if c := int(a.position()) - int(b.position()); c != 0 {
				return c
			}
			if c := int(a.Redo) - int(b.Redo); c != 0 {
				return c
			}
			return int(a.Name[1]) - int(b.Name[1])
		})
		for i := 1; i < len(inOrder); i++ {
			a, b := inOrder[i-1], inOrder[i]
			if !slices.ContainsFunc(verified, func(v Span) bool { return v.Base == a.Name && v.Official == b.Name }) {
				whole("the span from "+a.Name+" to "+b.Name, a.Redo, b.position())
			}
		}
	})
}
