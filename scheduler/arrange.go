package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"redoubt/internal/ledger"
)

// PlannedSpan is a span and what became of it in earlier runs.
type PlannedSpan struct {
	ledger.Span
	Past ledger.SpanPast
}

// vainAttempts is how often a span that was never verified goes before those
// that were. One that cannot be verified then waits with them for its turn, and
// does not take the place of others night after night.
const vainAttempts = 3

// fresh says that a span goes before those that were verified before.
func (s PlannedSpan) fresh() bool { return !s.Past.Verified && s.Past.Attempts < vainAttempts }

// Arrange puts the spans of the picks, the most urgent pick first, into their
// order of execution, and defers those beyond the limit (walBytes; 0: none).
//
// First come the spans that were never verified, pick by pick, the newest first,
// for that is the WAL that nothing has looked at. Those of a pick are taken
// together or not at all, so that timelines are verified whole: where they do not
// fit any more the next pick may. What room is left is for the other spans, those
// tried longest ago first: what lies on disks can rot.
//
// The first span is always taken, so one longer than the limit is not put off for
// ever, and neither is a pick whose spans fit into no run: it gets what room there
// is, and passes the limit by one span at most.
func Arrange(picks [][]PlannedSpan, walBytes int64) []PlannedSpan {
	room := budget{limit: uint64(walBytes)}
	var out, deferred, known []PlannedSpan
	for _, spans := range picks {
		var fresh []PlannedSpan
		for _, s := range slices.Backward(inRange(spans)) {
			if s.fresh() {
				fresh = append(fresh, s)
			} else {
				known = append(known, s)
			}
		}
		if room.putsOff(fresh) {
			deferred = append(deferred, fresh...)
			continue
		}
		for _, s := range fresh {
			if room.take(s) {
				out = append(out, s)
			} else {
				deferred = append(deferred, s)
			}
		}
	}
	slices.SortStableFunc(known, func(a, b PlannedSpan) int { return a.Past.LastAttempt.Compare(b.Past.LastAttempt) })
	for _, s := range known {
		if room.take(s) {
			out = append(out, s)
		} else {
			deferred = append(deferred, s)
		}
	}
	for i := range deferred {
		deferred[i].Deferred = fmt.Sprintf("not verified in this run: the job's limit of %s of WAL was reached", humanize.IBytes(room.limit))
	}
	out = append(out, deferred...)
	for i := range out {
		out[i].Number = i
	}
	return out
}

// budget is how much WAL a run may replay and how much its plan has, in bytes.
type budget struct{ limit, taken uint64 }

func (b *budget) take(s PlannedSpan) bool {
	if b.limit > 0 && b.taken >= b.limit {
		return false
	}
	b.taken += s.Range.Bytes()
	return true
}

// putsOff says that spans do not fit any more, and would into another run.
func (b *budget) putsOff(spans []PlannedSpan) bool {
	sum := uint64(0)
	for _, s := range spans {
		sum += s.Range.Bytes()
	}
	return b.limit > 0 && b.taken > 0 && sum <= b.limit && b.taken+sum > b.limit
}

// putOff are the timelines of which no span is taken: they go on waiting.
func putOff(spans []PlannedSpan) map[ledger.TimelineKey]bool {
	out := make(map[ledger.TimelineKey]bool)
	for _, s := range slices.Backward(spans) { // those that are taken come last here
		out[s.TimelineKey] = s.Deferred != ""
	}
	return out
}

func inRange(spans []PlannedSpan) []PlannedSpan {
	return slices.SortedStableFunc(slices.Values(spans), func(a, b PlannedSpan) int {
		return cmp.Or(cmp.Compare(a.Range.From, b.Range.From), cmp.Compare(a.Range.To, b.Range.To), cmp.Compare(a.Base, b.Base), cmp.Compare(a.Official, b.Official))
	})
}

// withPast joins a timeline's spans with what the ledger knows of them. A span
// from the lower bound of a range, which moves from night to night, is left out if
// one from further below to the same LSN was verified.
func withPast(spans []ledger.Span, past map[ledger.SpanName]ledger.SpanPast) []PlannedSpan {
	out := make([]PlannedSpan, 0, len(spans))
	for _, s := range spans {
		p, known := past[ledger.SpanName{Base: s.Base, Official: s.Official}]
		if !known && contained(s, past) {
			continue
		}
		out = append(out, PlannedSpan{s, p})
	}
	return out
}

func contained(s ledger.Span, past map[ledger.SpanName]ledger.SpanPast) bool {
	of, from, ok := SplitAt(s.Base)
	if !ok {
		return false
	}
	for name, p := range past {
		if of2, from2, ok := SplitAt(name.Base); ok && p.Verified && name.Official == s.Official && of2 == of && from2 < from {
			return true
		}
	}
	return false
}
