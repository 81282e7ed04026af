package compare

import (
	"encoding/binary"
	"slices"
)

// maxRanges bounds how many byte ranges a verdict lists: where more differ,
// the nearest are listed as one.
const maxRanges = 32

// diffRanges are the half-open ranges in which a and b differ, which have the
// same length, a multiple of 8.
func diffRanges(a, b []byte) [][2]int {
	var out [][2]int
	for i := 0; i+8 <= len(a) && i+8 <= len(b); i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
			continue
		}
		for j := i; j < i+8; j++ {
			if a[j] == b[j] {
				continue
			}
			if n := len(out); n > 0 && out[n-1][1] == j {
				out[n-1][1] = j + 1
			} else {
				out = append(out, [2]int{j, j + 1})
			}
		}
	}
	return limitRanges(out)
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

// countBytes is the number of bytes that differ.
func countBytes(a, b []byte) int {
	n := 0
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
