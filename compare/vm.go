package compare

import (
	"bytes"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// noBits reports whether a page of the visibility map has no bit set and a
// header that can be right.
func noBits(p page.Page) bool {
	if p.IsZero() {
		return true
	}
	if p.Check() != nil || p.Lower() != page.HeaderSize || p.Special() != pg.BlockSize {
		return false
	}
	for _, b := range p[page.HeaderSize:] {
		if b != 0 {
			return false
		}
	}
	return true
}

// vmNoBits: a map page without bits claims nothing, whatever its header.
func vmNoBits(c *pair) (Result, bool) {
	if c.in.Block.Fork != pg.VMFork || !noBits(c.o) || !noBits(c.r) {
		return Result{}, false
	}
	return c.benign(RuleVMNoBits, "Neither visibility map page has a bit set; such a page says the same as a missing one."), true
}

// vmMayLackBits: where the replayed map may lack bits, the official one may
// have more, at the same LSN or at that of a record which cleared bits that the
// replayed one lacked; each claim is handed to the caller.
func vmMayLackBits(c *pair) (Result, bool) {
	const lsn, h = 8, page.HeaderSize
	if !c.in.VMMayLackBits || c.kind != page.KindVM || !mask.VMSubset(c.r, c.o) || !bytes.Equal(c.on[lsn:h], c.rn[lsn:h]) {
		return Result{}, false
	}
	if c.o.LSN() != c.r.LSN() && (c.o.LSN() < c.r.LSN() || !c.lsnOfHintRecord()) {
		return Result{}, false
	}
	res := c.benign(RuleVMCopied, "")
	res.Claims = c.claims()
	res.Explanation = fmt.Sprintf("The official visibility map has bits that replay can't know for %s; each heap page must say so itself.",
		plural(len(res.Claims), "heap block"))
	return res, true
}

// claims are the heap blocks with a bit only the official map has.
func (c *pair) claims() []pg.BlockNumber {
	var out []pg.BlockNumber
	first := uint64(c.in.Block.Number) * page.VMBlocksPerPage
	for i := range page.VMBlocksPerPage {
		heap := first + uint64(i)
		if c.o.VMBits(i)&^c.r.VMBits(i) != 0 && heap < uint64(pg.InvalidBlock) {
			out = append(out, pg.BlockNumber(heap))
		}
	}
	return out
}

// vmDifference says which heap blocks' bits differ, and which way.
func (c *pair) vmDifference() string {
	const named = 3
	first := uint64(c.in.Block.Number) * page.VMBlocksPerPage
	var n, extra int
	var list string
	for i := range page.VMBlocksPerPage {
		o, r := c.o.VMBits(i), c.r.VMBits(i)
		if o == r {
			continue
		}
		n++
		if o&^r != 0 {
			extra++
		}
		if n <= named {
			list += fmt.Sprintf(", %d", first+uint64(i))
		}
	}
	if n == 0 {
		return "the maps' bits are equal, their headers are not"
	}
	return fmt.Sprintf("the visibility bits of %s differ (%s), %d of them set only officially: index-only scans and VACUUM would trust those",
		plural(n, "heap block"), list[2:], extra)
}

// vmExplained adds what the bits mean to an explanation of a map page.
func (c *pair) vmExplained(res Result) Result {
	if c.kind == page.KindVM && res.Severity == finding.Critical {
		res.Explanation += " In words: " + c.vmDifference() + "."
	}
	return res
}
