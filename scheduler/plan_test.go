package scheduler

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// snap is an online snapshot.
func snap(name string, redo, end pg.LSN) Snapshot {
	return Snapshot{Name: name, Redo: redo, End: end, Online: true, TLI: 1}
}

func cutText(snapshots ...Snapshot) []string {
	spans, reasons := Cut(keyN(1), snapshots, 0)
	var out []string
	for _, s := range spans {
		out = append(out, fmt.Sprintf("%s->%s %s", s.Base, s.Official, s.Range))
	}
	return append(out, reasons...)
}

func TestCut(t *testing.T) {
	broken := snap("B", 0x250, 0x260)
	broken.Broken = "backup_manifest lacks base.tar"
	clean := Snapshot{Name: "C", Redo: 0x300, End: 0x300, TLI: 1}
	other, newer := snap("X", 0x500, 0x510), snap("Y", 0x600, 0x610)
	first := snap("S1", 0x100, 0x110)
	first.SystemID, first.Major, other.SystemID, newer.Major = 7, 15, 8, 17
	notClean := Snapshot{Name: "N", Redo: 0x10, End: 0x20}
	for _, tc := range []struct {
		name string
		in   []Snapshot
		want []string
	}{
		{"none", nil, []string{"no snapshot: nothing to compare"}},
		{"one", []Snapshot{first}, []string{"only one snapshot, S1: nothing to compare it with; a second base backup makes a span"}},
		{"three, in any order", []Snapshot{clean, snap("S2", 0x200, 0x210), first},
			[]string{"S1->S2 [0/100, 0/210)", "S2->C [0/200, 0/300)"}},
		{"a broken one is led over", []Snapshot{first, broken, clean},
			[]string{"S1->C [0/100, 0/300)", "snapshot B: backup_manifest lacks base.tar"}},
		{"only a broken one", []Snapshot{broken},
			[]string{"snapshot B: backup_manifest lacks base.tar", "no snapshot: nothing to compare"}},
		{"an end that is not known", []Snapshot{snap("S2", 0x200, 0), first}, []string{"S1->S2 [0/100, 0/200)"}},
		{"backups taken at the same time", []Snapshot{snap("long", 0x100, 0x900), snap("short", 0x200, 0x300)},
			[]string{"short->long [0/200, 0/900)"}},
		{"the same LSN", []Snapshot{clean, {Name: "D", Redo: 0x300, End: 0x300, TLI: 1}}, []string{"C->D [0/300, 0/300)"}},
		{"another cluster", []Snapshot{first, other},
			[]string{"from snapshot S1 to X: they are of different clusters (system identifiers 7 and 8)"}},
		{"another major version", []Snapshot{first, newer},
			[]string{"from snapshot S1 to Y: they are of different major versions (15 and 17)"}},
		{"impossible LSNs", []Snapshot{snap("zero", 0, 0), snap("back", 0x20, 0x10), notClean}, []string{
			"snapshot zero: it does not say at which LSN its WAL starts",
			"snapshot N: it is no online backup, yet starts at 0/10 and ends at 0/20",
			"snapshot back: it ends at 0/10, before it starts at 0/20",
			"no snapshot: nothing to compare",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, cutText(tc.in...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCutRange(t *testing.T) {
	const step = 0x100
	ranged := func(from, to pg.LSN) Snapshot { return Snapshot{Name: "ps", Redo: from, Upto: to, TLI: 1} }
	initdb := Snapshot{Name: "initdb", Redo: 0x20, End: 0x20, TLI: 1}
	for _, tc := range []struct {
		name string
		in   []Snapshot
		want []string
	}{
		{"bounds between multiples", []Snapshot{ranged(0x180, 0x410)},
			[]string{"ps@0/180->ps@0/200 [0/180, 0/200)", "ps@0/200->ps@0/300 [0/200, 0/300)", "ps@0/300->ps@0/400 [0/300, 0/400)", "ps@0/400->ps@0/410 [0/400, 0/410)"}},
		{"bounds at multiples", []Snapshot{ranged(0x200, 0x400)},
			[]string{"ps@0/200->ps@0/300 [0/200, 0/300)", "ps@0/300->ps@0/400 [0/300, 0/400)"}},
		{"no multiple within", []Snapshot{ranged(0x210, 0x220)}, []string{"ps@0/210->ps@0/220 [0/210, 0/220)"}},
		{"behind a snapshot", []Snapshot{ranged(0x1F0, 0x210), initdb},
			[]string{"initdb->ps@0/1F0 [0/20, 0/1F0)", "ps@0/1F0->ps@0/200 [0/1F0, 0/200)", "ps@0/200->ps@0/210 [0/200, 0/210)"}},
		{"one LSN only", []Snapshot{ranged(0x210, 0x210)}, []string{"only one snapshot, ps@0/210: nothing to compare it with; a second base backup makes a span"}},
		{"bounds in the wrong order", []Snapshot{ranged(0x210, 0x200)},
			[]string{"snapshot ps: its pages can be read up to 0/200, before they can from 0/210", "no snapshot: nothing to compare"}},
		{"up to the last LSN", []Snapshot{ranged(math.MaxUint64-0x180, math.MaxUint64)},
			[]string{"ps@FFFFFFFF/FFFFFE7F->ps@FFFFFFFF/FFFFFF00 [FFFFFFFF/FFFFFE7F, FFFFFFFF/FFFFFF00)", "ps@FFFFFFFF/FFFFFF00->ps@FFFFFFFF/FFFFFFFF [FFFFFFFF/FFFFFF00, FFFFFFFF/FFFFFFFF)"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			spans, reasons := Cut(keyN(1), tc.in, step)
			for _, s := range spans {
				got = append(got, fmt.Sprintf("%s->%s %s", s.Base, s.Official, s.Range))
			}
			if diff := cmp.Diff(tc.want, append(got, reasons...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSplitAt(t *testing.T) {
	for in, want := range map[string]string{"ps@0/1F0": "ps 0/1F0 true", At("a@b", 0x10): "a@b 0/10 true", "20261122": "20261122 0/0 false", "ps@now": "ps@now 0/0 false"} {
		of, lsn, ok := SplitAt(in)
		if got := fmt.Sprint(of, " ", lsn, " ", ok); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

// TestCutLeavesNothingOut holds for any snapshots: each is in a span or named in a reason.
func TestCutLeavesNothingOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []Snapshot
		for i := range rapid.IntRange(0, 12).Draw(t, "snapshots") {
			s := snap(fmt.Sprintf("<%d>", i), pg.LSN(rapid.IntRange(0, 50).Draw(t, "redo")), pg.LSN(rapid.IntRange(0, 60).Draw(t, "end")))
			s.Online = rapid.Bool().Draw(t, "online")
			s.SystemID = uint64(rapid.IntRange(0, 2).Draw(t, "system"))
			if rapid.IntRange(0, 5).Draw(t, "broken") == 0 {
				s.Broken = "broken"
			}
			in = append(in, s)
		}
		spans, reasons := Cut(keyN(0), in, 0)
		for _, s := range in {
			used := slices.ContainsFunc(spans, func(x ledger.Span) bool { return x.Base == s.Name || x.Official == s.Name })
			told := slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, s.Name) })
			if !used && !told {
				t.Fatalf("%+v is neither in a span nor in a reason: %v, %v", s, spans, reasons)
			}
			if used && s.Broken != "" {
				t.Fatalf("%+v is used", s)
			}
		}
		if len(spans) == 0 && len(reasons) == 0 {
			t.Fatal("no span and no reason")
		}
		for i, s := range spans {
			if s.Range.To < s.Range.From || s.Base == s.Official {
				t.Fatalf("span %+v", s)
			}
			if i > 0 && spans[i-1].Range.To > s.Range.To {
				t.Fatalf("spans out of order: %+v", spans)
			}
		}
	})
}
