package pgtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"redoubt/internal/pg"
)

// SwitchWAL ends the current segment and, with an archive, waits until it is
// there. It returns the segment's name.
func (c *Cluster) SwitchWAL() string {
	c.t.Helper()
	c.Query("SELECT pg_create_restore_point('switch')") // a switch at a segment's start would be none
	name := c.Query("SELECT pg_walfile_name(pg_switch_wal())")
	c.WaitArchived(name)
	return name
}

// WaitArchived waits until the archive has a segment.
func (c *Cluster) WaitArchived(name string) {
	c.t.Helper()
	if c.Archive == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	for {
		found, err := filepath.Glob(filepath.Join(c.Archive, name+"*"))
		c.check(err)
		if slices.ContainsFunc(found, func(p string) bool { return !strings.HasSuffix(p, ".tmp") && !strings.HasSuffix(p, ".backup") }) {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("PostgreSQL %s: wait for %s in the archive: not there after %s\n%s", c.Version, name, sqlTimeout, c.LogTail(10))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// CollectWAL copies all WAL of a stopped cluster to dir, which is made if need
// be: the archive as it is, and from pg_wal the segments that are not in it
// yet. Recycled and preallocated segments, which wait under names of the
// future, are left out. It returns the names of the segments, sorted.
func (c *Cluster) CollectWAL(dir string) []string {
	c.t.Helper()
	names, err := c.collectWAL(dir)
	c.check(err)
	return names
}

func (c *Cluster) collectWAL(dir string) ([]string, error) {
	if c.Running() {
		return nil, errors.New("collect WAL: the server runs; stop it first")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	have := map[string]bool{}
	if c.Archive != "" {
		if err := copyArchive(c.Archive, dir, have); err != nil {
			return nil, err
		}
	}
	if err := c.copyLeft(dir, have); err != nil {
		return nil, err
	}
	var names []string
	for name := range have {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// CompleteArchive adds to the archive of a stopped cluster what of its WAL is
// not in it yet.
func (c *Cluster) CompleteArchive() {
	c.t.Helper()
	if c.Running() {
		c.t.Fatalf("PostgreSQL %s: complete the archive: the server runs; stop it first", c.Version)
	}
	have := map[string]bool{}
	entries, err := os.ReadDir(c.Archive)
	c.check(err)
	for _, e := range entries {
		have[e.Name()] = true
	}
	c.check(c.copyLeft(c.Archive, have))
}

// copyLeft copies the segments in pg_wal that we do not have.
func (c *Cluster) copyLeft(dir string, have map[string]bool) error {
	left, err := SegmentsIn(filepath.Join(c.Data, "pg_wal"), c.SegmentSize)
	if err != nil {
		return err
	}
	for _, name := range left {
		if have[name] {
			continue
		}
		have[name] = true
		if err := copyFile(filepath.Join(c.Data, "pg_wal", name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyArchive(from, to string, have map[string]bool) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			continue // the archiver was killed at it
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
		if name := e.Name(); len(name) >= 24 && pg.IsSegmentName(name[:24]) && !strings.Contains(name, ".backup") && !strings.HasSuffix(name, ".partial") {
			have[name[:24]] = true
		}
	}
	return nil
}

// SegmentsIn names the segments of a pg_wal directory that hold what their
// name says: the address on their first page (xlp_pageaddr) is their start.
func SegmentsIn(dir string, segmentSize int64) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !pg.IsSegmentName(e.Name()) {
			continue
		}
		_, no, err := pg.ParseSegmentName(e.Name(), segmentSize)
		if err != nil {
			return nil, err
		}
		at, err := firstPageAddr(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name(), err)
		}
		if at == no.Start(segmentSize) {
			names = append(names, e.Name())
		}
	}
	return names, nil // ReadDir sorts
}

// firstPageAddr reads XLogPageHeaderData: xlp_magic u16, xlp_info u16, xlp_tli u32, xlp_pageaddr u64.
func firstPageAddr(path string) (pg.LSN, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	var h [16]byte
	if _, err := io.ReadFull(f, h[:]); err != nil {
		return 0, err
	}
	if binary.LittleEndian.Uint16(h[:]) == 0 {
		return 0, nil // preallocated
	}
	return pg.LSN(binary.LittleEndian.Uint64(h[8:])), nil
}
