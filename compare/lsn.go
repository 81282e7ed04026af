package compare

import (
	"bytes"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// pageLSN judges pages that differ in pd_lsn only.
func pageLSN(c *pair) (Result, bool) {
	if c.o.LSN() == c.r.LSN() || !bytes.Equal(c.on[8:], c.rn[8:]) || c.o.Check() != nil {
		return Result{}, false
	}
	if rule, why, ok := c.lsnRule(); ok {
		return c.benign(rule, why), true
	}
	return Result{}, false
}

func (c *pair) lsnRule() (mask.RuleID, string, bool) {
	switch {
	case c.lsnOfHintRecord():
		return RuleLSNHint, fmt.Sprintf("Both pages are the same but for their LSNs %s and %s: the records between them only hint, "+
			"and PostgreSQL may or may not store their LSN.", c.o.LSN(), c.r.LSN()), true
	case c.in.Block.Fork == pg.InitFork && c.in.Major <= 15 && c.o.LSN() == 0 && unloggedInit(c.kind):
		return RuleLSNInitFork, "PostgreSQL before 16 writes this init fork to disk before it logs it.", true
	case c.kind == page.KindGist && c.in.Major <= 16 && c.o.LSN() == gistBuildLSN:
		return RuleLSNGistBuild, "PostgreSQL before 17 stamps pages of a sorted GiST build with 0/1.", true
	}
	return "", "", false
}

// gistBuildLSN is GistBuildLSN (access/gist.h).
const gistBuildLSN pg.LSN = 1

// unloggedInit lists whose ambuildempty wrote the page first (btbuildempty,
// spgbuildempty, blbuildempty before 16).
func unloggedInit(k page.Kind) bool {
	return k == page.KindBtree || k == page.KindSPGist || k == page.KindBloom
}

// lsnOfHintRecord reports whether both LSNs are ones that the block may
// rightly have after the same changes: each is the base's or that of a record
// of this block, and all records behind the older one may leave the LSN alone.
func (c *pair) lsnOfHintRecord() bool {
	if !c.in.HistoryKnown {
		return false
	}
	older, newer := min(c.o.LSN(), c.r.LSN()), max(c.o.LSN(), c.r.LSN())
	known := older == c.in.BaseLSN
	reached := false
	for _, t := range c.in.History {
		switch {
		case t.End == older:
			known = true
		case t.End > older && t.End <= newer:
			if !t.MaySetLSN {
				return false
			}
			reached = reached || t.End == newer
		}
	}
	return known && reached
}
