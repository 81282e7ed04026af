package page

import (
	"math/rand/v2"
	"testing"

	"redoubt/internal/pg"
)

func randomPage(seed uint64) Page {
	r := rand.New(rand.NewPCG(seed, 1))
	p := make(Page, pg.BlockSize)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func BenchmarkComputeChecksum(b *testing.B) {
	p := randomPage(1)
	b.SetBytes(pg.BlockSize)
	for b.Loop() {
		p.ComputeChecksum(7)
	}
}
