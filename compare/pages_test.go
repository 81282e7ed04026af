package compare_test

import (
	"bytes"
	"strings"
	"testing"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
)

// input compares a fixture's pages as two copies of the official one would be.
func input(f pagetest.Pair) compare.Input {
	return compare.Input{
		Block: pg.Block{RelFork: pg.RelFork{Fork: f.Fork}, Number: f.Block}, Major: f.Major, Touched: true,
		Official: bytes.Clone(f.Official), Replayed: bytes.Clone(f.Official),
	}
}

func fixture(t testing.TB, scenario string) pagetest.Pair { return pagetest.Load(t, scenario)[0] }

// damage changes a byte of the first tuple's data.
func damage(p page.Page) { p[p.ItemID(1).Offset()+p.ItemID(1).Len()-1] ^= 0x10 }

// seal gives a page the checksum it should have.
func seal(in *compare.Input) {
	p := page.Page(in.Official)
	p.SetChecksum(p.ComputeChecksum(in.Block.Number))
}

func want(t *testing.T, res compare.Result, kind finding.Kind, sev finding.Severity, blame finding.Blame, words ...string) {
	t.Helper()
	if res.Equal || res.Kind != kind || res.Severity != sev || res.Blame != blame {
		t.Errorf("got equal %t, %s, %s, blame %s; want %s, %s, blame %s\n%s", res.Equal, res.Kind, res.Severity, res.Blame, kind, sev, blame, res.Explanation)
	}
	for _, w := range words {
		if !strings.Contains(res.Explanation, w) {
			t.Errorf("the explanation lacks %q: %s", w, res.Explanation)
		}
	}
	if res.Explanation == "" || strings.Contains(res.Explanation, "%!") {
		t.Errorf("explanation %q", res.Explanation)
	}
}

func TestRealPairsAreBenign(t *testing.T) {
	for _, f := range pagetest.Load(t, "") {
		in := input(f)
		in.Replayed, in.Checksums = f.Replayed, true
		if res := compare.Pages(in); !res.Equal && !res.Benign() {
			t.Errorf("%s: %s: %s", f.Name, res.Kind, res.Explanation)
		}
	}
}

func TestZeroedPages(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	in.Checksums = true
	good := in.Official
	in.Official = make([]byte, pg.BlockSize)
	want(t, compare.Pages(in), finding.ZeroedPage, finding.Critical, finding.BlameOfficial, "all zeros")
	in.Official, in.Replayed = good, in.Official
	want(t, compare.Pages(in), finding.ZeroedPage, finding.Critical, finding.BlameUnknown)
	in.Touched = false
	want(t, compare.Pages(in), finding.ZeroedPage, finding.Critical, finding.BlameBase)
}

func TestInitialisedPageIsZeroed(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	p := make(page.Page, pg.BlockSize)
	p.SetLower(page.HeaderSize)
	p.SetUpper(pg.BlockSize)
	p.SetSpecial(pg.BlockSize)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	in.Official = p
	want(t, compare.Pages(in), finding.ZeroedPage, finding.Critical, finding.BlameOfficial, "never written")
	in.Replayed = make([]byte, pg.BlockSize)
	want(t, compare.Pages(in), finding.HintBits, finding.Benign, finding.BlameUnknown)
}

func TestBitRot(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	in.Checksums = true
	damage(in.Official)
	res := compare.Pages(in)
	want(t, res, finding.BitRot, finding.Critical, finding.BlameOfficial, "1 byte differs", "tuple 1 data")
	at := page.Page(in.Official).ItemID(1)
	if end := at.Offset() + at.Len(); len(res.Ranges) != 1 || res.Ranges[0] != [2]int{end - 1, end} {
		t.Errorf("ranges %v", res.Ranges)
	}

	in = input(fixture(t, "heap-hints"))
	in.Checksums = true
	in.Official[page.Page(in.Official).Lower()+1] ^= 1 // in the hole
	want(t, compare.Pages(in), finding.BitRot, finding.Critical, finding.BlameOfficial, "hole")

	in = input(fixture(t, "heap-hints"))
	in.Checksums = true
	in.Official[8]++
	res = compare.Pages(in)
	want(t, res, finding.BitRot, finding.Critical, finding.BlameOfficial, "checksum")
	if len(res.Ranges) != 1 || res.Ranges[0] != [2]int{8, 10} {
		t.Errorf("ranges %v", res.Ranges)
	}
	in.Checksums = false
	if !compare.Pages(in).Equal {
		t.Error("without checksums the field means nothing")
	}
}

func TestDamagedHeaderWithoutChecksums(t *testing.T) {
	in := input(fixture(t, "btree-leaf"))
	page.Page(in.Official).SetSpecial(8192 + 64)
	want(t, compare.Pages(in), finding.BitRot, finding.Critical, finding.BlameOfficial, "no checksum", "pd_special")
}

func TestUntouchedBlocks(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	in.Touched = false
	damage(in.Official)
	want(t, compare.Pages(in), finding.BitRot, finding.Critical, finding.BlameUnknown, "No WAL of the span")
	in.Checksums = true
	seal(&in)
	in.Official, in.Replayed = in.Replayed, in.Official
	page.Page(in.Replayed).SetChecksum(1) // the base's
	want(t, compare.Pages(in), finding.BitRot, finding.Critical, finding.BlameBase)
}

// older makes an earlier version of a page: another LSN, other data.
func older(p []byte, lsn pg.LSN) []byte {
	q := page.Page(bytes.Clone(p))
	q.SetLSN(lsn)
	for n := 1; n <= q.NumItems(); n++ {
		if it := q.Item(n); it != nil {
			it[len(it)-1] ^= 0x55
		}
	}
	return q
}

// versions holds the official page against others.
func versions(in *compare.Input, pages ...[]byte) *compare.Versions {
	v := compare.NewVersions(in.Block, in.Official)
	for _, p := range pages {
		v.Add(p)
	}
	return v
}

func TestTornPage(t *testing.T) {
	for _, checksums := range []bool{true, false} {
		in := input(fixture(t, "heap-multixact"))
		in.Checksums = checksums
		base := older(in.Replayed, 8)
		copy(in.Official[4096:], base[4096:])
		in.Official[page.Page(in.Official).Lower()] ^= 1 // the hole does not matter
		in.Versions = versions(&in, nil, base, in.Replayed)
		res := compare.Pages(in)
		want(t, res, finding.TornPage, finding.Critical, finding.BlameOfficial, "sectors 8-15")
		in.Official[5000] ^= 1 // a sector of neither version
		in.Versions = versions(&in, nil, base, in.Replayed)
		if res := compare.Pages(in); res.Kind == finding.TornPage {
			t.Errorf("checksums %t: still torn: %s", checksums, res.Explanation)
		}
	}
}

// TestTornPageClaimsNoMore: without a checksum that failed, a page is torn only if
// its first sector has the LSN of the version that it is said to be of, and if
// what speaks for the one version cannot be of the other.
func TestTornPageClaimsNoMore(t *testing.T) {
	in := input(fixture(t, "heap-multixact"))
	base := older(in.Replayed, 8)
	copy(in.Official[4096:], base[4096:])
	in.Versions = versions(&in, base, in.Replayed)
	want(t, compare.Pages(in), finding.TornPage, finding.Critical, finding.BlameOfficial, "sectors 8-15")
	page.Page(in.Official).SetLSN(12) // the LSN of no version
	in.Versions = versions(&in, base, in.Replayed)
	if res := compare.Pages(in); res.Kind == finding.TornPage {
		t.Errorf("the first sector is of neither version: %s", res.Explanation)
	}
	in = input(fixture(t, "heap-multixact"))
	in.Official = older(in.Replayed, 8)
	emptied := make(page.Page, len(base)) // in whose hole anything fits
	copy(emptied, base)
	emptied.SetLSN(16)
	emptied.SetLower(page.HeaderSize)
	emptied.SetUpper(emptied.Special())
	clear(emptied[page.HeaderSize:emptied.Special()])
	in.Official[5000] ^= 1
	in.Versions = versions(&in, base, emptied, in.Replayed)
	if res := compare.Pages(in); res.Kind == finding.TornPage {
		t.Errorf("the older version, changed: %s", res.Explanation)
	}
}

func TestLostWrite(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	in.Checksums = true
	at := page.Page(in.Replayed).LSN()
	in.Official = older(in.Replayed, 0x1000)
	seal(&in)
	in.BaseLSN, in.HistoryKnown = 0x800, true
	in.History = []compare.Touch{{End: 0x1000}, {End: 0x2000}, {End: at}}
	want(t, compare.Pages(in), finding.LostWrite, finding.Critical, finding.BlameOfficial, "0/1000", "2 later records", "lost write")
	in.BaseLSN, in.History = 0x1000, in.History[1:]
	want(t, compare.Pages(in), finding.LostWrite, finding.Critical, finding.BlameOfficial, "2 later records")
	in.BaseLSN, in.HistoryKnown, in.History = 0, false, nil
	want(t, compare.Pages(in), finding.LostWrite, finding.Critical, finding.BlameOfficial, "not at hand")
	in.Checksums = false
	in.Versions = versions(&in, in.Official, in.Replayed)
	want(t, compare.Pages(in), finding.LostWrite, finding.Critical, finding.BlameOfficial) // whole, not torn
}

func TestPhantomWrite(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	at := page.Page(in.Replayed).LSN()
	in.History, in.HistoryKnown, in.BaseLSN = []compare.Touch{{End: 0x2000}, {End: at}}, true, 0x800
	for _, lsn := range []pg.LSN{0x1000, at + 0x100} {
		in.Official = older(in.Replayed, lsn)
		want(t, compare.Pages(in), finding.PhantomWrite, finding.Critical, finding.BlameUnknown, "no WAL record of this block")
	}
	in.Official = older(in.Replayed, at+1)
	want(t, compare.Pages(in), finding.PhantomWrite, finding.Critical, finding.BlameOfficial, "no WAL record can have")
	in.HistoryKnown = false
	in.Official = older(in.Replayed, at+0x100)
	want(t, compare.Pages(in), finding.PhantomWrite, finding.Critical, finding.BlameUnknown)
	in.Official, in.Replayed = in.Replayed, older(in.Replayed, 0x2000)
	want(t, compare.Pages(in), finding.Unexplained, finding.Critical, finding.BlameEngine, "stopped at 0/2000")
}

func TestUnexplained(t *testing.T) {
	in := input(fixture(t, "btree-leaf"))
	in.Checksums = true
	in.Official[page.Page(in.Official).ItemID(2).Offset()+9] ^= 4
	seal(&in)
	want(t, compare.Pages(in), finding.Unexplained, finding.Critical, finding.BlameUnknown, "item 2")
}

func TestPagesOfTwoKinds(t *testing.T) {
	in := input(fixture(t, "btree-leaf"))
	in.Official = bytes.Clone(fixture(t, "heap-hints").Official)
	if res := compare.Pages(in); res.Equal || res.Benign() {
		t.Error("a heap page passes for a btree page")
	}
	in = input(fixture(t, "btree-killed"))
	in.Official[8191] = 0xFF // the cycle id becomes an identification word nobody has
	in.Official[8190] = 0x80 // hash
	if res := compare.Pages(in); res.Equal || res.Benign() {
		t.Error("a hash page passes for a btree page")
	}
}

func TestOddPages(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	in.Official = in.Official[:512]
	want(t, compare.Pages(in), finding.Unexplained, finding.Critical, finding.BlameUnknown, "512")
	in.Official, in.Replayed = nil, nil
	if !compare.Pages(in).Equal {
		t.Error("two missing blocks differ")
	}
}

func TestAbsentBlocks(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	good := in.Official
	in.Official = nil
	want(t, compare.Pages(in), finding.SizeMismatch, finding.Critical, finding.BlameOfficial, "ends before this block")
	in.Official, in.Replayed = good, nil
	want(t, compare.Pages(in), finding.SizeMismatch, finding.Critical, finding.BlameUnknown)
	in.Official = make([]byte, pg.BlockSize)
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleTrailingZero {
		t.Errorf("%+v", res)
	}
	in.Block.Fork, in.Block.Number, in.Major = pg.InitFork, 0, 16
	in.Official = bytes.Clone(fixture(t, "brin-regular").Official)
	want(t, compare.Pages(in), finding.SizeMismatch, finding.Critical, finding.BlameUnknown)
	copy(in.Official[pg.BlockSize-2:], []byte{0x83, 0xFF}) // a bloom page
	want(t, compare.Pages(in), finding.SizeMismatch, finding.Critical, finding.BlameUnknown)
	copy(in.Official[page.HeaderSize:], []byte{0xED, 0x0D, 0xAC, 0xDB}) // the metapage, and
	want(t, compare.Pages(in), finding.SizeMismatch, finding.Critical, finding.BlameUnknown)
	page.Page(in.Official).SetLSN(0) // not logged
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleBloomInitFork {
		t.Errorf("%+v", res)
	}
	in.Major = 15
	want(t, compare.Pages(in), finding.SizeMismatch, finding.Critical, finding.BlameUnknown)
}

// Bits all over a heap and a btree page, through the whole of Pages: the byte
// of a real difference is named, and a failing checksum is never benign.
func TestBitsThroughPages(t *testing.T) {
	for _, scenario := range []string{"heap-hints", "btree-killed"} {
		in := input(fixture(t, scenario))
		benign := 0
		for bit := 0; bit < pg.BlockSize*8; bit += 101 {
			in.Official[bit/8] ^= 1 << (bit % 8)
			in.Checksums = false
			res := compare.Pages(in)
			in.Checksums = true
			if sealed := compare.Pages(in); sealed.Kind != finding.BitRot && page.Page(in.Official).Checksum() != page.Page(in.Official).ComputeChecksum(in.Block.Number) {
				t.Fatalf("%s: bit %d of byte %d with a failing checksum is %s", scenario, bit%8, bit/8, sealed.Kind)
			}
			in.Official[bit/8] ^= 1 << (bit % 8)
			switch {
			case res.Equal:
				if bit/8 != 8 && bit/8 != 9 {
					t.Fatalf("%s: bit %d of byte %d makes no difference", scenario, bit%8, bit/8)
				}
			case res.Benign():
				benign++
			case len(res.Ranges) != 1 || res.Ranges[0] != [2]int{bit / 8, bit/8 + 1}:
				t.Fatalf("%s: bit %d of byte %d: ranges %v", scenario, bit%8, bit/8, res.Ranges)
			}
		}
		if benign < 15 {
			t.Errorf("%s: only %d bits are benign", scenario, benign)
		}
	}
}

func FuzzPages(f *testing.F) {
	for _, p := range pagetest.Load(f, "") {
		f.Add([]byte(p.Official), []byte(p.Replayed), uint8(p.Fork), uint8(0), uint64(p.Replayed.LSN()))
	}
	f.Fuzz(func(t *testing.T, o, r []byte, fork, flags uint8, lsn uint64) {
		in := compare.Input{
			Block: pg.Block{RelFork: pg.RelFork{Fork: pg.ForkNumber(fork & 3)}, Number: pg.BlockNumber(lsn)}, Major: 14 + int(flags>>5)%5,
			Official: o, Replayed: r, Checksums: flags&1 != 0, Touched: flags&2 != 0, VMMayLackBits: flags&4 != 0,
			HistoryKnown: flags&8 != 0, BaseLSN: pg.LSN(lsn), History: []compare.Touch{{End: pg.LSN(lsn) + 8, MaySetLSN: flags&16 != 0}},
			BaseBad: flags&32 != 0, LastWhole: flags&64 != 0, AllVersions: flags&128 != 0,
		}
		if len(o) == pg.BlockSize {
			in.Versions = versions(&in, o, r, nil)
		} else {
			in.AllVersions = false
		}
		res := compare.Pages(in)
		if res.Equal != (res.Severity == "") || !res.Equal && res.Explanation == "" {
			t.Fatalf("%+v", res)
		}
		if res.Equal && !bytes.Equal(o, r) && !(len(o) == len(r) && bytes.Equal(o[10:], r[10:]) && bytes.Equal(o[:8], r[:8])) {
			t.Fatal("different pages are equal")
		}
		last := 0
		for _, g := range res.Ranges {
			if g[0] < last || g[1] <= g[0] || g[1] > pg.BlockSize {
				t.Fatalf("ranges %v", res.Ranges)
			}
			last = g[1]
		}
	})
}

func BenchmarkPages(b *testing.B) {
	f := fixture(b, "heap-hints")
	for _, c := range []struct {
		name      string
		replayed  page.Page
		checksums bool
		terse     bool
	}{
		{"equal", f.Official, false, false}, {"equal-checksum", f.Official, true, false},
		{"hints", f.Replayed, false, false}, {"hints-terse", f.Replayed, false, true}, {"hints-terse-checksum", f.Replayed, true, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := input(f)
			in.Replayed, in.Checksums, in.Terse = bytes.Clone(c.replayed), c.checksums, c.terse
			b.SetBytes(pg.BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				compare.Pages(in)
			}
		})
	}
}
