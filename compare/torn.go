package compare

import (
	"fmt"

	"redoubt/internal/pg"
)

// sectorSize is what disks write as one: a torn page is made of such pieces
// of two versions.
const sectorSize = 512

const sectors = pg.BlockSize / sectorSize

// torn reports whether the official page consists of sectors of two versions
// of the block, with at least one that only the one and one that only the
// other has. It says which are whose.
func (c *pair) torn() (string, bool) {
	if c.in.Versions == nil {
		return "", false
	}
	a, b, ok := c.in.Versions.torn(c.in.Checksums)
	if !ok {
		return "", false
	}
	if a.lsn < b.lsn {
		a, b = b, a
	}
	return fmt.Sprintf("its 512-byte sectors %s are of LSN %s and the others of LSN %s: a torn page, half of a write is missing.",
		listSectors(b.has, a.has), b.lsn, a.lsn), true
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
