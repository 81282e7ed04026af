package compare

import (
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// versionedPage is a heap page full of one tuple, of that LSN, whose bytes
// from each sector on are fill's.
func versionedPage(lsn pg.LSN, fill [sectors]byte) page.Page {
	p := make(page.Page, pg.BlockSize)
	const from = page.HeaderSize + page.ItemIDSize
	const start = 32
	p.SetLower(from)
	p.SetUpper(start)
	p.SetSpecial(pg.BlockSize)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	p.SetItemID(1, page.MakeItemID(start, page.LPNormal, pg.BlockSize-start))
	p[start+22] = 24
	for i := start + 24; i < pg.BlockSize; i++ {
		p[i] = fill[i/sectorSize]
	}
	p.SetLSN(lsn)
	return p
}

func filledWith(b byte) (out [sectors]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

// TestLastCommon names the last version whose effects a page has.
func TestLastCommon(t *testing.T) {
	fills := [][sectors]byte{filledWith('a'), filledWith('b'), filledWith('c'), filledWith('d')}
	fills[2][15] = 'b' // the record of 3 leaves the last sector as it was
	var all []page.Page
	for i, f := range fills {
		all = append(all, versionedPage(pg.LSN(8*(i+1)), f))
	}
	mix := func(head, tail, cut int) page.Page {
		p := append(page.Page(nil), all[head]...)
		copy(p[cut*sectorSize:], all[tail][cut*sectorSize:])
		return p
	}
	foreign := append(page.Page(nil), all[1]...)
	foreign[4000] ^= 1
	for name, c := range map[string]struct {
		official page.Page
		ordinal  int
		torn     bool
		why      string
	}{
		"an older version":               {all[1], 2, false, ""},
		"the last":                       {all[3], 4, false, ""},
		"header old, rest new":           {mix(0, 3, 5), 1, true, ""},
		"header new, rest old":           {mix(3, 0, 5), 1, true, ""},
		"the old part stayed for longer": {mix(3, 1, 15), 3, true, ""},
		"a byte of nobody's":             {foreign, 0, false, "none of the versions"},
		"an LSN of nobody's":             {versionedPage(20, fills[1]), 0, false, "none of the versions"},
	} {
		t.Run(name, func(t *testing.T) {
			v := NewVersions(pg.Block{}, c.official)
			for _, p := range all {
				v.Add(p)
			}
			got, why := v.LastCommon()
			if got.Ordinal != c.ordinal || got.Torn != c.torn || (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
				t.Errorf("%+v, %q", got, why)
			}
		})
	}
}

// TestLastCommonTwice: a page that is what the block was at two times, with
// another in between, has no one record that parts it from the WAL.
func TestLastCommonTwice(t *testing.T) {
	a, b := versionedPage(8, filledWith('a')), versionedPage(8, filledWith('b'))
	v := NewVersions(pg.Block{}, a)
	for _, p := range []page.Page{a, b, a, b} {
		v.Add(p)
	}
	if _, why := v.LastCommon(); !strings.Contains(why, "several times") {
		t.Errorf("why %q", why)
	}
}

// TestWholeOnly finds whole versions, and no torn ones.
func TestWholeOnly(t *testing.T) {
	a, b := versionedPage(8, filledWith('a')), versionedPage(16, filledWith('b'))
	v := NewVersions(pg.Block{}, a)
	v.WholeOnly()
	v.Add(a)
	v.Add(b)
	if c, why := v.LastCommon(); c.Ordinal != 1 || why != "" {
		t.Errorf("%+v, %q", c, why)
	}
	torn := append(page.Page(nil), a...)
	copy(torn[4096:], b[4096:])
	v = NewVersions(pg.Block{}, torn)
	v.WholeOnly()
	v.Add(a)
	v.Add(b)
	if _, why := v.LastCommon(); why == "" {
		t.Error("a torn page has a last common version")
	}
}

// TestHintsFit holds hint bits against pg_xact.
func TestHintsFit(t *testing.T) {
	state := func(x pg.XID) XactState {
		return map[pg.XID]XactState{10: XactCommitted, 11: XactAborted, 12: XactUnknown}[x]
	}
	for _, c := range []struct {
		xid  pg.XID
		bits uint16
		want bool
	}{
		{10, page.HeapXminCommitted, true}, {10, page.HeapXminInvalid, false}, {11, page.HeapXminCommitted, false},
		{11, page.HeapXminInvalid, true}, {12, page.HeapXminCommitted, false}, {12, page.HeapXminInvalid, true},
		{11, page.HeapXminFrozen, true}, {2, page.HeapXminCommitted, true}, {11, 0, true},
	} {
		p := versionedPage(8, filledWith('a'))
		tup, ok := p.HeapTuple(1)
		if !ok {
			t.Fatal("no tuple")
		}
		tup.SetXmin(c.xid)
		tup.SetXmax(0)
		tup.SetInfomask(c.bits | page.HeapXmaxInvalid)
		if got := HintsFit(p, state); got != c.want {
			t.Errorf("xid %d, bits %#x: %v", c.xid, c.bits, got)
		}
	}
}
