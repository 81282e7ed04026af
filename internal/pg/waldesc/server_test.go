package waldesc_test

import (
	"bufio"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/waldesc"
	"redoubt/internal/pgtest"
)

// TestCorpusAgainstPgWaldump holds every line that is printed of the regression
// corpus, and of what others seldom write, against that of PostgreSQL's own
// program, letter by letter. In the normal run of the tests that of redoubt
// waldump, on less WAL, has to do.
func TestCorpusAgainstPgWaldump(t *testing.T) {
	pgtest.LeaveToProve(t)
	tool := pgtest.Tool(t, 15, "pg_waldump")
	zone, err := time.LoadLocation("Asia/Kathmandu") // whose offset has minutes
	if err != nil {
		t.Fatal(err)
	}
	for name, work := range map[string]func(*pgtest.Cluster){
		"corpus": pgtest.Corpus{}.Run, "rare": pgtest.Rare{XIDs: 100_000, Multis: 10_000}.Run, "mixed": pgtest.Mixed{Clients: 4, Seed: 11, Tablespace: true, Crashes: 2, Rounds: 2}.Run,
	} {
		t.Run(name, func(t *testing.T) {
			opts := []pgtest.Option{
				pgtest.WALSegmentMiB(16), pgtest.Conf("wal_level", "logical"), pgtest.Conf("max_replication_slots", "10"), pgtest.Conf("restart_after_crash", "on"),
				pgtest.Conf("track_commit_timestamp", "on"), pgtest.Conf("max_prepared_transactions", "10"), pgtest.Conf("wal_compression", "lz4"),
			}
			c := pgtest.New(t, pgtest.Install{Major: 15, Version: "15", Bin: filepath.Dir(tool)}, opts...)
			work(c)
			c.Stop(pgtest.Fast)
			p := &printed{dir: t.TempDir(), size: c.SegmentSize, zone: zone, kinds: make(map[string]int)}
			p.names = c.CollectWAL(p.dir)
			p.compare(t, tool)
		})
	}
}

// printed is WAL, and what was seen of it.
type printed struct {
	dir   string
	names []string
	size  int64
	zone  *time.Location
	kinds map[string]int // records by operation that had something to say
}

func (p *printed) compare(t *testing.T, tool string) {
	t.Helper()
	cmd := exec.Command(tool, filepath.Join(p.dir, p.names[0]), filepath.Join(p.dir, p.names[len(p.names)-1]))
	cmd.Env = append(os.Environ(), "TZ="+p.zone.String(), "LC_ALL=C")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs := bufio.NewReaderSize(out, 1<<20)
	_, first, err := pg.ParseSegmentName(p.names[0], p.size)
	if err != nil {
		t.Fatal(err)
	}
	r := wal.NewReader(p.pages, wal.Config{Start: first.Start(p.size), FindFirst: true, SegmentSize: p.size})
	describe := func(dst []byte, r *wal.Record) []byte {
		out := waldesc.Append(dst, r, p.zone)
		if len(out) > len(dst)+1 {
			p.kinds[r.Rmgr.String()+" "+wal.OpName(r.Rmgr, r.Info, r.Major)]++
		}
		return out
	}
	var rec wal.Record
	var line []byte
	records := 0
	for ; r.Next(&rec) == nil; records++ {
		line = rec.AppendText(line[:0], describe)
		want, err := theirs.ReadString('\n')
		if err != nil || string(line) != strings.TrimSuffix(want, "\n") {
			t.Fatalf("record %d:\ngot  %s\nwant %s (%v)", records, line, want, err)
		}
	}
	if rest, err := theirs.ReadString('\n'); err == nil {
		t.Errorf("after %d records pg_waldump has another: %s", records, rest)
	}
	_ = cmd.Wait() // it ends with an error at the end of the WAL
	t.Logf("%d lines equal; %d operations described: %v", records, len(p.kinds), slices.Sorted(maps.Keys(p.kinds)))
}

// pages reads segments of TLI 1.
func (p *printed) pages(at pg.LSN) ([]byte, error) {
	n := pg.SegmentOf(at, p.size)
	f, err := os.Open(filepath.Join(p.dir, pg.SegmentName(1, n, p.size)))
	if err != nil {
		return nil, err
	}
	off := int64(at - n.Start(p.size))
	buf := make([]byte, min(p.size-off, 256<<10))
	_, err = f.ReadAt(buf, off)
	return buf, errors.Join(err, f.Close())
}
