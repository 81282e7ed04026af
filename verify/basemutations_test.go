package verify_test

import (
	"bytes"
	"slices"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// baseIsWrong damages pages of the base: those that no WAL touches, and those
// that redo builds on, of which there are none with full-page writes on.
func (w *world) baseIsWrong(want map[place]planted) {
	const each = 3
	counts := make(map[string]int)
	for _, b := range w.blocks {
		base, now := pageAt(w.base, b), pageAt(w.Data, b)
		if base == nil || base.IsNew() || w.used[b] || page.KindOf(base, pg.MainFork) != page.KindHeap {
			continue
		}
		built := w.touched(b) && !slices.ContainsFunc(w.recs[b], func(r native.Touch) bool { return r.Image })
		if w.touched(b) && !built {
			continue
		}
		for _, mu := range baseCorruptions {
			if counts[mu.name] == each || mu.built != built {
				continue
			}
			out, ok := mu.apply(w, base, now)
			if !ok {
				continue
			}
			if w.Checksums && mu.sealed {
				base.SetChecksum(base.ComputeChecksum(b.Number))
			}
			counts[mu.name]++
			w.used[b] = true
			w.write(w.base, b, base)
			want[place{datadir.RelPath(b.RelFork, 0, ""), int64(b.Number)}] = planted{"the base: " + mu.name, out}
			break
		}
	}
}

// survivor changes a tuple of the base that the official page still has as it was.
func survivor(base, now page.Page) bool {
	for n := 1; n <= min(base.NumItems(), now.NumItems()); n++ {
		a, b := base.Item(n), now.Item(n)
		if len(a) > 40 && len(a) == len(b) && base.ItemID(n).Flags() == page.LPNormal && bytes.Equal(a[24:], b[24:]) {
			a[len(a)-1] ^= 0x40
			return true
		}
	}
	return false
}

// baseCorruptions are for blocks that no WAL touches or, with built, for those
// of which redo needs the base's page.
var baseCorruptions = []struct {
	name          string
	built, sealed bool
	apply         func(w *world, base, now page.Page) (outcome, bool)
}{
	{"rotten", false, false, func(w *world, base, now page.Page) (outcome, bool) {
		if w.Checksums {
			return outcome{finding.BitRot, finding.BlameBase, "base's page fails its checksum"}, survivor(base, now)
		}
		return outcome{finding.BitRot, finding.BlameUnknown, "Both are of the same LSN"}, survivor(base, now)
	}},
	{"changed", false, true, func(_ *world, base, now page.Page) (outcome, bool) {
		return outcome{finding.BitRot, finding.BlameUnknown, "Both are of the same LSN"}, survivor(base, now)
	}},
	{"header", false, false, func(w *world, base, _ page.Page) (outcome, bool) {
		base.SetSpecial(pg.BlockSize + 64)
		return outcome{finding.BitRot, finding.BlameBase, "base's page"}, true
	}},
	{"zeroed", false, false, func(_ *world, base, _ page.Page) (outcome, bool) {
		clear(base)
		return outcome{finding.ZeroedPage, finding.BlameBase, "base's page is all zeros"}, true
	}},
	{"an older version", false, true, func(_ *world, base, now page.Page) (outcome, bool) {
		if !survivor(base, now) || base.LSN() < 64 {
			return outcome{}, false
		}
		base.SetLSN(base.LSN() - 64)
		return outcome{finding.BitRot, finding.BlameUnknown, "the base lost a write, or"}, true
	}},
	{"rotten, redo builds on it", true, false, func(w *world, base, now page.Page) (outcome, bool) {
		if w.Checksums {
			return outcome{finding.Unexplained, finding.BlameBase, "fails its checksum"}, survivor(base, now)
		}
		return outcome{finding.Unexplained, finding.BlameUnknown, "a second engine can tell"}, survivor(base, now)
	}},
	{"changed, redo builds on it", true, true, func(_ *world, base, now page.Page) (outcome, bool) {
		return outcome{finding.Unexplained, finding.BlameUnknown, "a second engine can tell"}, survivor(base, now)
	}},
	{"zeroed, redo builds on it", true, false, func(_ *world, base, _ page.Page) (outcome, bool) {
		clear(base)
		return outcome{finding.ZeroedPage, finding.BlameBase, "the base has no such page"}, true
	}},
}
