// Package discard says which WAL of a timeline nobody needs any more, given
// its verified snapshots and a rule of how much is to stay recoverable. It is
// pure, and it deletes nothing.
//
// WAL is needed
//
//   - from the redo pointer of the newest verified snapshot on that lets the
//     rule be kept, for ever after: so that every later LSN can be recovered;
//   - by each span between two neighbouring snapshots that is not verified.
//
// What is left is listed, in whole segments.
package discard

import (
	"cmp"
	"slices"
	"time"

	"redoubt/internal/pg"
)

// Snapshot is one snapshot of the timeline.
type Snapshot struct {
	Name       string `json:"name"`
	Redo       pg.LSN `json:"redo_lsn"`       // from here on it needs WAL
	Consistent pg.LSN `json:"consistent_lsn"` // up to here at least
	// Proved: it was held against the WAL when it was made.
	Proved bool `json:"proved"`
	// OnHistory: it is of the history that leads to the timeline's end, and not
	// of a branch that was abandoned. Others are never kept by a rule.
	OnHistory bool `json:"-"`
}

// Span is a verified span: it was clean, whole, the last time it was looked at.
type Span struct {
	Base, Official string // names of snapshots
	From           pg.LSN
}

// Segment is one WAL file of the archive.
type Segment struct {
	Name   string
	Range  pg.Range
	Stored time.Time // when it was archived, zero if nobody knows
	Bytes  int64     // as stored
}

// Rule says how much is to stay recoverable. At least one of its parts must be set;
// of several, all are kept.
type Rule struct {
	Snapshots int       // the newest verified ones
	Since     time.Time // every moment from then on
	From      pg.LSN    // every LSN from here on
}

// Need is a stretch of WAL that is needed before Report.KeepFrom, and why.
type Need struct {
	pg.Range
	Base     string `json:"base"`
	Official string `json:"official"`
}

// Report is what can be discarded.
type Report struct {
	// KeepFrom is where the WAL starts that the rule needs; 0 means that no
	// verified snapshot lets it be kept, so that all WAL is needed.
	KeepFrom pg.LSN    `json:"keep_from_lsn"`
	KeptBy   string    `json:"kept_by"`  // the snapshot that starts there
	Verified []string  `json:"verified"` // snapshots, oldest first
	Unneeded []Segment `json:"-"`
	Needed   []Need    `json:"needed_by_unverified_spans"`
}

// Find makes the report. Snapshots are in any order, segments too.
func Find(snapshots []Snapshot, verified []Span, segments []Segment, rule Rule) Report {
	snapshots = slices.Clone(snapshots)
	slices.SortFunc(snapshots, func(a, b Snapshot) int {
		return cmp.Or(cmp.Compare(a.position(), b.position()), cmp.Compare(a.Redo, b.Redo), cmp.Compare(a.Name, b.Name))
	})
	sound := soundOnes(snapshots, verified)
	var out Report
	for _, s := range sound {
		out.Verified = append(out.Verified, s.Name)
	}
	out.KeepFrom, out.KeptBy = keepFrom(sound, segments, rule)
	needed := unverified(snapshots, verified)
	for _, n := range needed {
		if n.From < out.KeepFrom {
			out.Needed = append(out.Needed, n)
		}
	}
	for _, s := range segments {
		if s.Range.To <= out.KeepFrom && !slices.ContainsFunc(needed, func(n Need) bool { return overlap(n.Range, s.Range) }) {
			out.Unneeded = append(out.Unneeded, s)
		}
	}
	slices.SortFunc(out.Unneeded, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.Range.From, b.Range.From), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (s Snapshot) position() pg.LSN { return max(s.Redo, s.Consistent) }

// overlap also holds for an empty range within another.
func overlap(a, b pg.Range) bool { return a.From < b.To && b.From < max(a.To, a.From+1) }

// soundOnes are the snapshots that a rule may rely on: proved, or at an end of
// a verified span, and of the timeline's own history.
func soundOnes(snapshots []Snapshot, verified []Span) (out []Snapshot) {
	for _, s := range snapshots {
		at := slices.ContainsFunc(verified, func(v Span) bool { return v.Base == s.Name && v.From <= s.Redo || v.Official == s.Name })
		if s.OnHistory && (s.Proved || at) {
			out = append(out, s)
		}
	}
	return out
}

// keepFrom is the lowest of what the parts of a rule need.
func keepFrom(sound []Snapshot, segments []Segment, rule Rule) (at pg.LSN, by string) {
	var kept []Snapshot
	ok := rule.Snapshots > 0 || !rule.Since.IsZero() || rule.From != 0
	need := func(s Snapshot, found bool) {
		kept, ok = append(kept, s), ok && found
	}
	if rule.Snapshots > 0 {
		byRedo := slices.SortedFunc(slices.Values(sound), func(a, b Snapshot) int { return cmp.Compare(b.position(), a.position()) })
		if n := len(byRedo); n < rule.Snapshots {
			ok = false
		}
		for _, s := range byRedo[:min(rule.Snapshots, len(byRedo))] {
			need(s, true)
		}
	}
	if !rule.Since.IsZero() {
		need(newest(sound, func(s Snapshot) bool { return before(s, segments, rule.Since) }))
	}
	if rule.From != 0 {
		need(newest(sound, func(s Snapshot) bool { return s.position() <= rule.From }))
	}
	if !ok {
		return 0, ""
	}
	lowest := slices.MinFunc(kept, func(a, b Snapshot) int { return cmp.Or(cmp.Compare(a.Redo, b.Redo), cmp.Compare(a.Name, b.Name)) })
	return lowest.Redo, lowest.Name
}

// newest is the one with the highest redo pointer of those that fit.
func newest(sound []Snapshot, fits func(Snapshot) bool) (out Snapshot, found bool) {
	for _, s := range sound {
		if fits(s) && (!found || s.Redo > out.Redo) {
			out, found = s, true
		}
	}
	return out, found
}

// before says that a snapshot is surely of no later moment: a segment that
// holds WAL from where it is consistent, or later, was archived by then.
func before(s Snapshot, segments []Segment, moment time.Time) bool {
	return slices.ContainsFunc(segments, func(g Segment) bool {
		return g.Range.To > s.position() && !g.Stored.IsZero() && !g.Stored.After(moment)
	})
}

// unverified are the spans between neighbours that are not verified.
func unverified(snapshots []Snapshot, verified []Span) (out []Need) {
	for i := 1; i < len(snapshots); i++ {
		a, b := snapshots[i-1], snapshots[i]
		if !slices.ContainsFunc(verified, func(v Span) bool { return v.Base == a.Name && v.Official == b.Name && v.From <= a.Redo }) {
			out = append(out, Need{pg.Range{From: min(a.Redo, b.Redo), To: b.position()}, a.Name, b.Name})
		}
	}
	return out
}
