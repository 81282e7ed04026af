package compare

import (
	"fmt"

	"redoubt/internal/finding"
)

// untouched is the verdict on a block that no WAL of the span touches: base
// and official page should be the same, whatever the LSNs say.
func (c *pair) untouched() Result {
	blame, why := c.untouchedBlame()
	return c.critical(finding.BitRot, blame,
		"No WAL of the span touches this block, yet the official page differs from the base's. "+why)
}

func (c *pair) untouchedBlame() (finding.Blame, string) {
	o, r := c.o.LSN(), c.r.LSN()
	if c.in.Checksums && !c.r.ChecksumOK(c.in.Block.Number) {
		return finding.BlameBase, "The base's page fails its checksum, the official one does not."
	}
	if why, broken := headerWords(c.r, "base's"); broken && c.o.Check() == nil {
		return finding.BlameBase, why
	}
	if c.in.Elsewhere != nil {
		return finding.BlameOfficial, c.misdirected()
	}
	if why, wrong := c.impossibleLSN(); wrong {
		return finding.BlameOfficial, why
	}
	switch {
	case o < r:
		return finding.BlameOfficial, fmt.Sprintf("It is of LSN %s, the base's of the newer %s: an old version came back.", o, r)
	case o > r:
		return finding.BlameUnknown, fmt.Sprintf("It is of LSN %s, the base's of the older %s: the base lost a write, or the official page was written without this WAL.", o, r) + c.ownerWords()
	}
	return finding.BlameUnknown, "Both are of the same LSN: one of them rotted, or was written without WAL."
}

// byLSN tells lost and phantom writes by the official page's LSN.
func (c *pair) byLSN() Result {
	o, r := c.o.LSN(), c.r.LSN()
	h := c.history()
	switch {
	case c.allVersions() && c.in.Versions.equal > 0 && c.in.Versions.equal < c.in.Versions.n:
		return c.critical(finding.LostWrite, finding.BlameOfficial, c.olderVersion())
	case o == r || h.known && h.onlyHints && o > r:
		return c.sameLSN()
	case o < r && h.known && c.allVersions():
		return c.critical(finding.Unexplained, finding.BlameOfficial, c.notThatVersion(h))
	case o < r && h.known:
		return c.critical(finding.LostWrite, finding.BlameOfficial, fmt.Sprintf(
			"The official page is the version of %s; %s up to %s %s missing from it: a lost write.",
			o, plural(h.later, "later record"), r, isAre(h.later)))
	case o < r && o != 0 && o%8 == 0 && !c.in.HistoryKnown:
		return c.critical(finding.LostWrite, finding.BlameOfficial, fmt.Sprintf(
			"The official page says it is the version of %s, older than %s which the WAL leads to: a lost write (the block's records were not at hand to prove it).", o, r))
	case h.known:
		return c.critical(finding.Unexplained, finding.BlameEngine, fmt.Sprintf(
			"The official page is of LSN %s, a record of this block in the span, but the replayed page stopped at %s.", o, r))
	}
	return c.phantom()
}

// olderVersion says how much the official page is behind.
func (c *pair) olderVersion() string {
	later := c.in.Versions.n - c.in.Versions.equal
	return fmt.Sprintf("The official page is, byte for byte, the block's version of %s; %s up to %s %s missing from it: a lost write.",
		c.o.LSN(), plural(later, "later record"), c.r.LSN(), isAre(later))
}

// notThatVersion says that a page with the LSN of an older version is not that version.
func (c *pair) notThatVersion(h blockHistory) string {
	if c.in.Elsewhere != nil {
		return fmt.Sprintf("The official page is of LSN %s, an earlier record of this block, but not the version of then. %s", c.o.LSN(), c.misdirected())
	}
	return fmt.Sprintf("The official page says it is the version of %s, but it is not: it lacks %s up to %s, and was changed besides.",
		c.o.LSN(), plural(h.later, "later record"), c.r.LSN())
}

// sameLSN is the verdict on two pages that say they are the same version.
func (c *pair) sameLSN() Result {
	why := fmt.Sprintf("Both pages are of LSN %s, but their contents differ", c.o.LSN())
	if o, r := c.o.LSN(), c.r.LSN(); o != r {
		why = fmt.Sprintf("The pages are of LSN %s and %s, between which there are only hints, but their contents differ", o, r)
	}
	switch {
	case c.in.Elsewhere != nil:
		return c.critical(finding.Unexplained, finding.BlameOfficial, why+". "+c.misdirected())
	case c.in.BaseBad:
		return c.critical(finding.Unexplained, finding.BlameBase, why+": the base's page, on which redo built, fails its checksum.")
	case c.in.LastWhole:
		return c.critical(finding.Unexplained, finding.BlameOfficial,
			why+": the last record of the block carries the whole page, and it is not the official one.")
	}
	return c.critical(finding.Unexplained, finding.BlameUnknown,
		why+": the official page was changed without WAL, or base, WAL or engine is wrong; a second engine can tell.")
}

// phantom is the verdict on an official page whose LSN is that of no record of this block.
func (c *pair) phantom() Result {
	o, r := c.o.LSN(), c.r.LSN()
	if c.in.Elsewhere != nil {
		return c.critical(finding.PhantomWrite, finding.BlameOfficial, fmt.Sprintf(
			"The official page's LSN %s is that of no record of this block. %s", o, c.misdirected()))
	}
	if why, wrong := c.impossibleLSN(); wrong {
		return c.critical(finding.PhantomWrite, finding.BlameOfficial, fmt.Sprintf("%s The WAL leads to %s.", why, r))
	}
	if c.in.BaseLSN > o {
		return c.critical(finding.PhantomWrite, finding.BlameOfficial, fmt.Sprintf(
			"The official page is of LSN %s, older than the base's own version of %s; the WAL leads to %s: it was written without this WAL, or an old version came back.", o, c.in.BaseLSN, r))
	}
	return c.critical(finding.PhantomWrite, finding.BlameUnknown, fmt.Sprintf(
		"The official page's LSN %s is that of no WAL record of this block; the WAL leads to %s: it was written without this WAL.%s", o, r, c.ownerWords()))
}

// impossibleLSN is evidence against the official page by itself: an LSN that
// nothing up to the span's end can have given it.
func (c *pair) impossibleLSN() (string, bool) {
	o := c.o.LSN()
	switch {
	case o%8 != 0:
		return fmt.Sprintf("The official page's LSN %s is one that no WAL record can have.", o), true
	case c.in.Span.To != 0 && o > c.in.Span.To:
		return fmt.Sprintf("The official page's LSN %s is after the span's end %s: no WAL up to there can have written it.", o, c.in.Span.To), true
	case c.in.LSNOwner != nil && c.in.LSNOwner.Record == "":
		return fmt.Sprintf("No record of the WAL ends at the official page's LSN %s: no server wrote it so.", o), true
	}
	return "", false
}

// ownerWords says whose record ends at the official page's LSN.
func (c *pair) ownerWords() string {
	w := c.in.LSNOwner
	switch {
	case w == nil || w.Record == "":
		return ""
	case !w.Named:
		return fmt.Sprintf(" At this LSN ends the record %s of %s, which changes no block: the page went elsewhere than it should, or the WAL is not the one that was written.", w.Record, w.At)
	}
	return fmt.Sprintf(" At this LSN ends the record %s of %s, which changes %s: the page may belong there, or the WAL is not the one that was written.", w.Record, w.At, w.Block)
}

// blockHistory is what the records of the block say of the official page's LSN.
type blockHistory struct {
	known     bool // it is the base's or that of a record of this block
	later     int  // records of this block behind it
	onlyHints bool // all records between the replayed page's LSN and it only hint
}

func (c *pair) history() blockHistory {
	o, r := c.o.LSN(), c.r.LSN()
	h := blockHistory{known: o != 0 && o == c.in.BaseLSN, onlyHints: true}
	for _, t := range c.in.History {
		h.known = h.known || t.End == o
		if t.End > o {
			h.later++
		}
		if t.End > r && t.End <= o && !t.MaySetLSN {
			h.onlyHints = false
		}
	}
	return h
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// allVersions reports whether every version of the block was seen.
func (c *pair) allVersions() bool { return c.in.AllVersions && c.in.Versions != nil }
