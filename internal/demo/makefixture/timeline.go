package main

import (
	"fmt"
	"os"
	"path/filepath"

	"redoubt/internal/demo"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

// plan is how one timeline is made.
type plan struct {
	tenant, timeline string
	checksums        bool
	compress         bool
	work             business
	seed             uint64
}

var plans = []plan{
	{"acme", "main", true, true, shop, 1},
	{"acme", "billing", false, false, billing, 2},
	{"globex", "main", true, true, shop, 3},
}

var snapshotNames = []string{"nightly-1", "nightly-2", "nightly-3"}

// The faults: a page of accounts in acme/main, a segment of globex/main.
const lostTable = "accounts"

func makeTimelines(h *host, dir string) (*demo.Fixture, error) {
	f := new(demo.Fixture)
	for i, p := range plans {
		c := pgtest.Server(h, 17, pgtest.WALSegmentMiB(1), pgtest.Checksums(p.checksums),
			pgtest.Conf("max_wal_size", "32MB"), pgtest.Conf("min_wal_size", "2MB"))
		f.Postgres = c.Version
		tl, err := makeTimeline(c, p, dir)
		if err != nil {
			return nil, fmt.Errorf("make %s/%s: %w", p.tenant, p.timeline, err)
		}
		if i == 0 {
			if f.LostWrite, err = chooseLostWrite(c, tl, dir); err != nil {
				return nil, err
			}
		}
		f.Timelines = append(f.Timelines, tl)
	}
	var err error
	f.Removed, err = chooseRemoved(f.Timelines[2])
	return f, err
}

// makeTimeline runs three days of business with a backup in the night behind
// each, while a few orders still come in, and a short day after the last.
func makeTimeline(c *pgtest.Cluster, p plan, dir string) (demo.Timeline, error) {
	tl := demo.Timeline{
		Tenant: p.tenant, Timeline: p.timeline, Checksums: p.checksums, SegmentSize: c.SegmentSize, CompressWAL: p.compress,
		SystemIdentifier: c.Query("SELECT system_identifier FROM pg_control_system()"),
	}
	place := filepath.Join(dir, p.tenant, p.timeline)
	c.Exec(p.work.schema...)
	for day, name := range snapshotNames {
		if err := p.work.day(c, p.seed, day); err != nil {
			return tl, err
		}
		var failed error
		night := func() {
			if failed == nil {
				failed = p.work.night(c, day)
			}
		}
		b := c.StreamBackup(filepath.Join(place, "snapshots", name), 12<<20, night)
		if failed != nil {
			return tl, failed
		}
		tl.Snapshots = append(tl.Snapshots, demo.Snapshot{Name: name, Start: b.Start, Stop: b.Stop})
	}
	if err := p.work.night(c, len(snapshotNames)); err != nil {
		return tl, err
	}
	c.Stop(pgtest.Fast)
	var err error
	tl.Segments, err = keepSegments(c.CollectWAL(filepath.Join(dir, "all", p.tenant, p.timeline)), tl.Snapshots[0].Start, c.SegmentSize,
		filepath.Join(dir, "all", p.tenant, p.timeline), filepath.Join(place, "wal"))
	return tl, err
}

// keepSegments moves the segments that the first backup needs, and all after
// them, to the archive of the fixture: what an archive with retention has.
func keepSegments(names []string, start pg.LSN, size int64, from, to string) ([]string, error) {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, err
	}
	var kept []string
	for _, name := range names {
		_, no, err := pg.ParseSegmentName(name, size)
		if err != nil {
			return nil, err
		}
		if no < pg.SegmentOf(start, size) {
			continue
		}
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return nil, err
		}
		kept = append(kept, name)
	}
	return kept, nil
}
