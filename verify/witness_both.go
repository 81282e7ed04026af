package verify

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
	"redoubt/replay/server"
)

// engines compares all that the server left with what the native engine made:
// every block of every fork that is compared at all.
type engines struct {
	*run
	buf  []byte
	own  []byte
	left map[pg.RelFork]bool // forks that the native engine has and the server has not shown yet
}

// compareEngines is the comparison of engine both.
func (r *run) compareEngines(ctx context.Context) error {
	if r.Engine != EngineBoth || r.witness.base == nil {
		return nil
	}
	c := &engines{run: r, buf: make([]byte, pg.BlockSize), own: make([]byte, pg.BlockSize), left: make(map[pg.RelFork]bool)}
	for _, f := range r.ra.Forks() {
		c.left[f.RelFork] = true
	}
	if err := r.witness.base.Walk(ctx, c); err != nil {
		return err
	}
	for f := range c.left {
		c.sizes(f, compare.NoFile)
	}
	for f, n := range r.witness.inv.Forks {
		if !c.left[f] {
			c.sizes(f, int64(n))
		}
	}
	if err := c.slrus(); err != nil {
		return err
	}
	c.maps()
	return nil
}

// Blocks compares a run of the server's pages.
func (c *engines) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if !compared(f) || c.leftOut(f.RelFork) {
		return nil
	}
	fork, ok := c.ra.Fork(f.RelFork)
	for i := 0; ok && i < len(pages); i += pg.BlockSize {
		b := first + pg.BlockNumber(i/pg.BlockSize)
		if b >= fork.Size || c.wanted != nil && !c.wanted(f.RelFork, b) {
			continue
		}
		same, known, err := c.agree(fork, b, pages[i:i+pg.BlockSize], c.own, c.buf)
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		c.out.Witness.BlocksCompared++
		if !same {
			c.out.Witness.Differing++
			if len(c.disputed) < maxListed {
				c.disputed[pg.Block{RelFork: f.RelFork, Number: b}] = true
			} else {
				c.out.DiscrepancyCounts.Critical++
			}
		}
	}
	return nil
}

// agree compares the server's page with the native engine's. known is false
// for blocks that the native engine could not redo. own and buf are pages of
// scratch memory.
func (r *run) agree(f native.Fork, b pg.BlockNumber, theirs, own, buf []byte) (same, known bool, err error) {
	p, err := r.ra.Page(f.RelFork, b, own)
	switch {
	case err != nil:
		return false, false, err
	case p.Tainted:
		return false, false, nil
	case p.Bytes != nil:
		return sameAsServer(f.Fork, p, theirs), true, nil
	case b >= f.BaseBlocks:
		return samePage(f.Fork, zeroPage, theirs), true, nil
	}
	want, ok := r.index.hash(f.RelFork, b)
	return ok && normalHash(theirs, f.Fork, b, buf) == want, true, nil
}

// EndRelation does nothing: sizes are compared by fork.
func (c *engines) EndRelation(f datadir.RelFile, _ int64) error {
	if compared(f) {
		delete(c.left, f.RelFork)
	}
	return nil
}

// File does nothing: SLRUs and maps are compared from their lists.
func (*engines) File(string, []byte) error { return nil }

// sizes compares the length of one fork in both engines.
func (c *engines) sizes(f pg.RelFork, theirs int64) {
	if c.leftOut(f) || !c.relWanted(f.RelFileLocator) {
		return
	}
	ours := int64(compare.NoFile)
	if fork, ok := c.ra.Fork(f); ok {
		ours = int64(fork.Size)
	}
	if ours == theirs || max(ours, theirs) == 0 {
		return // an empty file may be there or not
	}
	rel := finding.RelationOf(f)
	c.add(finding.Discrepancy{
		Relation: &rel, File: datadir.RelPath(f, 0, c.versionDir()), Kind: finding.WrongRedo, Severity: finding.Critical, Blame: finding.BlameEngine,
		Explanation: fmt.Sprintf("After the same WAL the fork has %s by the native engine and %s by PostgreSQL %s.", blocksText(ours), blocksText(theirs), c.out.Witness.Version),
	})
}

func blocksText(n int64) string {
	if n == compare.NoFile {
		return "no file"
	}
	return fmt.Sprintf("%d blocks", n)
}

// slrus compares the SLRU pages that either engine has. The rest of the last
// multixact page is what promotion writes anew.
func (c *engines) slrus() error {
	theirs, ours := make([]byte, pg.BlockSize), make([]byte, pg.BlockSize)
	pages := maps.Clone(c.witness.inv.SLRUs)
	for s := range pg.SLRU(pg.NumSLRUs) {
		for _, n := range c.ra.SLRUPages(s) {
			pages[pg.SLRUPage{SLRU: s, Page: n}] = true
		}
	}
	for p := range pages {
		if c.ra.SLRUTruncated(p) {
			continue
		}
		there, err := c.witness.base.SLRUPage(p, theirs)
		if err != nil {
			return err
		}
		own, _, touched, err := c.ra.SLRUPage(p, ours)
		if err != nil {
			return err
		}
		h, inBase := c.baseSLRU(p)
		switch {
		case !touched && !inBase:
			own = nil
		case !touched && there && xxhashOf(theirs) == h:
			continue
		case !touched:
			own = zeroPage // it differs: what the base has matters no more
		}
		in := compare.SLRUInput{
			Page: p, Official: theirs, Replayed: own,
			NextMulti: c.witness.base.Control.CheckPoint.NextMulti, NextOffset: c.witness.base.Control.CheckPoint.NextMultiOffset,
		}
		if !there {
			in.Official = nil
		}
		if res := compare.SLRUPages(in); !res.Equal && res.Severity != finding.Benign {
			c.slruDiffers(p, res.Ranges)
		}
	}
	return nil
}

func (c *engines) slruDiffers(p pg.SLRUPage, ranges [][2]int) {
	n := int64(p.Page)
	c.add(finding.Discrepancy{
		Block: &n, File: datadir.SLRUPath(p), Offset: n % pg.SLRUPagesPerSegment * pg.BlockSize, ByteRanges: ranges,
		Kind: finding.WrongRedo, Severity: finding.Critical, Blame: finding.BlameEngine,
		Explanation: fmt.Sprintf("After the same WAL the native engine and PostgreSQL %s have different %s pages.", c.out.Witness.Version, p.SLRU),
	})
}

func (c *engines) maps() {
	keys := c.ra.RelMaps()
	for k := range c.witness.inv.Maps {
		keys = append(keys, native.RelMapKey(k))
	}
	seen := make(map[native.RelMapKey]bool)
	for _, k := range keys {
		ours, theirs := c.ra.RelMap(k.Spc, k.DB), c.witness.inv.Maps[server.MapKey(k)]
		if seen[k] || c.leftovers[k.DB] != "" || bytes.Equal(ours, theirs) {
			continue
		}
		seen[k] = true
		c.add(finding.Discrepancy{
			File: c.relMapPath(k), Kind: finding.WrongRedo, Severity: finding.Critical, Blame: finding.BlameEngine,
			ByteRanges:  page.Differences(ours, theirs),
			Explanation: fmt.Sprintf("After the same WAL the native engine and PostgreSQL %s have different relation maps.", c.out.Witness.Version),
		})
	}
}

// sortedBlocks are a set's blocks in order.
func sortedBlocks(set map[pg.Block]bool) []pg.Block {
	return slices.SortedFunc(maps.Keys(set), pg.Block.Compare)
}
