package compare_test

import (
	"testing"

	"pgregory.net/rapid"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

func TestSizes(t *testing.T) {
	const none = compare.NoFile
	cases := []struct {
		name  string
		fork  pg.ForkNumber
		o, r  int64
		blank bool
		kind  finding.Kind // "" is equal
		rule  string
	}{
		{"same", pg.MainFork, 5, 5, false, "", ""},
		{"both missing", pg.MainFork, none, none, false, "", ""},
		{"official short", pg.MainFork, 4, 5, false, finding.SizeMismatch, ""},
		{"official long", pg.MainFork, 6, 5, false, finding.SizeMismatch, ""},
		{"zeros beyond", pg.MainFork, 6, 5, true, finding.SizeMismatch, "trailing-zero-blocks"},
		{"zeros missing", pg.MainFork, 4, 5, true, finding.SizeMismatch, "trailing-zero-blocks"},
		{"no file", pg.MainFork, none, 5, false, finding.MissingRelation, ""},
		{"no file of zeros", pg.MainFork, none, 5, true, finding.MissingRelation, ""},
		{"no empty file", pg.MainFork, none, 0, true, finding.MissingRelation, ""},
		{"extra", pg.MainFork, 3, none, false, finding.ExtraRelation, ""},
		{"extra zeros", pg.MainFork, 3, none, true, finding.SizeMismatch, "trailing-zero-blocks"},
		{"tombstone", pg.MainFork, 0, none, true, finding.SizeMismatch, "empty-file"},
		{"missing map", pg.VMFork, none, 1, true, finding.SizeMismatch, "vm-no-bits"},
		{"missing map with bits", pg.VMFork, none, 1, false, finding.MissingRelation, ""},
		{"fsm", pg.FSMFork, none, 9, false, finding.SizeMismatch, "fsm"},
		{"bloom", pg.InitFork, 1, 0, false, finding.SizeMismatch, "bloom-init-fork"},
		{"more than bloom has", pg.InitFork, 2, 0, false, finding.SizeMismatch, ""},
	}
	for _, c := range cases {
		res := compare.Sizes(compare.SizeInput{
			Rel: pg.RelFork{Fork: c.fork}, Major: 17, Official: c.o, Replayed: c.r, BlankBeyond: c.blank, BloomInit: c.fork == pg.InitFork,
		})
		if res.Equal != (c.kind == "") || res.Kind != c.kind || string(res.Rule) != c.rule || res.Benign() != (c.rule != "") {
			t.Errorf("%s: %+v", c.name, res)
		}
		if c.kind != "" && res.Explanation == "" {
			t.Errorf("%s: no explanation", c.name)
		}
	}
	torn := compare.Sizes(compare.SizeInput{Official: 5, Replayed: 5, TornTail: 100, BlankBeyond: true})
	want(t, torn, finding.SizeMismatch, finding.Critical, finding.BlameOfficial, "100 bytes")
}

// However many places differ, the ranges stay few, in order, and cover them.
func TestRangesCoverWhatDiffers(t *testing.T) {
	good := fixture(t, "heap-hints")
	rapid.Check(t, func(t *rapid.T) {
		in := input(good)
		changed := map[int]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "changes") {
			at := rapid.IntRange(page.Page(in.Official).Upper(), pg.BlockSize-1).Draw(t, "at")
			in.Official[at] ^= 0x80
			changed[at] = in.Official[at] != good.Official[at]
		}
		res := compare.Pages(in)
		if len(res.Ranges) > 32 {
			t.Fatalf("%d ranges", len(res.Ranges))
		}
		if res.Equal || res.Benign() {
			return
		}
		covered, last := map[int]bool{}, -1
		for _, r := range res.Ranges {
			if r[0] <= last || r[1] <= r[0] {
				t.Fatalf("ranges %v", res.Ranges)
			}
			last = r[1]
			for i := r[0]; i < r[1]; i++ {
				covered[i] = true
			}
		}
		may := good.Official
		for at, yes := range changed {
			if yes && !covered[at] && !ignorable(may, at) {
				t.Fatalf("byte %d differs and is in no range of %v", at, res.Ranges)
			}
		}
	})
}

// ignorable: the top bit of this byte is ignored on a heap page.
func ignorable(p page.Page, at int) bool {
	for n := 1; n <= p.NumItems(); n++ {
		off := p.ItemID(n).Offset()
		end := off + p.ItemID(n).Len()
		if at >= off+8 && at < off+12 || at >= end && at < (end+7)&^7 {
			return true
		}
	}
	return false
}
