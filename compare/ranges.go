package compare

import (
	"encoding/binary"
	"slices"
)

// maxRanges bounds how many byte ranges a verdict lists: where more differ,
// the nearest are listed as one.
const maxRanges = 32

// diffRanges are the half-open ranges in which two pages differ, but for
// pd_checksum, and the number of bytes that do.
func diffRanges(a, b []byte) (ranges [][2]int, n int) { return rangesWithout(a, b, 8, 10) }

// rangesWithout does not look at the bytes [from, to).
func rangesWithout(a, b []byte, from, to int) (ranges [][2]int, n int) {
	for i := 0; i+8 <= len(a) && i+8 <= len(b); i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
			continue
		}
		for j := i; j < i+8; j++ {
			if a[j] == b[j] || j >= from && j < to {
				continue
			}
			n++
			if k := len(ranges); k > 0 && ranges[k-1][1] == j {
				ranges[k-1][1] = j + 1
			} else {
				ranges = append(ranges, [2]int{j, j + 1})
			}
		}
	}
	return limitRanges(ranges), n
}

// difference is where the normal forms differ, and in how many bytes. Where
// one page is so damaged that its normal form ignores nothing, the pages
// themselves say better where the damage is.
func (c *pair) difference() (ranges [][2]int, n int) {
	ranges, n = diffRanges(c.on, c.rn)
	if raw, m := diffRanges(c.o, c.r); m < n {
		return raw, m
	}
	return ranges, n
}

// limitRanges joins the ranges with the smallest gaps until few enough remain.
func limitRanges(in [][2]int) [][2]int {
	excess := len(in) - maxRanges
	if excess <= 0 {
		return in
	}
	gaps := make([]int, 0, len(in)-1)
	for i := 1; i < len(in); i++ {
		gaps = append(gaps, in[i][0]-in[i-1][1])
	}
	slices.Sort(gaps)
	small, ties := gaps[excess-1], excess
	for _, g := range gaps[:excess] {
		if g < small {
			ties--
		}
	} // ties: how many gaps of exactly that size are to be closed
	out := in[:1]
	for _, r := range in[1:] {
		last := &out[len(out)-1]
		gap := r[0] - last[1]
		if gap < small || gap == small && ties > 0 {
			if gap == small {
				ties--
			}
			last[1] = r[1]
			continue
		}
		out = append(out, r)
	}
	return out
}
