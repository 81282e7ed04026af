package redo_test

import (
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

// TestHeapProof lets PostgreSQL judge the redo of Heap and Heap2.
func TestHeapProof(t *testing.T) {
	for _, major := range pgtest.Majors {
		for _, safe := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d checksums and full-page writes %t", major, safe), func(t *testing.T) {
				t.Parallel()
				c, p := startProof(t, major, pgtest.Checksums(safe), pgtest.FullPageWrites(safe))
				pgtest.Mixed{Clients: 2, Seed: uint64(major)}.Run(c)
				p.run(c, pg.RmgrHeap, pg.RmgrHeap2)
			})
		}
	}
}
