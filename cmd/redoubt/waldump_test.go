package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

// dumped is WAL of PostgreSQL 15, and its own program to print it.
type dumped struct {
	t           *testing.T
	tool, dir   string
	first, last string // paths of segments
	rel         string // a table
}

func newDumped(t *testing.T) *dumped {
	t.Helper()
	d := &dumped{t: t, tool: pgtest.Tool(t, 15, "pg_waldump")}
	c := pgtest.New(t, pgtest.Install{Major: 15, Version: "15", Bin: filepath.Dir(d.tool)}, pgtest.WALSegmentMiB(1),
		pgtest.Conf("max_prepared_transactions", "10"), pgtest.Conf("wal_level", "logical"))
	pgtest.Mixed{Clients: 1, Seed: 3, Rounds: 1}.Run(c)
	c.Exec("SELECT pg_backup_start('waldump', true)", "SELECT pg_backup_stop(false)", "CHECKPOINT", "CREATE TABLE seen AS SELECT i, repeat('x', 50) FROM generate_series(1, 3000) i", "VACUUM seen", "DELETE FROM seen WHERE i % 3 = 0")
	d.rel = "1663" + strings.TrimPrefix(c.RelationPath("postgres", "seen"), "base")
	c.Stop(pgtest.Fast)
	d.dir = t.TempDir()
	names := c.CollectWAL(d.dir)
	d.first, d.last = filepath.Join(d.dir, names[0]), filepath.Join(d.dir, names[len(names)-1])
	return d
}

// theirs is what pg_waldump prints. It ends with an error at the WAL's end.
func (d *dumped) theirs(args ...string) []string {
	d.t.Helper()
	where := []string{d.first, d.last}
	if slices.Contains(args, "-s") { // it must be in the first file
		where = []string{"-p", d.dir}
	}
	cmd := exec.Command(d.tool, append(args, where...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if len(out) == 0 {
		d.t.Fatalf("pg_waldump %s: %v", args, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func (d *dumped) ours(args ...string) []string {
	d.t.Helper()
	o := redoubt(d.t, append([]string{"waldump", d.dir}, args...)...)
	o.want(d.t, 0)
	return strings.Split(strings.TrimSuffix(o.stdout, "\n"), "\n")
}

// TestWaldumpAgainstPgWaldump prints the same records, and takes the same out
// of them, as PostgreSQL's own program.
func TestWaldumpAgainstPgWaldump(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	d := newDumped(t)
	all := d.compare(nil, nil)
	lsn := regexp.MustCompile(`lsn: (\S+),`)
	at := func(i int) string {
		for lsn.FindStringSubmatch(all[i])[1][len("0/01500"):] < "100" { // pg_waldump 15 errs where a page's first record ends the range
			i++
		}
		return lsn.FindStringSubmatch(all[i])[1]
	}
	rel, vm := d.rel, regexp.MustCompile(`rel (\S+) fork vm`).FindStringSubmatch(strings.Join(all, "\n"))[1]
	xid := regexp.MustCompile(`tx: +([1-9]\d*),`).FindStringSubmatch(strings.Join(all[len(all)/2:], "\n"))[1]
	for _, c := range []struct{ theirs, ours string }{
		{"-r Heap2", "--rmgr Heap2"}, {"-r Gist -r Hash", "--rmgr gist --rmgr Hash"},
		{"-x " + xid, "--xid " + xid},
		{"-R " + rel, "--rel " + rel}, {"-R " + rel + " -B 5", "--rel " + rel + " --block 5"},
		{"-F vm", "--fork vm"}, {"-R " + vm + " -F vm", "--rel " + vm + " --fork vm"}, {"-R " + vm + " -F vm -B 0", "--rel " + vm + " --fork vm --block 0"},
		{"-s " + at(1000) + " -e " + at(3000), "--from " + at(1000) + " --to " + at(3000)},
		{"-r Heap -R " + rel + " -s " + at(len(all)-2000), "--rmgr Heap --rel " + rel + " --from " + at(len(all)-2000)},
	} {
		if n := len(d.compare(strings.Fields(c.theirs), strings.Fields(c.ours))); n == len(all) {
			t.Errorf("%s keeps all %d records", c.ours, n)
		}
	}
	for _, c := range []struct{ theirs, ours string }{
		{"--stats", "--stats"}, {"--stats=record", "--stats=record"}, {"--stats=record -r Heap", "--stats=record --rmgr Heap"},
	} {
		d.compareStats(strings.Fields(c.theirs), strings.Fields(c.ours))
	}
}

// TestWaldumpJSON says of each record what its line says.
func TestWaldumpJSON(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	dir := filepath.Join(pristine(t), "acme", "main", "wal")
	text := strings.Split(strings.TrimSpace(redoubt(t, "waldump", dir).stdout), "\n")
	o := redoubt(t, "waldump", dir, "--format", "json")
	o.want(t, 0)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if len(lines) != len(text) || len(lines) < 1000 {
		t.Fatalf("%d lines of JSON, %d of text", len(lines), len(text))
	}
	stored, total := 0, 0
	for i, line := range lines {
		var r dumpedRecord
		must(t, json.Unmarshal([]byte(line), &r))
		total += int(r.Length)
		got := fmt.Sprintf("rmgr: %-11s len (rec/tot): %6d/%6d, tx: %10d, lsn: %X/%08X, prev %X/%08X, desc: %s",
			r.Rmgr, r.RecordLength, r.Length, r.XID, uint32(r.LSN>>32), uint32(r.LSN), uint32(r.Prev>>32), uint32(r.Prev), r.Op)
		for _, b := range r.Blocks {
			got += fmt.Sprintf(", blkref #%d: rel %d/%d/%d", b.ID, b.Tablespace, b.Database, b.RelFileNode)
			if b.Fork != pg.MainFork {
				got += " fork " + b.Fork.String()
			}
			got += fmt.Sprint(" blk ", b.Block)
			if b.Image != nil {
				got += " FPW"
				stored += b.Image.Bytes
			}
		}
		if got != text[i] {
			t.Fatalf("line %d: JSON is\n%s, text\n%s", i+1, got, text[i])
		}
	}
	var s struct {
		Stats []statLine
		Total statLine
	}
	must(t, json.Unmarshal([]byte(redoubt(t, "waldump", dir, "--stats=record", "--format", "json").stdout), &s))
	if s.Total.N != int64(len(lines)) || s.Total.Images != int64(stored) || s.Total.Combined != int64(total) || len(s.Stats) < 10 {
		t.Errorf("%d records of %d bytes, images of %d: %+v", len(lines), total, stored, s)
	}
}

// compare returns the lines.
func (d *dumped) compare(theirs, ours []string) []string {
	d.t.Helper()
	got, want := d.ours(ours...), d.theirs(theirs...)
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			d.t.Fatalf("%s, line %d:\ngot  %s\nwant %s", ours, i+1, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		d.t.Fatalf("%s: %d lines, pg_waldump %s prints %d", ours, len(got), theirs, len(want))
	}
	d.t.Logf("%s: %d lines equal", ours, len(got))
	return got
}

// counted is a line of statistics, with or without percentages.
var counted = regexp.MustCompile(`^(\S+) +(\d+) (?:\( *[\d.]+\))? +(\d+) (?:[(\[] *[\d.]+%?[)\]])? +(\d+) (?:[(\[] *[\d.]+%?[)\]])? +(\d+)`)

func (d *dumped) compareStats(theirs, ours []string) {
	d.t.Helper()
	read := func(lines []string) map[string]string {
		out := map[string]string{}
		for _, l := range lines {
			if m := counted.FindStringSubmatch(l); m != nil && m[2] != "0" {
				out[m[1]] = fmt.Sprint(m[2:])
			}
		}
		return out
	}
	got, want := read(d.ours(ours...)), read(d.theirs(theirs...))
	if !maps.Equal(got, want) || len(want) < 5 {
		d.t.Errorf("%s:\ngot  %v\nwant %v", ours, got, want)
	}
	d.t.Logf("%s: %d lines of statistics equal", ours, len(got))
}
