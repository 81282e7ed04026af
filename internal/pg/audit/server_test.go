package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/audit"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// archived reads segments from a directory.
func archived(dir string, size int64) wal.PageFunc {
	return func(at pg.LSN) ([]byte, error) {
		n := pg.SegmentOf(at, size)
		b, err := os.ReadFile(filepath.Join(dir, pg.SegmentName(1, n, size)))
		if errors.Is(err, os.ErrNotExist) {
			return nil, &wal.MissingError{}
		}
		if err != nil {
			return nil, err
		}
		return b[at-n.Start(size):], nil
	}
}

// auditAll audits the whole WAL of a stopped cluster.
func auditAll(t *testing.T, c *pgtest.Cluster, limit int) ([]audit.Finding, audit.Stats) {
	t.Helper()
	dir := c.Dir("audited")
	names := c.CollectWAL(dir)
	_, first, err := pg.ParseSegmentName(names[0], c.SegmentSize)
	if err != nil {
		t.Fatal(err)
	}
	r := wal.NewReader(archived(dir, c.SegmentSize), wal.Config{Start: first.Start(c.SegmentSize), FindFirst: true, SegmentSize: c.SegmentSize})
	a := audit.New(limit)
	var found []audit.Finding
	var rec wal.Record
	for err = r.Next(&rec); err == nil; err = r.Next(&rec) {
		if found, err = a.Record(&rec, found); err != nil {
			t.Fatal(err)
		}
	}
	if end := new(wal.EndError); !errors.As(err, &end) {
		t.Fatalf("the WAL ended with %v", err)
	}
	return found, a.Stats
}

// TestHealthy: not one finding in the WAL of concurrent clients with crashes.
func TestHealthy(t *testing.T) {
	for i, major := range pgtest.Thorough() {
		both := []bool{false, true}
		if os.Getenv("REDOUBT_PROVE") != "1" {
			both = both[i%2 : i%2+1]
		}
		for _, consistency := range both {
			t.Run(fmt.Sprintf("%d consistency=%v", major, consistency), func(t *testing.T) {
				opts := []pgtest.Option{pgtest.Checksums(consistency == (i%2 == 0)), pgtest.Conf("max_prepared_transactions", "10"),
					pgtest.Conf("wal_compression", "on")}
				crashes, operations := 2, 60
				if consistency { // each record carries its pages
					opts, crashes, operations = append(opts, pgtest.ConsistencyChecking()), 0, 8
				}
				if os.Getenv("REDOUBT_PROVE") == "1" {
					operations *= 5
				}
				c := pgtest.Server(t, major, opts...)
				pgtest.Mixed{Clients: 3, Operations: operations, Seed: uint64(major), Crashes: crashes}.Run(c)
				c.Stop(pgtest.Fast)
				found, stats := auditAll(t, c, 0)
				for _, f := range found[:min(len(found), 10)] {
					t.Errorf("%s: image at %s is of %s, expected %s set by %+v", f.Block, f.At, f.ImageLSN, f.Expected, f.Last)
				}
				t.Logf("%d findings, %+v", len(found), stats)
				if stats.Checked < 1000 || stats.Forgotten != 0 {
					t.Errorf("too little for a proof: %+v", stats)
				}
			})
		}
	}
}

// TestLostWrites plants old versions of pages, with checksums that are right,
// in a stopped server, and goes on writing to them.
func TestLostWrites(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			c := pgtest.Server(t, major, pgtest.Autovacuum(false))
			c.Exec("CREATE TABLE t (a int PRIMARY KEY, b int) WITH (fillfactor=50)", "INSERT INTO t SELECT i, 0 FROM generate_series(1, 2000) i")
			c.Exec("VACUUM t", "CHECKPOINT")
			path := c.RelationPath("postgres", "t")
			c.Stop(pgtest.Fast)
			blocks := []pg.BlockNumber{0, 3, 7}
			old := map[pg.BlockNumber][]byte{}
			for _, b := range blocks {
				old[b] = pgtest.ReadBlock(t, c.Data, path, b)
			}
			c.Start()
			c.Exec("UPDATE t SET b = 1")
			c.Stop(pgtest.Fast)
			want := map[pg.BlockNumber]pg.LSN{}
			for _, b := range blocks {
				want[b] = page.Page(pgtest.ReadBlock(t, c.Data, path, b)).LSN()
				pgtest.ChangeBlock(t, c.Data, path, b, func(p []byte) { copy(p, bytes.Clone(old[b])) })
			}
			c.Start()
			for _, b := range blocks {
				c.Exec(fmt.Sprintf("UPDATE t SET b = 2 WHERE ctid = '(%d,1)'", b))
			}
			c.Stop(pgtest.Fast)
			found, _ := auditAll(t, c, 0)
			if len(found) != len(blocks) {
				t.Errorf("%d findings, want %d: %+v", len(found), len(blocks), found)
			}
			for _, f := range found {
				n := f.Block.Number
				if old[n] == nil || f.ImageLSN != page.Page(old[n]).LSN() || f.Expected != want[n] || f.Newer() {
					t.Errorf("%+v: want image of %s, expected %s", f, page.Page(old[n]).LSN(), want[n])
				}
			}
		})
	}
}
