package wal_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestAgainstPgWaldump reads WAL that a real server wrote, with a crash in it,
// and compares every record with what pg_waldump says of it: lengths,
// transaction, LSNs, operation, block references, images, and for the bodies
// decoded in this package the description too.
func TestAgainstPgWaldump(t *testing.T) {
	t.Parallel()
	tool := pgtest.Tool(t, 15, "pg_waldump")
	// The server next to pg_waldump has all compression methods.
	c := pgtest.New(t, pgtest.Install{Major: 15, Version: "15", Bin: filepath.Dir(tool)},
		pgtest.WALSegmentMiB(1), pgtest.Checksums(false),
		pgtest.Conf("max_prepared_transactions", "10"), pgtest.Conf("track_commit_timestamp", "on"), pgtest.Conf("wal_level", "logical"))
	pgtest.Mixed{Clients: 2, Seed: 7, Tablespace: true, Crashes: 1, Rounds: 1}.Run(c)
	changePages(c)
	c.Stop(pgtest.Fast)
	dir := t.TempDir()
	compareWithWaldump(t, tool, dir, c.CollectWAL(dir), c.SegmentSize)
}

// changePages makes images of all kinds of pages under each setting that
// changes their form, and records that Mixed has not.
func changePages(c *pgtest.Cluster) {
	c.Exec(
		"CREATE TABLE many (a int PRIMARY KEY, b text)",
		"INSERT INTO many SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 2000) i",
		"CREATE INDEX ON many USING gin (string_to_array(b, 'a'))",
		"CREATE INDEX ON many USING brin (a)",
		"CREATE INDEX ON many USING hash (b)",
		"SELECT pg_create_restore_point('half way')",
		"SELECT pg_logical_emit_message(false, 'prefix', repeat('long ', 40000))",
		"CREATE DATABASE copied STRATEGY file_copy",
		"DROP DATABASE copied",
		"SELECT pg_switch_wal()",
	)
	for i, setting := range []string{
		"wal_compression = off", "wal_compression = pglz", "wal_compression = lz4", "wal_compression = zstd",
		"wal_consistency_checking = 'all'", "wal_compression = zstd; SET wal_consistency_checking = 'all'",
	} {
		c.Exec(
			"SET "+setting,
			"CHECKPOINT",
			fmt.Sprintf("UPDATE many SET b = b || 'x' WHERE a %% 40 = %d", i),
			fmt.Sprintf("DELETE FROM many WHERE a %% 40 = %d", i+20),
			"VACUUM many",
		)
	}
}

// dumpLine is a line of pg_waldump.
var dumpLine = regexp.MustCompile(`^rmgr: (\S+) +len \(rec/tot\): +(\d+)/ *(\d+), tx: +(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), prev ([0-9A-F]+/[0-9A-F]+), desc: (.*)$`)

func compareWithWaldump(t *testing.T, tool, dir string, names []string, segmentSize int64) {
	t.Helper()
	cmd := exec.Command(tool, filepath.Join(dir, names[0]), filepath.Join(dir, names[len(names)-1]))
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, first, err := pg.ParseSegmentName(names[0], segmentSize)
	if err != nil {
		t.Fatal(err)
	}
	r := wal.NewReader(directory(dir, 1, segmentSize), wal.Config{
		Start: first.Start(segmentSize), FindFirst: true, SegmentSize: segmentSize, History: wal.NewHistory(1),
	})
	seen := compareLines(t, r, bufio.NewReader(out))
	_ = cmd.Wait() // it ends with an error at the end of the WAL, which is compared here
	var rec wal.Record
	var end *wal.EndError
	if err := r.Next(&rec); !errors.As(err, &end) || end.Reason != wal.EndZeroLength && end.Reason != wal.EndZeroPage {
		t.Errorf("after the last record: %v, want the end of the WAL", err)
	} else if want := fmt.Sprintf("%X/%X", uint32(end.LSN>>32), uint32(end.LSN)); !strings.Contains(stderr.String(), want) {
		t.Errorf("WAL ends at %s, pg_waldump says %q", end.LSN, stderr.String())
	}
	t.Logf("%d records of %d kinds in %d segments equal, %d bodies, images %v", seen.records, len(seen.kinds), r.Segments(), seen.bodies, seen.images)
	for _, k := range []string{"Transaction COMMIT", "Transaction ABORT", "Transaction COMMIT_PREPARED", "Storage TRUNCATE",
		"Database CREATE_FILE_COPY", "MultiXact CREATE_ID", "XLOG SWITCH", "CommitTs ZEROPAGE", "LogicalMessage MESSAGE",
		"Heap HOT_UPDATE", "Heap2 VISIBLE", "Btree INSERT_LEAF", "Hash INSERT", "Gin INSERT", "Gist PAGE_UPDATE", "SPGist ADD_LEAF",
		"BRIN INSERT", "Sequence LOG", "Generic Generic", "RelMap UPDATE", "Standby RUNNING_XACTS", "Tablespace CREATE"} {
		if seen.kinds[k] == 0 {
			t.Errorf("the WAL has no %s: the comparison proves less than it should", k)
		}
	}
	for _, k := range []string{"none", "pglz", "lz4", "zstd", "none for verification", "zstd for verification"} {
		if seen.images[k] == 0 {
			t.Errorf("the WAL has no image with compression %s: the comparison proves less than it should", k)
		}
	}
}

// compared counts what was compared.
type compared struct {
	records, bodies int
	kinds           map[string]int // "Heap INSERT"
	images          map[string]int // by compression
}

// compareLines reads pg_waldump's lines to their end, a record for each.
func compareLines(t *testing.T, r *wal.Reader, lines *bufio.Reader) compared {
	t.Helper()
	seen := compared{kinds: map[string]int{}, images: map[string]int{}}
	var rec wal.Record
	for {
		line, err := lines.ReadString('\n')
		if line == "" && err != nil {
			return seen
		}
		if err := r.Next(&rec); err != nil {
			t.Fatalf("record %d: %v; pg_waldump has\n%s", seen.records, err, line)
		}
		seen.records++
		seen.kinds[rec.Rmgr.String()+" "+wal.OpName(rec.Rmgr, rec.Info, rec.Major)]++
		if compareLine(t, &rec, strings.TrimSuffix(line, "\n")) {
			seen.bodies++
		}
		restoreAll(t, &rec, seen.images)
	}
}

// compareLine reports whether the body could be compared too.
func compareLine(t *testing.T, rec *wal.Record, line string) bool {
	t.Helper()
	m := dumpLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("line not understood: %s", line)
	}
	op := wal.OpName(rec.Rmgr, rec.Info, rec.Major)
	got := fmt.Sprintf("%s %d/%d %d %s %s %s", rec.Rmgr, lengthWithoutImages(rec), rec.Length, rec.XID, waldumpLSN(rec.LSN), waldumpLSN(rec.Prev), op)
	desc := m[7]
	if want := strings.Join([]string{m[1], m[2] + "/" + m[3], m[4], m[5], m[6], firstWord(desc)}, " "); got != want {
		t.Fatalf("record differs\ngot  %s\nwant %s\n%s", got, want, line)
	}
	if refs := blockRefs(rec); !strings.HasSuffix(desc, refs) || strings.Count(desc, "blkref #") != len(rec.Blocks) {
		t.Fatalf("block references differ\ngot  %s\n%s", refs, line)
	}
	body, ok := describe(t, rec)
	if want := strings.TrimSpace(notCompared.ReplaceAllString(desc, "")); ok && op+" "+body != want {
		t.Fatalf("body differs\ngot  %s %s\nwant %s\n%s", op, body, want, line)
	}
	return ok
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return w
}

// restoreAll decompresses every image; a page's header must come out.
func restoreAll(t *testing.T, rec *wal.Record, images map[string]int) {
	t.Helper()
	page := make([]byte, pg.BlockSize)
	for i := range rec.Blocks {
		b := &rec.Blocks[i]
		if !b.HasImage {
			continue
		}
		if err := b.Image.Restore(page); err != nil {
			t.Fatalf("%s, block %d: %v", rec, b.ID, err)
		}
		if version := uint16(page[18]) | uint16(page[19])<<8; version != 0x2004 && version != 0 {
			t.Fatalf("%s, block %d: the image is no page, its version is %04X", rec, b.ID, version)
		}
		kind := b.Image.Compression.String()
		if !b.Image.Apply {
			kind += " for verification"
		}
		images[kind]++
	}
}

func lengthWithoutImages(rec *wal.Record) uint32 {
	n := rec.Length
	for i := range rec.Blocks {
		n -= uint32(len(rec.Blocks[i].Image.Bytes))
	}
	return n
}

func waldumpLSN(l pg.LSN) string { return fmt.Sprintf("%X/%08X", uint32(l>>32), uint32(l)) }

func blockRefs(rec *wal.Record) string {
	var s strings.Builder
	for i := range rec.Blocks {
		b := &rec.Blocks[i]
		fmt.Fprintf(&s, ", blkref #%d: rel %s", b.ID, b.RelFileLocator)
		if b.Fork != pg.MainFork {
			fmt.Fprintf(&s, " fork %s", b.Fork)
		}
		fmt.Fprintf(&s, " blk %d", b.Number)
		if b.HasImage {
			s.WriteString(" FPW")
			if !b.Image.Apply {
				s.WriteString(" for WAL verification")
			}
		}
	}
	return s.String()
}

// directory is a PageFunc over the segments in a directory, 256 KiB at a time.
func directory(dir string, tli pg.TLI, segmentSize int64) wal.PageFunc {
	return func(at pg.LSN) ([]byte, error) {
		n := pg.SegmentOf(at, segmentSize)
		name := pg.SegmentName(tli, n, segmentSize)
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			from := n.Start(segmentSize)
			return nil, &wal.MissingError{Segment: name, Range: pg.Range{From: from, To: from + pg.LSN(segmentSize)}}
		}
		if err != nil {
			return nil, err
		}
		off := int64(at - n.Start(segmentSize))
		buf := make([]byte, min(segmentSize-off, 256<<10))
		_, err = f.ReadAt(buf, off)
		return buf, errors.Join(err, f.Close())
	}
}
