package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// Cut cuts a timeline into spans: from each usable snapshot to the next one,
// by the LSN at which they are consistent. Reasons say what is left out: a
// broken snapshot, over which the span before it is led, a change of
// cluster or major version, across which no WAL leads, and a timeline without two snapshots.
func Cut(t ledger.TimelineKey, snapshots []Snapshot) (spans []ledger.Span, reasons []string) {
	var usable []Snapshot
	for _, s := range inOrder(snapshots) {
		if why := unusable(s); why != "" {
			reasons = append(reasons, fmt.Sprintf("snapshot %s: %s", s.Name, why))
			continue
		}
		usable = append(usable, s)
	}
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

// Arrange puts spans into their order of execution, drawn by seed, and
// defers those beyond the limit: a span is taken while the WAL taken before it
// is less than walBytes (0: no limit). So the limit is passed by one span at
// most, a span longer than the limit is not put off for ever, and over the
// nights each gets its turn.
func Arrange(spans []ledger.Span, walBytes, seed int64) []ledger.Span {
	out := slices.Clone(spans)
	slices.SortFunc(out, func(a, b ledger.Span) int {
		return cmp.Or(compareKeys(a.TimelineKey, b.TimelineKey), cmp.Compare(a.Range.From, b.Range.From),
			cmp.Compare(a.Range.To, b.Range.To), cmp.Compare(a.Base, b.Base), cmp.Compare(a.Official, b.Official))
	})
	stream(seed, orderStream).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	taken := uint64(0)
	for i := range out {
		out[i].Number = i
		if walBytes > 0 && taken >= uint64(walBytes) {
			out[i].Deferred = fmt.Sprintf("not verified in this run: the job's limit of %s of WAL was reached", humanize.IBytes(uint64(walBytes)))
			continue
		}
		taken += out[i].Range.Bytes()
	}
	return out
}
