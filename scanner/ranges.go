package scanner

import (
	"cmp"
	"slices"

	"redoubt/internal/pg"
)

// run is a half-open range of segment numbers.
type run struct{ from, to pg.SegmentNo }

func (r run) len() int64 { return int64(r.to - r.from) }

// runs is a set of segment numbers as sorted, disjoint, non-adjacent ranges.
// Numbers that come in order take no time and, without gaps, no memory.
type runs []run

// add puts n into the set and reports whether it is new.
func (s *runs) add(n pg.SegmentNo) bool {
	if l := len(*s); l > 0 && (*s)[l-1].to == n {
		(*s)[l-1].to++
		return true
	}
	if s.has(n) {
		return false
	}
	s.addRun(run{n, n + 1})
	return true
}

// addRun joins a range to the set.
func (s *runs) addRun(r run) {
	if r.from >= r.to {
		return
	}
	// The ranges that touch r: from the first that ends at or after its start,
	// to before the first that starts behind its end.
	i, _ := slices.BinarySearchFunc(*s, r.from, func(x run, n pg.SegmentNo) int { return cmp.Compare(x.to, n) })
	j := i
	for j < len(*s) && (*s)[j].from <= r.to {
		r.from, r.to = min(r.from, (*s)[j].from), max(r.to, (*s)[j].to)
		j++
	}
	*s = slices.Replace(*s, i, j, r)
}

func (s runs) has(n pg.SegmentNo) bool {
	i, found := slices.BinarySearchFunc(s, n, func(x run, n pg.SegmentNo) int { return cmp.Compare(x.from, n) })
	return found || i > 0 && s[i-1].to > n
}

// count is the number of segments in the set.
func (s runs) count() (n int64) {
	for _, r := range s {
		n += r.len()
	}
	return n
}

// minus is what is in s and not in other.
func (s runs) minus(other runs) runs {
	var out runs
	j := 0
	for _, r := range s {
		for j < len(other) && other[j].to <= r.from {
			j++
		}
		for k := j; k < len(other) && other[k].from < r.to; k++ {
			if other[k].from > r.from {
				out = append(out, run{r.from, other[k].from})
			}
			r.from = max(r.from, other[k].to)
		}
		if r.from < r.to {
			out = append(out, r)
		}
	}
	return out
}

// within is the part of s inside r.
func (s runs) within(r run) runs {
	var out runs
	for _, x := range s {
		if x.from, x.to = max(x.from, r.from), min(x.to, r.to); x.from < x.to {
			out = append(out, x)
		}
	}
	return out
}

// first is the smallest number; ok is false if the set is empty.
func (s runs) first() (n pg.SegmentNo, ok bool) {
	if len(s) == 0 {
		return 0, false
	}
	return s[0].from, true
}

// end is the largest number plus one, 0 if the set is empty.
func (s runs) end() pg.SegmentNo {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].to
}
