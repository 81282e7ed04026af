package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// Cut cuts a timeline into spans: from each usable snapshot to the next one,
// by the LSN at which they are consistent. Reasons say what is left out: a
// broken snapshot, over which the span before it is led, a change of
// cluster or major version, across which no WAL leads, and a timeline without two snapshots.
//
// A range is cut where its LSN passes a multiple of spanBytes, whatever its own
// bounds, so that a night's spans have the names they had the night before.
func Cut(t ledger.TimelineKey, snapshots []Snapshot, spanBytes int64) (spans []ledger.Span, reasons []string) {
	var usable []Snapshot
	for _, s := range inOrder(snapshots) {
		if why := unusable(s); why != "" {
			reasons = append(reasons, fmt.Sprintf("snapshot %s: %s", s.Name, why))
			continue
		}
		usable = append(usable, atEach(s, spanBytes)...)
	}
	usable = inOrder(usable)
	switch len(usable) {
	case 0:
		return nil, append(reasons, "no snapshot: nothing to compare")
	case 1:
		return nil, append(reasons, fmt.Sprintf("only one snapshot, %s: nothing to compare it with; a second base backup makes a span", usable[0].Name))
	}
	for i := 1; i < len(usable); i++ {
		base, official := usable[i-1], usable[i]
		if why := apart(base, official); why != "" {
			reasons = append(reasons, fmt.Sprintf("from snapshot %s to %s: %s", base.Name, official.Name, why))
			continue
		}
		spans = append(spans, ledger.Span{
			TimelineKey: t, TLI: official.TLI, Base: base.Name, Official: official.Name,
			Range: pg.Range{From: base.Redo, To: official.position()},
		})
	}
	return spans, reasons
}

// maxCuts bounds how many spans a range is cut into; in longer ones they have more WAL.
const maxCuts = 10_000

// atEach is a range at the LSNs where it is cut, its bounds among them; a
// snapshot at one LSN is itself.
func atEach(s Snapshot, spanBytes int64) (out []Snapshot) {
	if s.Upto == pg.InvalidLSN {
		return []Snapshot{s}
	}
	if spanBytes <= 0 {
		spanBytes = DefaultSpanBytes
	}
	step := pg.LSN(spanBytes)
	for (s.Upto-s.Redo)/step >= maxCuts {
		step *= 2
	}
	at := func(lsn pg.LSN) {
		one := s
		one.Name, one.Redo, one.End, one.Upto = At(s.Name, lsn), lsn, lsn, pg.InvalidLSN
		out = append(out, one)
	}
	at(s.Redo)
	for lsn := s.Redo - s.Redo%step; s.Upto-lsn > step; { // no sum here can pass the largest LSN
		if lsn += step; lsn > s.Redo {
			at(lsn)
		}
	}
	if s.Upto > s.Redo {
		at(s.Upto)
	}
	return out
}

func inOrder(snapshots []Snapshot) []Snapshot {
	return slices.SortedFunc(slices.Values(snapshots), func(a, b Snapshot) int {
		return cmp.Or(cmp.Compare(a.position(), b.position()), cmp.Compare(a.Redo, b.Redo), cmp.Compare(a.Name, b.Name))
	})
}

func unusable(s Snapshot) string {
	switch {
	case s.Broken != "":
		return s.Broken
	case s.Redo == pg.InvalidLSN:
		return "it does not say at which LSN its WAL starts"
	case s.End != pg.InvalidLSN && s.End < s.Redo:
		return fmt.Sprintf("it ends at %s, before it starts at %s", s.End, s.Redo)
	case s.Upto != pg.InvalidLSN && s.Upto < s.Redo:
		return fmt.Sprintf("its pages can be read up to %s, before they can from %s", s.Upto, s.Redo)
	case !s.Online && s.End > s.Redo:
		return fmt.Sprintf("it is no online backup, yet starts at %s and ends at %s", s.Redo, s.End)
	}
	return ""
}

// apart says why no WAL leads from one snapshot to the next.
func apart(a, b Snapshot) string {
	switch {
	case a.SystemID != 0 && b.SystemID != 0 && a.SystemID != b.SystemID:
		return fmt.Sprintf("they are of different clusters (system identifiers %d and %d)", a.SystemID, b.SystemID)
	case a.Major != 0 && b.Major != 0 && a.Major != b.Major:
		return fmt.Sprintf("they are of different major versions (%d and %d)", a.Major, b.Major)
	}
	return ""
}
