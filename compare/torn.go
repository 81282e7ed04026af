package compare

import (
	"bytes"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// sectorSize is what disks write as one: a torn page is made of such pieces
// of two versions.
const sectorSize = 512

const sectors = pg.BlockSize / sectorSize

// torn reports whether the official page consists of sectors of the replayed
// page and of one other known version, with at least one that only the one
// and one that only the other has. It says which are whose.
func (c *pair) torn() (string, bool) {
	if len(c.in.Versions) == 0 {
		return "", false
	}
	fromReplayed := c.sectorsOf(c.r)
	for _, v := range c.in.Versions {
		if len(v) != pg.BlockSize {
			continue
		}
		fromOther := c.sectorsOf(v)
		if tornBetween(fromReplayed, fromOther) {
			return fmt.Sprintf("its 512-byte sectors %s are of LSN %s and the others of LSN %s: a torn page.",
				listSectors(fromOther, fromReplayed), page.Page(v).LSN(), c.r.LSN()), true
		}
	}
	return "", false
}

// tornBetween: every sector is of a or b, and each has one the other lacks.
func tornBetween(a, b [sectors]bool) bool {
	onlyA, onlyB := false, false
	for i := range a {
		if !a[i] && !b[i] {
			return false
		}
		onlyA = onlyA || a[i] && !b[i]
		onlyB = onlyB || b[i] && !a[i]
	}
	return onlyA && onlyB
}

// sectorsOf tells which sectors of the official page are those of version v,
// up to what rules ignore: putting one into v leaves v's normal form as it is.
func (c *pair) sectorsOf(v page.Page) (out [sectors]bool) {
	var want, mixed, got [pg.BlockSize]byte
	kind := page.KindOf(v, c.in.Block.Fork)
	mask.Normalize(want[:], v, kind, c.in.Block.Number)
	for i := range out {
		from, to := i*sectorSize, (i+1)*sectorSize
		if bytes.Equal(c.o[from:to], v[from:to]) {
			out[i] = true
			continue
		}
		copy(mixed[:], v)
		copy(mixed[from:to], c.o[from:to])
		mask.Normalize(got[:], mixed[:], kind, c.in.Block.Number)
		out[i] = got == want
	}
	return out
}

// listSectors lists the sectors that are only in a: "0-7, 9".
func listSectors(a, b [sectors]bool) string {
	out := ""
	for i := 0; i < sectors; i++ {
		if !a[i] || b[i] {
			continue
		}
		from := i
		for i+1 < sectors && a[i+1] && !b[i+1] {
			i++
		}
		if out != "" {
			out += ", "
		}
		if out += fmt.Sprint(from); i > from {
			out += fmt.Sprintf("-%d", i)
		}
	}
	return out
}
