package mask_test

import (
	"bytes"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
)

var rmgrOf = map[page.Kind]pg.RmgrID{
	page.KindHeap: pg.RmgrHeap, page.KindBtree: pg.RmgrBtree, page.KindSequence: pg.RmgrSequence, page.KindHash: pg.RmgrHash,
	page.KindGin: pg.RmgrGin, page.KindGist: pg.RmgrGist, page.KindSPGist: pg.RmgrSPGist, page.KindBRIN: pg.RmgrBRIN,
}

func masked(t *testing.T, p []byte, rmgr pg.RmgrID, block pg.BlockNumber) []byte {
	t.Helper()
	q := bytes.Clone(p)
	if !mask.MaskConsistency(q, rmgr, pg.MainFork, block) {
		t.Fatalf("%s can't be masked", rmgr)
	}
	return q
}

// PostgreSQL's masks are wider than the normal form: they equate every real
// pair but sequences, whose images hold the logged state, and ignore the LSN.
func TestConsistencyMasksEquateRealPairs(t *testing.T) {
	for _, f := range pagetest.Load(t, "") {
		kind := page.KindOf(f.Official, f.Fork)
		rmgr, ok := rmgrOf[kind]
		if !ok || kind == page.KindSequence {
			continue
		}
		if kind == page.KindSPGist && !bytes.Equal(f.Official[24:92], f.Replayed[24:92]) {
			continue // the metapage's cache is no part of PostgreSQL's mask
		}
		f.Official.SetLSN(1)
		if !bytes.Equal(masked(t, f.Official, rmgr, f.Block), masked(t, f.Replayed, rmgr, f.Block)) {
			t.Errorf("%s: differ under the mask of %s", f.Name, rmgr)
		}
	}
}

// What the normal form ignores on heap and btree pages PostgreSQL's masks
// ignore as well, and each kind's own content is never ignored.
func TestConsistencyMasksBitByBit(t *testing.T) {
	for _, f := range pagetest.Load(t, "") {
		kind := page.KindOf(f.Official, f.Fork)
		rmgr, ok := rmgrOf[kind]
		if !ok || f.Major != 17 {
			continue
		}
		p := f.Official
		want, may := masked(t, p, rmgr, f.Block), tolerated(p, kind)
		ignored := 0
		for bit := 0; bit < pg.BlockSize*8; bit += 37 {
			p[bit/8] ^= 1 << (bit % 8)
			same := bytes.Equal(masked(t, p, rmgr, f.Block), want)
			p[bit/8] ^= 1 << (bit % 8)
			if same {
				ignored++
			}
			if may.has(bit) && !same && (kind == page.KindHeap || kind == page.KindBtree) {
				t.Fatalf("%s: bit %d of byte %d (%s) is stricter than the normal form", f.Name, bit%8, bit/8, page.Describe(p, kind, bit/8))
			}
			if same && !may.has(bit) && !widerThanNormal(p, kind, bit/8) {
				t.Fatalf("%s: bit %d of byte %d (%s) is ignored", f.Name, bit%8, bit/8, page.Describe(p, kind, bit/8))
			}
		}
		if ignored < 8*10/37 {
			t.Errorf("%s: only %d bits are ignored", f.Name, ignored)
		}
	}
}

// widerThanNormal lists what rm_mask ignores and the normal form does not:
// LSN, page flags, prune xid, visibility bits of tuples, line pointer states,
// GiST's NSN and F_FOLLOW_RIGHT, contents of unused pages.
func widerThanNormal(p page.Page, kind page.Kind, at int) bool {
	switch page.Describe(p, kind, at) {
	case "pd_lsn", "pd_flags", "pd_prune_xid", "special nsn":
		return true
	case "special flags":
		return kind == page.KindGist
	case "special hasho_flag":
		return true // LH_PAGE_HAS_DEAD_TUPLES on any page
	case "hole":
		return kind == page.KindSPGist
	}
	if at >= page.HeaderSize && at < p.Lower() {
		return (at-page.HeaderSize)%4 == 2 || (at-page.HeaderSize)%4 == 1 // lp_flags lie in bytes 1 and 2
	}
	for n := 1; kind == page.KindHeap && n <= p.NumItems(); n++ {
		if off := p.ItemID(n).Offset(); p.ItemID(n).Flags() == page.LPNormal && (at == off+20 || at == off+21) {
			return true
		}
	}
	return false
}

func TestConsistencyOfWhatProvesNothing(t *testing.T) {
	vm := pagetest.Load(t, "vm")[0].Official
	before := bytes.Clone(vm)
	for _, c := range []struct {
		rmgr pg.RmgrID
		fork pg.ForkNumber
	}{{pg.RmgrHeap2, pg.VMFork}, {pg.RmgrXLOG, pg.FSMFork}, {pg.RmgrMinCustom, pg.MainFork}} {
		if mask.MaskConsistency(vm, c.rmgr, c.fork, 0) || !bytes.Equal(vm, before) {
			t.Errorf("%s on the %s fork was masked", c.rmgr, c.fork)
		}
	}
	if mask.MaskConsistency(vm[:100], pg.RmgrHeap, pg.MainFork, 0) {
		t.Error("a short page was masked")
	}
}

func TestConsistencyOfDamagedPages(t *testing.T) {
	p := pagetest.Load(t, "heap-hints")[0].Official
	p.SetUpper(9000)
	a := masked(t, p, pg.RmgrHeap, 0)
	p.SetPruneXID(p.PruneXID() + 1)
	if bytes.Equal(a, masked(t, p, pg.RmgrHeap, 0)) {
		t.Error("bytes of a page with a damaged header were ignored")
	}
}

func TestVMSubset(t *testing.T) {
	a := pagetest.Load(t, "vm")[0].Official
	b := bytes.Clone(a)
	if !mask.VMSubset(a, b) {
		t.Error("a map is not a subset of itself")
	}
	b[5000] |= 0x40
	if !mask.VMSubset(a, b) || mask.VMSubset(b, a) {
		t.Error("one more bit")
	}
	if mask.VMSubset(a, b[:5]) {
		t.Error("a short map")
	}
}

func BenchmarkNormalize(b *testing.B) {
	for _, name := range []string{"heap-hints", "heap-multixact", "heap-pruned", "btree-killed", "gin-leaf"} {
		f := pagetest.Load(b, name)[0]
		kind := page.KindOf(f.Official, f.Fork)
		dst := make([]byte, pg.BlockSize)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(pg.BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				mask.Normalize(dst, f.Official, kind, f.Block)
			}
			b.ReportMetric(float64(f.Official.NumItems()), "items")
		})
	}
}
