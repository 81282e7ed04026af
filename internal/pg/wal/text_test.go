package wal_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// TestAppendText: lines have pg_waldump's form, whatever the numbers.
func TestAppendText(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	some := func() uint64 { return rnd.Uint64() >> rnd.IntN(64) }
	for range 2000 {
		r := wal.Record{LSN: pg.LSN(some()), Prev: pg.LSN(some()), Length: uint32(some()), XID: pg.XID(some()),
			Rmgr: pg.RmgrID(some()), Info: uint8(some()), Major: 14 + rnd.IntN(5)}
		for i := range rnd.IntN(3) {
			b := wal.BlockRef{ID: uint8(i), HasImage: rnd.IntN(2) == 0, Image: wal.Image{Apply: rnd.IntN(2) == 0}}
			b.Spc, b.DB, b.Rel, b.Fork, b.Number = pg.OID(some()), pg.OID(some()), pg.OID(some()), pg.ForkNumber(rnd.IntN(4)), pg.BlockNumber(some())
			r.Blocks = append(r.Blocks, b)
		}
		want := fmt.Sprintf("rmgr: %-11s len (rec/tot): %6d/%6d, tx: %10d, lsn: %X/%08X, prev %X/%08X, desc: %s%s", r.Rmgr, r.Length, r.Length, r.XID,
			uint32(r.LSN>>32), uint32(r.LSN), uint32(r.Prev>>32), uint32(r.Prev), wal.OpName(r.Rmgr, r.Info, r.Major), blockRefs(&r))
		if got := string(r.AppendText([]byte("x"), nil)); got != "x"+want {
			t.Fatalf("got\n%s, want\nx%s", got, want)
		}
	}
}

func BenchmarkAppendText(b *testing.B) {
	r := wal.Record{LSN: 0x100123450, Prev: 0x100123410, Length: 8200, XID: 12345, Rmgr: pg.RmgrHeap, Major: 17, Blocks: make([]wal.BlockRef, 1)}
	r.Blocks[0].Spc, r.Blocks[0].DB, r.Blocks[0].Rel, r.Blocks[0].Number = 1663, 16384, 16390, 1204
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendText(buf[:0], nil)
	}
}
