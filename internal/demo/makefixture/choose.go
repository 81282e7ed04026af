package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"redoubt/internal/demo"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
)

// chooseLostWrite picks a block of the lost table that the last day changed
// and that nothing touched since, so that neither the last backup's own WAL
// nor anything behind it says a word about the block. c is the timeline's
// cluster, cleanly stopped.
func chooseLostWrite(c *pgtest.Cluster, tl demo.Timeline, dir string) (demo.LostWrite, error) {
	n := len(tl.Snapshots)
	before, last := tl.Snapshots[n-2], tl.Snapshots[n-1]
	l := demo.LostWrite{Tenant: tl.Tenant, Timeline: tl.Timeline, Snapshot: last.Name, Previous: before.Name, Table: lostTable}
	c.Start()
	l.Path = c.RelationPath("postgres", lostTable)
	c.Stop(pgtest.Fast)

	place := filepath.Join(dir, tl.Tenant, tl.Timeline, "snapshots")
	old, err := os.ReadFile(filepath.Join(place, before.Name, "base.tar"))
	if err != nil {
		return l, err
	}
	now, err := os.ReadFile(filepath.Join(place, last.Name, "base.tar"))
	if err != nil {
		return l, err
	}
	end, err := os.ReadFile(filepath.Join(c.Data, l.Path))
	if err != nil {
		return l, err
	}
	var fit []demo.LostWrite
	for b := range pg.BlockNumber(len(end) / pg.BlockSize) {
		was, err1 := demo.Block(old, l.Path, b)
		is, err2 := demo.Block(now, l.Path, b)
		if err1 != nil || err2 != nil {
			continue // the table grew
		}
		final := page.Page(end[b*pg.BlockSize:][:pg.BlockSize])
		if was.LSN() < before.Start && is.LSN() > before.Stop && is.LSN() < last.Start && bytes.Equal(is, final) {
			l.Block, l.OldLSN, l.NewLSN = b, was.LSN(), is.LSN()
			fit = append(fit, l)
		}
	}
	if len(fit) == 0 {
		return l, fmt.Errorf("choose a lost write in %s: no block fits", lostTable)
	}
	return fit[len(fit)/2], nil
}

// chooseRemoved picks a segment halfway between the first two snapshots,
// outside of what either needs to become consistent.
func chooseRemoved(tl demo.Timeline) (demo.Removed, error) {
	lo := pg.SegmentOf(tl.Snapshots[0].Stop, tl.SegmentSize) + 1
	hi := pg.SegmentOf(tl.Snapshots[1].Start, tl.SegmentSize)
	if hi <= lo {
		return demo.Removed{}, fmt.Errorf("choose a segment to remove: none is between %s and %s", tl.Snapshots[0].Stop, tl.Snapshots[1].Start)
	}
	no := (lo + hi) / 2
	return demo.Removed{
		Tenant: tl.Tenant, Timeline: tl.Timeline, Segment: pg.SegmentName(1, no, tl.SegmentSize),
		From: no.Start(tl.SegmentSize), To: (no + 1).Start(tl.SegmentSize),
	}, nil
}
