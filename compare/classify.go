package compare

import (
	"errors"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
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
		// A map's bits are cleared one by one and without an LSN: an old bit
		// among new ones is no torn page.
		if why, ok := c.torn(); ok && c.in.Block.Fork != pg.VMFork {
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
	torn, isTorn := c.torn()
	switch {
	case isTorn:
		kind, why = finding.TornPage, "The official page's checksum fails: "+torn
	case c.in.Elsewhere != nil:
		why = fmt.Sprintf("The official page's checksum %#04x fails. %s", c.o.Checksum(), c.misdirected())
	case c.o.IsNew():
		why = "The official page looks new (pd_upper is 0) but is not all zeros: PostgreSQL will report it as corrupt."
	}
	res := c.critical(kind, finding.BlameOfficial, why+" "+words)
	res.Ranges = ranges
	return res
}

// brokenHeader is evidence of rot where there is no checksum: a header that no
// server writes, where the replayed one is sane.
func (c *pair) brokenHeader() (string, bool) {
	if c.r.Check() != nil {
		return "", false
	}
	return headerWords(c.o, "official")
}

// headerWords says what is wrong with a page's header, false if nothing is.
func headerWords(p page.Page, side string) (string, bool) {
	err := p.Check()
	var bad *page.HeaderError
	if !errors.As(err, &bad) {
		return "", false
	}
	return fmt.Sprintf("There is no checksum to judge by, but the %s page's header can't be right: %s %s.", side, bad.Field, bad.Detail), true
}

// misdirected says which block the official page really is.
func (c *pair) misdirected() string {
	e := c.in.Elsewhere
	if e.RelFork == c.in.Block.RelFork {
		return fmt.Sprintf("It is the page of block %d of the same relation: a write that went to the wrong place, or two blocks that changed places.", e.Number)
	}
	return fmt.Sprintf("It is the page of block %d of another relation, %s: a write that went to the wrong place.", e.Number, e.RelFork)
}
