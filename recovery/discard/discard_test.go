package discard

import (
	"fmt"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

const size = 16

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// archived are n segments, one archived each hour.
func archived(n int) (out []Segment) {
	for i := range n {
		from := pg.LSN(i * size)
		out = append(out, Segment{Name: fmt.Sprint(i), TLI: 1, Range: pg.Range{From: from, To: from + size}, Stored: epoch.Add(time.Duration(i) * time.Hour)})
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
	a := Snapshot{Name: "a", Redo: 8, Consistent: 8, TLI: 1, Proved: true}
	b := Snapshot{Name: "b", Redo: 40, Consistent: 50, TLI: 1}
	c := Snapshot{Name: "c", Redo: 100, Consistent: 100, TLI: 1}
	ab, bc := Span{"a", "b", pg.Range{From: 8, To: 50}}, Span{"b", "c", pg.Range{From: 40, To: 100}}
	branch, early, unknown, anew := c, c, c, b
	branch.TLI, early.TLI, unknown.TLI = 2, 3, 4
	left := func(tli pg.TLI, at pg.LSN) wal.History {
		h, err := wal.ParseHistory(tli, fmt.Appendf(nil, "1\t%s\tx\n", at))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	branches := map[pg.TLI]wal.History{2: left(2, 60), 3: left(3, 30)}
	anew.Redo, anew.Consistent = 60, 70
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
		{"a branch that began before the span that is verified", []Snapshot{a, b, early}, []Span{ab, bc}, Rule{Snapshots: 1}, 40, "[]"},
		{"a branch that nobody knows", []Snapshot{a, b, unknown}, []Span{ab, bc}, Rule{Snapshots: 1}, 40, "[]"},
		{"one made anew under its name", []Snapshot{a, anew, c}, []Span{ab, bc}, Rule{Snapshots: 1}, 100, "[5]"},
		{"none", nil, nil, Rule{Snapshots: 1}, 0, "[]"},
	} {
		r := Find(Timeline{Snapshots: x.snapshots, Verified: x.verified, Segments: archived(10), History: wal.NewHistory(1), Branches: branches}, x.rule)
		if got := fmt.Sprint(names(r.Unneeded)); r.KeepFrom != x.from || got != x.want {
			t.Errorf("%s: from %s %s, want %s %s", x.name, r.KeepFrom, got, x.from, x.want)
		}
	}
}
