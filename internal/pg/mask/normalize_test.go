package mask_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
)

func normal(p []byte, kind page.Kind, block pg.BlockNumber) []byte {
	dst := make([]byte, pg.BlockSize)
	mask.Normalize(dst, p, kind, block)
	return dst
}

// What a stopped primary and its replayed copy really differ in is what the
// rules allow: their normal forms are equal. Sequences need both pages.
func TestRealPairsHaveEqualNormalForms(t *testing.T) {
	differ := 0
	for _, f := range pagetest.Load(t, "") {
		kind := page.KindOf(f.Official, f.Fork)
		if kind == page.KindSequence {
			continue
		}
		if !bytes.Equal(f.Official[10:], f.Replayed[10:]) {
			differ++
		}
		if !bytes.Equal(normal(f.Official, kind, f.Block), normal(f.Replayed, kind, f.Block)) {
			t.Errorf("%s: normal forms differ", f.Name)
		}
	}
	if differ < 8 {
		t.Errorf("only %d pairs differ at all", differ)
	}
}

// Every single bit of every real page: flipping one that the rules name leaves
// the normal form, flipping any other changes it. With the race detector on,
// every bit of three of them, and every seventh of the others.
func TestEveryBit(t *testing.T) {
	var seen []string
	for _, f := range pagetest.Load(t, "") {
		if slices.Contains(seen, f.Scenario) {
			continue // the same scenario of another major
		}
		seen = append(seen, f.Scenario)
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			kind := page.KindOf(f.Official, f.Fork)
			may := tolerated(f.Official, kind)
			everyBit(t, f.Official, kind, f.Block, may, stride(f.Scenario))
			t.Logf("%d of %d bits may flip", may.count(), pg.BlockSize*8)
		})
	}
}

func stride(scenario string) int {
	if whole := []string{"heap-hints", "heap-speculative", "btree-killed"}; raceEnabled && !slices.Contains(whole, scenario) {
		return 7
	}
	return 1
}

func everyBit(t *testing.T, p page.Page, kind page.Kind, block pg.BlockNumber, may *tolerance, step int) {
	t.Helper()
	want := normal(p, kind, block)
	got := make([]byte, pg.BlockSize)
	for bit := 0; bit < pg.BlockSize*8; bit += step {
		p[bit/8] ^= 1 << (bit % 8)
		mask.Normalize(got, p, kind, block)
		p[bit/8] ^= 1 << (bit % 8)
		if same := bytes.Equal(got, want); same != may.has(bit) {
			t.Fatalf("flip bit %d of byte %d (%s): tolerated %t, want %t", bit%8, bit/8, page.Describe(p, kind, bit/8), same, may.has(bit))
		}
	}
}

// hostile draws a real page with up to 40 random bytes changed, most of them
// where the structure is: header, line pointers, tuple headers, special area.
func hostile(pairs []pagetest.Pair) *rapid.Generator[pagetest.Pair] {
	return rapid.Custom(func(t *rapid.T) pagetest.Pair {
		f := rapid.SampledFrom(pairs).Draw(t, "fixture")
		f.Official = bytes.Clone(f.Official)
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			at := rapid.OneOf(rapid.IntRange(0, 23), rapid.IntRange(24, 400), rapid.IntRange(7600, 8191), rapid.IntRange(0, 8191)).Draw(t, "at")
			f.Official[at] = rapid.Byte().Draw(t, "byte")
		}
		return f
	})
}

var allKinds = []page.Kind{
	page.KindUnknown, page.KindNew, page.KindHeap, page.KindBtree, page.KindSequence, page.KindHash, page.KindGin,
	page.KindGist, page.KindSPGist, page.KindBRIN, page.KindBloom, page.KindVM, page.KindFSM,
}

// On damaged pages, too, no bit is ignored that the rules don't name, and the
// normal form of a normal form is itself.
func TestHostilePages(t *testing.T) {
	gen := hostile(pagetest.Load(t, ""))
	rapid.Check(t, func(t *rapid.T) {
		f := gen.Draw(t, "page")
		kind := rapid.SampledFrom(append(allKinds, page.KindOf(f.Official, f.Fork))).Draw(t, "kind")
		want := normal(f.Official, kind, f.Block)
		if !bytes.Equal(normal(want, kind, f.Block), want) {
			t.Fatal("normalising twice is not normalising once")
		}
		may := tolerated(f.Official, kind)
		for range 60 {
			bit := rapid.IntRange(0, pg.BlockSize*8-1).Draw(t, "bit")
			f.Official[bit/8] ^= 1 << (bit % 8)
			got := normal(f.Official, kind, f.Block)
			f.Official[bit/8] ^= 1 << (bit % 8)
			if same := bytes.Equal(got, want); same && !may.has(bit) {
				t.Fatalf("flip bit %d of byte %d: hidden", bit%8, bit/8)
			}
		}
	})
}

// Many tolerated bits at once stay tolerated, and one other bit among them
// does not hide.
func TestManyBits(t *testing.T) {
	pairs := append(pagetest.Load(t, "heap"), pagetest.Load(t, "btree")...)
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(pairs).Draw(t, "fixture")
		p := page.Page(bytes.Clone(f.Official))
		kind := page.KindOf(p, f.Fork)
		want := normal(p, kind, f.Block)
		for range 50 {
			may := tolerated(p, kind) // again: one hint of a pair rules out the other
			if bit := rapid.IntRange(0, pg.BlockSize*8-1).Draw(t, "bit"); may.has(bit) {
				p[bit/8] ^= 1 << (bit % 8)
			}
		}
		if !bytes.Equal(normal(p, kind, f.Block), want) {
			t.Fatal("tolerated changes changed the normal form")
		}
		may := tolerated(p, kind)
		for {
			bit := rapid.IntRange(0, pg.BlockSize*8-1).Draw(t, "other bit")
			if !may.has(bit) {
				p[bit/8] ^= 1 << (bit % 8)
				break
			}
		}
		if bytes.Equal(normal(p, kind, f.Block), want) {
			t.Fatal("a real change was hidden")
		}
	})
}

func TestNewPageIsZero(t *testing.T) {
	p := make(page.Page, pg.BlockSize)
	p.SetLower(page.HeaderSize)
	p.SetUpper(pg.BlockSize)
	p.SetSpecial(pg.BlockSize)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	for _, kind := range []page.Kind{page.KindHeap, page.KindVM} {
		if !page.Page(normal(p, kind, 1)).IsZero() {
			t.Errorf("an empty %s page that was never logged is not zero", kind)
		}
	}
	p[100] = 1 // in the hole: somebody wrote here
	if page.Page(normal(p, page.KindHeap, 1)).IsZero() {
		t.Error("a page with bytes in its hole passes for a new one")
	}
	p[100] = 0
	p.SetLSN(16)
	if page.Page(normal(p, page.KindVM, 1)).IsZero() {
		t.Error("a logged page passes for a new one")
	}
}

// t_xvac is no command id.
func TestMovedTuplesKeepXvac(t *testing.T) {
	p := pagetest.Load(t, "heap-hints")[0].Official
	h, _ := p.HeapTuple(2)
	h.SetInfomask(h.Infomask() | page.HeapMovedOff)
	a := normal(p, page.KindHeap, 0)
	h.SetField3(h.Field3() + 1)
	if bytes.Equal(a, normal(p, page.KindHeap, 0)) {
		t.Error("a changed t_xvac was hidden")
	}
}

// Items that overlap could hide data under another item's hint bits: such a
// page is compared whole.
func TestOverlappingItemsHideNothing(t *testing.T) {
	p := pagetest.Load(t, "heap-hints")[0].Official
	first := p.ItemID(1)
	p.SetItemID(2, page.MakeItemID(first.Offset()-8, page.LPNormal, first.Len()))
	may := tolerated(p, page.KindHeap)
	if n := may.count(); n != 16 {
		t.Fatalf("the oracle tolerates %d bits", n)
	}
	everyBit(t, p, page.KindHeap, 0, may, 1)
}

func FuzzNormalize(f *testing.F) {
	for _, p := range pagetest.Load(f, "") {
		f.Add([]byte(p.Official), uint8(page.KindOf(p.Official, p.Fork)), uint16(300))
	}
	f.Fuzz(func(t *testing.T, b []byte, k uint8, bit uint16) {
		if len(b) < pg.BlockSize {
			b = append(b, make([]byte, pg.BlockSize-len(b))...)
		}
		b = b[:pg.BlockSize]
		kind := page.Kind(k)
		want := normal(b, kind, 7)
		if !bytes.Equal(normal(want, kind, 7), want) {
			t.Fatal("normalising twice is not normalising once")
		}
		may := tolerated(b, kind)
		b[bit/8] ^= 1 << (bit % 8)
		if bytes.Equal(normal(b, kind, 7), want) && !may.has(int(bit)) {
			t.Fatal("hidden")
		}
		mask.MaskConsistency(b, pg.RmgrID(k), 0, 7)
	})
}
