package compare

import (
	"errors"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg/page"
)

// classify gives a real difference the first kind that its evidence fits. The
// official checksum is right, or can't be judged.
func (c *pair) classify() Result {
	res := c.byEvidence()
	ranges, words := c.differs()
	res.Ranges = ranges
	res.Explanation += " " + words + c.sequenceWords()
	return c.vmExplained(res)
}

func (c *pair) byEvidence() Result {
	if !c.in.Checksums {
		if why, ok := c.torn(); ok {
			return c.critical(finding.TornPage, finding.BlameOfficial, "Without a checksum to judge by: "+why)
		}
		if why, ok := c.brokenHeader(); ok {
			return c.critical(finding.BitRot, finding.BlameOfficial, why)
		}
	}
	if !c.in.Touched {
		return c.untouched()
	}
	return c.byLSN()
}

func (c *pair) critical(k finding.Kind, b finding.Blame, why string) Result {
	res := c.result(k, finding.Critical, b)
	res.Explanation = why
	return res
}

// checksumOnly is the verdict on a page that is what the WAL says and does
// not carry the checksum it should: PostgreSQL refuses to read it.
func (c *pair) checksumOnly() Result {
	res := c.critical(finding.BitRot, finding.BlameOfficial, fmt.Sprintf(
		"The official page's contents are what the WAL says, but its checksum is %#04x and should be %#04x: PostgreSQL will report it as corrupt.",
		c.o.Checksum(), c.o.ComputeChecksum(c.in.Block.Number)))
	res.Ranges = [][2]int{{8, 10}}
	return res
}

// damaged is the verdict on an official page whose checksum fails.
func (c *pair) damaged() Result {
	ranges, words := c.differs()
	if len(ranges) == 0 { // the rot hit only what rules ignore
		ranges, _ = diffRanges(c.o, c.r)
		words = "Only unused space or hint bits differ: " + where(c.r, c.kind, ranges) + "."
	}
	kind, why := finding.BitRot, fmt.Sprintf("The official page's checksum %#04x fails, its contents ask for %#04x: the page rotted on disk or was damaged on its way there.",
		c.o.Checksum(), c.o.ComputeChecksum(c.in.Block.Number))
	if torn, ok := c.torn(); ok {
		kind, why = finding.TornPage, "The official page's checksum fails: "+torn
	} else if c.o.IsNew() {
		why = "The official page looks new (pd_upper is 0) but is not all zeros: PostgreSQL will report it as corrupt."
	}
	res := c.critical(kind, finding.BlameOfficial, why+" "+words)
	res.Ranges = ranges
	return res
}

// brokenHeader is evidence of rot where there is no checksum: a header that no
// server writes, where the replayed one is sane.
func (c *pair) brokenHeader() (string, bool) {
	err := c.o.Check()
	var bad *page.HeaderError
	if c.r.Check() != nil || !errors.As(err, &bad) {
		return "", false
	}
	return fmt.Sprintf("There is no checksum to judge by, but the official page's header can't be right: %s %s.", bad.Field, bad.Detail), true
}

// untouched is the verdict on a block that no WAL of the span touches: base
// and official page should be the same, whatever the LSNs say.
func (c *pair) untouched() Result {
	blame, more := finding.BlameUnknown, ""
	switch {
	case c.in.Checksums && !c.r.ChecksumOK(c.in.Block.Number):
		blame, more = finding.BlameBase, " The base's page fails its checksum, the official one does not."
	case c.o.LSN() != c.r.LSN():
		blame, more = finding.BlameOfficial, fmt.Sprintf(" Their LSNs differ as well: %s officially, %s in the base.", c.o.LSN(), c.r.LSN())
	}
	return c.critical(finding.BitRot, blame,
		"No WAL of the span touches this block, yet the official page differs from the base's: one of them rotted, or was written without WAL."+more)
}

// byLSN tells lost and phantom writes by the official page's LSN.
func (c *pair) byLSN() Result {
	o, r := c.o.LSN(), c.r.LSN()
	known, later := c.inHistory()
	switch {
	case o == r:
		return c.critical(finding.Unexplained, finding.BlameUnknown,
			fmt.Sprintf("Both pages are of LSN %s, but their contents differ.", o))
	case o < r && known:
		return c.critical(finding.LostWrite, finding.BlameOfficial, fmt.Sprintf(
			"The official page is the version of %s; %s up to %s %s missing from it: a lost write.",
			o, plural(later, "later record"), r, isAre(later)))
	case o < r && o != 0 && o%8 == 0 && !c.in.HistoryKnown:
		return c.critical(finding.LostWrite, finding.BlameOfficial, fmt.Sprintf(
			"The official page says it is the version of %s, older than %s which the WAL leads to: a lost write (the block's records were not at hand to prove it).", o, r))
	case known:
		return c.critical(finding.Unexplained, finding.BlameEngine, fmt.Sprintf(
			"The official page is of LSN %s, a record of this block in the span, but the replayed page stopped at %s.", o, r))
	case o%8 != 0:
		return c.critical(finding.PhantomWrite, finding.BlameOfficial, fmt.Sprintf(
			"The official page's LSN %s is one that no WAL record can have; the WAL leads to %s.", o, r))
	}
	return c.critical(finding.PhantomWrite, finding.BlameUnknown, fmt.Sprintf(
		"The official page's LSN %s is that of no WAL record of this block; the WAL leads to %s: it was written without this WAL.", o, r))
}

// inHistory reports whether the official LSN is the base's or that of a
// record of this block, and how many records of the block come after it.
func (c *pair) inHistory() (known bool, later int) {
	o := c.o.LSN()
	known = o != 0 && o == c.in.BaseLSN
	for _, t := range c.in.History {
		known = known || t.End == o
		if t.End > o {
			later++
		}
	}
	return known, later
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
