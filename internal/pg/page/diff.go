package page

// Differences returns the half-open ranges of bytes in which a and b, of equal
// length, differ; ranges less than eight equal bytes apart are merged.
func Differences(a, b []byte) [][2]int {
	const near = 8
	var out [][2]int
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if n := len(out); n > 0 && i-out[n-1][1] < near {
			out[n-1][1] = i + 1
		} else {
			out = append(out, [2]int{i, i + 1})
		}
	}
	return out
}
