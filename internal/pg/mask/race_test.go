//go:build race

package mask_test

// raceEnabled: the race detector makes the bit-by-bit tests ten times slower
// and has nothing to find in them.
const raceEnabled = true
