// Package ranges is the collection of LSN ranges that are in the bucket, and
// the arithmetic of the WAL backup LSN. It is pure: no clock, no I/O, no
// goroutines; walbackup hands it what happened and asks what follows.
package ranges

import (
	"cmp"
	"slices"
	"strings"

	"redoubt/internal/pg"
)

// Set is a set of LSNs. The zero value is empty. Its ranges are not empty, in
// order, and don't touch each other.
type Set struct {
	ranges []pg.Range
}

// Add puts all LSNs of r into the set. An empty or reversed range adds nothing.
func (s *Set) Add(r pg.Range) {
	if r.To <= r.From {
		return
	}
	// ranges[i:j] touch or overlap r.
	i, _ := slices.BinarySearchFunc(s.ranges, r.From, func(x pg.Range, at pg.LSN) int { return cmp.Compare(x.To, at) })
	j := i
	for ; j < len(s.ranges) && s.ranges[j].From <= r.To; j++ {
		r.From, r.To = min(r.From, s.ranges[j].From), max(r.To, s.ranges[j].To)
	}
	s.ranges = slices.Replace(s.ranges, i, j, r)
}

// at is the range that holds l or begins or ends there; false if none does.
func (s *Set) at(l pg.LSN) (pg.Range, bool) {
	i, _ := slices.BinarySearchFunc(s.ranges, l, func(x pg.Range, at pg.LSN) int { return cmp.Compare(x.To, at) })
	if i < len(s.ranges) && s.ranges[i].From <= l {
		return s.ranges[i], true
	}
	return pg.Range{}, false
}

// Has reports whether all of r is in the set. An empty range is in every set.
func (s *Set) Has(r pg.Range) bool {
	if r.To <= r.From {
		return true
	}
	x, ok := s.at(r.To)
	return ok && x.From <= r.From
}

// End is how far the set goes on without a hole from l: l itself if nothing
// in the set begins there.
func (s *Set) End(l pg.LSN) pg.LSN {
	if x, ok := s.at(l); ok {
		return x.To
	}
	return l
}

// Begin is from where on the set reaches l without a hole: l itself if nothing
// in the set ends there.
func (s *Set) Begin(l pg.LSN) pg.LSN {
	if x, ok := s.at(l); ok {
		return x.From
	}
	return l
}

// Ranges are the ranges in order; the caller must not change them.
func (s *Set) Ranges() []pg.Range { return s.ranges }

// Holes are the parts of r that are not in the set, in order.
func (s *Set) Holes(r pg.Range) []pg.Range {
	var out []pg.Range
	for _, x := range s.ranges {
		if x.To <= r.From {
			continue
		}
		if x.From >= r.To {
			break
		}
		if x.From > r.From {
			out = append(out, pg.Range{From: r.From, To: x.From})
		}
		r.From = x.To
	}
	if r.From < r.To {
		out = append(out, r)
	}
	return out
}

func (s *Set) String() string {
	var b strings.Builder
	for i, r := range s.ranges {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.String())
	}
	return b.String()
}
