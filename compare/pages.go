package compare

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// Pages compares the official and the replayed version of a block.
func Pages(in Input) Result {
	if len(in.Official) == pg.BlockSize && len(in.Replayed) == pg.BlockSize &&
		sameContent(in.Official, in.Replayed) && !in.checksumFails() {
		return Result{Equal: true}
	}
	return pagesDiffer(&in)
}

// checksumFails reports whether the official page has a checksum that
// PostgreSQL would complain of; it reads damaged free space maps as empty.
func (in *Input) checksumFails() bool {
	return in.Checksums && in.Block.Fork != pg.FSMFork && !page.Page(in.Official).ChecksumOK(in.Block.Number)
}

func pagesDiffer(in *Input) Result {
	switch {
	case in.Official == nil || in.Replayed == nil:
		return absent(in)
	case len(in.Official) != pg.BlockSize || len(in.Replayed) != pg.BlockSize:
		return Result{
			Kind: finding.Unexplained, Severity: finding.Critical, Blame: finding.BlameUnknown,
			Explanation: fmt.Sprintf("Pages of %d and %d bytes can't be compared; a page is %d bytes.",
				len(in.Official), len(in.Replayed), pg.BlockSize),
		}
	}
	var on, rn [pg.BlockSize]byte
	c := pair{in: in, o: in.Official, r: in.Replayed, on: on[:], rn: rn[:]}
	if sameContent(c.o, c.r) {
		return c.checksumOnly()
	}
	c.normalize()
	return c.judge()
}

// judge gives the verdict on two pages that differ.
func (c *pair) judge() Result {
	same := bytes.Equal(c.on, c.rn)
	if c.in.Block.Fork == pg.FSMFork {
		return c.benign(RuleFSM, "The free space map is a hint that is not WAL-logged; it repairs itself.")
	}
	if !same {
		if res, ok := c.zeroed(); ok {
			return res
		}
	}
	if c.in.checksumFails() {
		return c.damaged()
	}
	if same {
		return c.hintsOnly()
	}
	if res, ok := vmNoBits(c); ok {
		return res
	}
	if res, ok := vmMayLackBits(c); ok {
		return res
	}
	if res, ok := sequence(c); ok {
		return res
	}
	if res, ok := pageLSN(c); ok {
		return res
	}
	return c.classify()
}

// sameContent reports whether no byte differs but those of pd_checksum: redo
// leaves it stale, it is computed when a page is written out.
func sameContent(a, b []byte) bool {
	return bytes.Equal(a[10:], b[10:]) && bytes.Equal(a[:8], b[:8])
}

// normalize sets the kind and writes the normal forms. Pages of two kinds are both compared
// whole; a kind is told from bytes that no rule ignores, so they do differ.
func (c *pair) normalize() {
	fork := c.in.Block.Fork
	ko, kr := page.KindOf(c.o, fork), page.KindOf(c.r, fork)
	switch {
	case ko == kr:
		c.kind = kr
	case ko == page.KindNew && c.o.IsZero():
		c.kind = kr
	case kr == page.KindNew && c.r.IsZero():
		c.kind = ko
	}
	mask.Normalize(c.on, c.o, c.kind, c.in.Block.Number)
	mask.Normalize(c.rn, c.r, c.kind, c.in.Block.Number)
}

// absent compares a block that only one side has.
func absent(in *Input) Result {
	if in.Official == nil && in.Replayed == nil {
		return Result{Equal: true}
	}
	have, side, other := page.Page(in.Official), "official", "replayed"
	if have == nil {
		have, side, other = page.Page(in.Replayed), "replayed", "official"
	}
	res := Result{Kind: finding.SizeMismatch, Severity: finding.Critical, Blame: finding.BlameUnknown}
	if len(have) == pg.BlockSize {
		lsn := have.LSN()
		if in.Official == nil {
			res.ReplayedLSN, res.Blame = &lsn, finding.BlameOfficial
		} else {
			res.OfficialLSN = &lsn
		}
		res.Ranges, _ = diffRanges(have, zeroPage[:])
	}
	if rule, why, ok := absentRule(in, have); ok {
		res.Severity, res.Blame, res.Rule, res.Explanation = finding.Benign, finding.BlameUnknown, rule, why
		return res
	}
	res.Explanation = fmt.Sprintf("The %s fork ends before this block, the %s one has contents here.", other, side)
	return res
}

// absentRule finds the rule by which a block may be missing on one side.
func absentRule(in *Input, have page.Page) (mask.RuleID, string, bool) {
	switch {
	case in.Block.Fork == pg.FSMFork:
		return RuleFSM, "The free space map is a hint that is not WAL-logged.", true
	case Blank(have, in.Block.RelFork):
		if in.Block.Fork == pg.VMFork && !have.IsZero() {
			return RuleVMNoBits, "A visibility map page without bits says the same as a missing one.", true
		}
		return RuleTrailingZero, "Blocks that are all zeros at the end of a fork say the same as missing ones.", true
	case in.Replayed == nil && in.Block.Number == 0 && BloomInit(have, in.Block.RelFork, in.Major):
		return RuleBloomInitFork, "The init fork of an unlogged bloom index is not WAL-logged since PostgreSQL 16.", true
	}
	return "", "", false
}

// BloomInit reports whether a page of the official side is one that no WAL
// describes: the metapage in the init fork of an unlogged bloom index, which
// generic WAL skips since 16 (BloomInitMetapage, contrib/bloom/blutils.c), so
// that it has no LSN.
func BloomInit(p page.Page, rel pg.RelFork, major int) bool {
	const magic = 0xDBAC0DED // BLOOM_MAGICK_NUMBER, where the page's contents begin
	return rel.Fork == pg.InitFork && major >= 16 && page.KindOf(p, rel.Fork) == page.KindBloom &&
		p.LSN() == 0 && binary.LittleEndian.Uint32(p[page.HeaderSize:]) == magic
}

// Blank reports whether a page says nothing, so that its file might as well
// end before it: all zeros, initialised and never used (heap and visibility
// map), or a page of the visibility map without bits.
func Blank(p []byte, rel pg.RelFork) bool {
	if len(p) != pg.BlockSize {
		return false
	}
	if page.Page(p).IsZero() {
		return true
	}
	if rel.Fork == pg.VMFork {
		return noBits(p)
	}
	return emptyHeap(p, rel.Fork)
}

// emptyHeap reports whether the page's normal form is all zeros.
func emptyHeap(p page.Page, fork pg.ForkNumber) bool {
	kind := page.KindOf(p, fork)
	if p.LSN() != 0 || kind != page.KindHeap {
		return false
	}
	var n [pg.BlockSize]byte
	mask.Normalize(n[:], p, kind, 0)
	return page.Page(n[:]).IsZero()
}

// zeroed is the verdict where one side has no contents at all.
func (c *pair) zeroed() (Result, bool) {
	fork := c.in.Block.Fork
	var res Result
	switch {
	case c.o.IsZero() || emptyHeap(c.o, fork):
		res = c.result(finding.ZeroedPage, finding.Critical, finding.BlameOfficial)
		res.Explanation = fmt.Sprintf("The official page is all zeros where the WAL puts a %s page of LSN %s.", c.kind, c.r.LSN())
		if !c.o.IsZero() {
			res.Explanation = fmt.Sprintf("The official page is empty and was never written, where the WAL puts a %s page of LSN %s.", c.kind, c.r.LSN())
		}
	case c.r.IsZero():
		res = c.result(finding.ZeroedPage, finding.Critical, finding.BlameUnknown)
		res.Explanation = fmt.Sprintf("The official page has contents of LSN %s where the WAL leaves an all-zero page.", c.o.LSN())
		if !c.in.Touched {
			res.Blame = finding.BlameBase
			res.Explanation = fmt.Sprintf("The base's page is all zeros, no WAL of the span touches it, and the official page has contents of LSN %s.", c.o.LSN())
		}
	default:
		return res, false
	}
	if fork == pg.VMFork && noBits(c.o) && noBits(c.r) {
		return res, false // vmNoBits has the word
	}
	res.Ranges, _ = c.difference()
	return res, true
}

// hintsOnly is the verdict on pages whose normal forms are equal.
func (c *pair) hintsOnly() Result {
	if why := c.contradiction(); why != "" {
		res := c.result(finding.Unexplained, finding.Critical, finding.BlameUnknown)
		res.Ranges, _ = diffRanges(c.o, c.r)
		res.Explanation = why
		return res
	}
	res := c.benign("", "")
	if c.in.Terse {
		return res
	}
	res.Explanation = "Differs only in what PostgreSQL writes without WAL: " + where(c.r, c.kind, res.Ranges) + "."
	return res
}

// benign is a verdict of no consequence.
func (c *pair) benign(rule mask.RuleID, why string) Result {
	res := c.result(finding.HintBits, finding.Benign, finding.BlameUnknown)
	res.Rule = rule
	if !c.in.Terse {
		res.Explanation = why
		res.Ranges, _ = diffRanges(c.o, c.r)
	}
	return res
}
