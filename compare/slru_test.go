package compare_test

import (
	"encoding/binary"
	"testing"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

func slruInput(s pg.SLRU, pageno uint32) compare.SLRUInput {
	return compare.SLRUInput{
		Page:     pg.SLRUPage{SLRU: s, Page: pageno},
		Official: make([]byte, pg.BlockSize), Replayed: make([]byte, pg.BlockSize),
	}
}

func TestSLRUTransactionStatus(t *testing.T) {
	in := slruInput(pg.XactSLRU, 3)
	if !compare.SLRUPages(in).Equal {
		t.Error("zeros differ")
	}
	in.Official[100], in.Replayed[100] = 0x40, 0x80 // transaction 3*32768 + 403
	in.Official[0] = 1
	res := compare.SLRUPages(in)
	want(t, res, finding.SLRUMismatch, finding.Critical, finding.BlameUnknown, "transaction 98707 is committed officially, aborted by the WAL")
	if len(res.Ranges) != 2 || res.Ranges[1] != [2]int{100, 101} {
		t.Errorf("ranges %v", res.Ranges)
	}
	in.Official = make([]byte, pg.BlockSize)
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameOfficial, "all zeros")
	in.Official = nil
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameOfficial, "lacks this page")
	in.Official, in.Replayed = in.Replayed, nil
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown, "neither base nor WAL")
	in.Official = make([]byte, pg.BlockSize)
	if res := compare.SLRUPages(in); !res.Benign() || res.Rule != compare.RuleSLRUAbsent {
		t.Errorf("%+v", res)
	}
	in.Official = in.Official[:100]
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown)
}

// Bytes 8 and 9 are pd_checksum on relation pages only.
func TestSLRUPagesHaveNoChecksum(t *testing.T) {
	in := slruInput(pg.XactSLRU, 0)
	in.Official[8] = 1
	if res := compare.SLRUPages(in); res.Equal || len(res.Ranges) != 1 {
		t.Errorf("%+v", res)
	}
}

func TestSLRUMultixactOffsets(t *testing.T) {
	set := func(p []byte, i int, v uint32) { binary.LittleEndian.PutUint32(p[4*i:], v) }
	build := func(i int, o, r uint32) compare.SLRUInput {
		in := slruInput(pg.MultiXactOffsetSLRU, 1)
		for _, p := range [][]byte{in.Official, in.Replayed} {
			set(p, i-1, 500)
			set(p, i+1, 510)
		}
		set(in.Official, i, o)
		set(in.Replayed, i, r)
		in.NextMulti, in.NextOffset = 2048+20, 700
		in.Named = func(m pg.MultiXactID) bool { return m != 2048+10 }
		return in
	}
	cases := []struct {
		i    int
		o, r uint32
		rule string
	}{
		{20, 700, 0, "multixact-next-offset"},
		{20, 0, 700, "multixact-next-offset"},
		{20, 701, 0, ""},
		{20, 700, 699, ""},
		{10, 0, 505, "multixact-unnamed-offset"},
		{10, 510, 0, "multixact-unnamed-offset"},
		{10, 511, 0, ""},
		{10, 500, 0, ""},
		{10, 505, 506, ""},
		{11, 0, 505, ""},
	}
	for _, c := range cases {
		res := compare.SLRUPages(build(c.i, c.o, c.r))
		if string(res.Rule) != c.rule || res.Benign() != (c.rule != "") || res.Explanation == "" {
			t.Errorf("entry %d: %d and %d: rule %q: %s", c.i, c.o, c.r, res.Rule, res.Explanation)
		}
	}
	in := build(10, 0, 505)
	in.Named = nil
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown, "multixact 2058")
	in = build(20, 700, 0)
	set(in.Official, 40, 9) // one more, which nothing explains
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown, "multixact 2068", "multixact 2088")
	in = build(20, 700, 0)
	in.NextMulti = 0
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown)
}

func TestSLRUMembersAndTimestamps(t *testing.T) {
	in := slruInput(pg.MultiXactMemberSLRU, 2)
	in.Official[20+4+4] = 9 // second group, second member
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown, "member 3277", "transaction 9")
	in = slruInput(pg.MultiXactMemberSLRU, 0)
	in.Official[8191] = 1
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown, "unused bytes")
	in = slruInput(pg.CommitTsSLRU, 1)
	in.Official[29] = 1
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameUnknown, "transaction 821 ")
	in = slruInput(pg.XactSLRU, 0)
	for i := range in.Replayed {
		in.Replayed[i] = 0x55
	}
	want(t, compare.SLRUPages(in), finding.SLRUMismatch, finding.Critical, finding.BlameOfficial, "and 32763 more")
}

func FuzzSLRUPages(f *testing.F) {
	f.Add(make([]byte, pg.BlockSize), []byte{1}, uint8(1), uint32(7), uint32(9))
	f.Fuzz(func(t *testing.T, o, r []byte, s uint8, pageno, next uint32) {
		res := compare.SLRUPages(compare.SLRUInput{
			Page: pg.SLRUPage{SLRU: pg.SLRU(s), Page: pageno}, Official: o, Replayed: r,
			NextMulti: pg.MultiXactID(next), NextOffset: pageno, Named: func(m pg.MultiXactID) bool { return m%2 == 0 },
		})
		if res.Equal && string(o) != string(r) {
			t.Fatal("different pages are equal")
		}
		if !res.Equal && res.Explanation == "" {
			t.Fatal("no explanation")
		}
	})
}
