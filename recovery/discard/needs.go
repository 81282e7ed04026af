package discard

import (
	"math"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// unverified are the spans that are not verified and could be: to each
// snapshot from the one before it by LSN, as the nightly job plans them, and
// from the one before it on its own history, where that is another one. There
// the WAL between them is not what it is on a branch that was abandoned.
func (t *Timeline) unverified() (out []Need) {
	add := func(a, b Snapshot) {
		n := Need{pg.Range{From: min(a.Redo, b.Redo), To: b.position()}, a.Name, b.Name}
		if !t.verified(a, b) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	for i, b := range t.Snapshots {
		if i == 0 {
			continue
		}
		add(t.Snapshots[i-1], b)
		h := t.historyOf(b.TLI)
		if h == nil { // it may be any of those before
			for _, a := range t.Snapshots[:i] {
				add(a, b)
			}
			continue
		}
		for j := i - 1; j >= 0; j-- {
			if a := t.Snapshots[j]; a.on(h) {
				add(a, b)
				break
			}
		}
	}
	return out
}

// verified reports whether the span between two snapshots is, as they are now:
// one may have been made anew under its name.
func (t *Timeline) verified(a, b Snapshot) bool {
	return slices.ContainsFunc(t.Verified, func(v Span) bool {
		return v.Base == a.Name && v.Official == b.Name && v.Range.From <= a.Redo && v.Range.To >= b.Redo
	})
}

// historyOf is the history that leads to a TLI, nil if nobody knows it.
func (t *Timeline) historyOf(tli pg.TLI) wal.History {
	if h := t.Branches[tli]; h != nil {
		return h
	}
	for i, e := range t.History {
		if e.TLI == tli {
			h := slices.Clone(t.History[:i+1])
			h[i].Range.To = math.MaxUint64
			return h
		}
	}
	if tli == 1 {
		return wal.NewHistory(tli)
	}
	return nil
}

// others are what timelines made from this one need: WAL from the newest
// snapshot on from which their first LSN can be had, or from what they are
// being made from.
func (t *Timeline) others() (out []Need) {
	for _, o := range t.Offspring {
		n := Need{Range: pg.Range{From: o.From, To: o.LSN}, Official: o.Name}
		if n.To == 0 {
			n.To = math.MaxUint64
		}
		if h := t.historyOf(o.TLI); o.From == 0 && h != nil {
			for _, s := range t.Snapshots {
				if s.position() <= n.To && s.Redo >= n.From && s.on(h) && t.sound(s) {
					n.From, n.Base = s.Redo, s.Name
				}
			}
		}
		out = append(out, n)
	}
	return out
}
