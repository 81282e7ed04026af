// Package discard says which WAL of a timeline nobody needs any more, given
// its verified snapshots and a rule of how much is to stay recoverable. It is
// pure, and it deletes nothing.
//
// WAL is needed
//
//   - from the redo pointer of the newest verified snapshot on that lets the
//     rule be kept, for ever after: so that every later LSN can be recovered;
//   - by each span between two snapshots that is not verified: from each
//     snapshot back to the one before it, by LSN and along its own history;
//   - by timelines that were made from this one, up to where they leave it.
//
// What is left is listed, in whole segments.
package discard

import (
	"cmp"
	"slices"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// Snapshot is one snapshot of the timeline.
type Snapshot struct {
	Name       string `json:"name"`
	Redo       pg.LSN `json:"redo_lsn"`       // from here on it needs WAL
	Consistent pg.LSN `json:"consistent_lsn"` // up to here at least
	TLI        pg.TLI `json:"tli"`            // PostgreSQL's, at Redo
	// Proved: it was held against the WAL when it was made.
	Proved bool `json:"proved"`
}

// Span is a verified span: it was clean, whole, the last time it was looked at.
type Span struct {
	Base, Official string // names of snapshots
	Range          pg.Range
}

// Segment is one WAL file of the archive.
type Segment struct {
	Name   string
	TLI    pg.TLI // that its name says
	Range  pg.Range
	Stored time.Time // when it was archived, zero if nobody knows
	Bytes  int64     // as stored
}

// Offspring is a timeline that was made from this one, whose WAL below LSN is
// its own, too; or one that is being made.
type Offspring struct {
	Name string
	TLI  pg.TLI // PostgreSQL's, at LSN
	LSN  pg.LSN // where it leaves this one, 0 if that is not known yet: it may be at the end
	From pg.LSN // what it is made from starts here; 0: it is made
}

// Timeline is all there is of one.
type Timeline struct {
	Snapshots []Snapshot // in any order
	Verified  []Span
	Segments  []Segment // in any order
	Offspring []Offspring
	// History is the one that leads to the timeline's end. Snapshots of another
	// one, an abandoned branch, are kept by no rule.
	History wal.History
	// Branches are the histories of other TLIs as far as they are known.
	Branches map[pg.TLI]wal.History
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
	Official string `json:"official"` // a snapshot, or a timeline made from this one
}

// Report is what can be discarded.
type Report struct {
	// KeepFrom is where the WAL starts that the rule needs; 0 means that no
	// verified snapshot lets it be kept, so that all WAL is needed.
	KeepFrom  pg.LSN    `json:"keep_from_lsn"`
	KeptBy    string    `json:"kept_by"`  // the snapshot that starts there
	Verified  []string  `json:"verified"` // snapshots, oldest first
	Unneeded  []Segment `json:"-"`
	Needed    []Need    `json:"needed_by_unverified_spans"`
	Offspring []Need    `json:"needed_by_timelines"`
}

// Find makes the report.
func Find(t Timeline, rule Rule) Report {
	t.Snapshots = slices.Clone(t.Snapshots)
	slices.SortFunc(t.Snapshots, func(a, b Snapshot) int {
		return cmp.Or(cmp.Compare(a.position(), b.position()), cmp.Compare(a.Redo, b.Redo), cmp.Compare(a.Name, b.Name))
	})
	sound := t.soundOnes()
	var out Report
	for _, s := range sound {
		out.Verified = append(out.Verified, s.Name)
	}
	out.KeepFrom, out.KeptBy = t.keepFrom(sound, rule)
	behind := func(n Need) bool { return n.From >= out.KeepFrom }
	out.Needed, out.Offspring = slices.DeleteFunc(t.unverified(), behind), slices.DeleteFunc(t.others(), behind)
	needed := slices.Concat(out.Needed, out.Offspring)
	for _, s := range t.Segments {
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

// on reports whether all of a snapshot is of a history: a backup that began
// on it may have ended on a branch that left it.
func (s Snapshot) on(h wal.History) bool {
	return h.TLIAt(s.Redo) == s.TLI && h.TLIAt(max(s.Redo, s.position()-1)) == s.TLI
}

// overlap also holds for an empty range within another.
func overlap(a, b pg.Range) bool { return a.From < b.To && b.From < max(a.To, a.From+1) }

// sound: proved, or at an end of a verified span.
func (t *Timeline) sound(s Snapshot) bool {
	return s.Proved || slices.ContainsFunc(t.Verified, func(v Span) bool {
		return v.Base == s.Name && v.Range.From <= s.Redo || v.Official == s.Name && v.Range.To >= s.Redo
	})
}

// soundOnes are the snapshots that a rule may rely on: those of the timeline's own history.
func (t *Timeline) soundOnes() (out []Snapshot) {
	for _, s := range t.Snapshots {
		if s.on(t.History) && t.sound(s) {
			out = append(out, s)
		}
	}
	return out
}

// keepFrom is the lowest of what the parts of a rule need.
func (t *Timeline) keepFrom(sound []Snapshot, rule Rule) (at pg.LSN, by string) {
	var kept []Snapshot
	ok := rule.Snapshots > 0 || !rule.Since.IsZero() || rule.From != 0
	need := func(s Snapshot, found bool) {
		kept, ok = append(kept, s), ok && found
	}
	if rule.Snapshots > 0 {
		ok = ok && len(sound) >= rule.Snapshots
		for _, s := range sound[max(0, len(sound)-rule.Snapshots):] { // they are in order
			need(s, true)
		}
	}
	if !rule.Since.IsZero() {
		need(newest(sound, func(s Snapshot) bool { return t.before(s, rule.Since) }))
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
// holds WAL of the history from where it is consistent, or later, was archived
// by then. What a branch that was abandoned has at that LSN may be older.
func (t *Timeline) before(s Snapshot, moment time.Time) bool {
	return slices.ContainsFunc(t.Segments, func(g Segment) bool {
		return !g.Stored.IsZero() && !g.Stored.After(moment) && t.reaches(g) > s.position()
	})
}

// reaches is where the part of a segment ends that is of the timeline's history, 0 if none is.
func (t *Timeline) reaches(g Segment) pg.LSN {
	for _, e := range t.History {
		if e.TLI == g.TLI && e.Range.From < g.Range.To && g.Range.From < e.Range.To {
			return min(e.Range.To, g.Range.To)
		}
	}
	return 0
}
