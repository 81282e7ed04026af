package verify_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/archive"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
	"redoubt/replay/server"
	"redoubt/verify"
)

// lifeSetting is one cluster of TestClusterLife.
type lifeSetting struct {
	major, segmentMiB int
	checksums         bool
	bigBlocks         int64 // of a table of several files, nearly all of it a hole
}

func (s lifeSetting) String() string {
	return fmt.Sprintf("%d checksums=%t segments=%dMiB", s.major, s.checksums, s.segmentMiB)
}

func lifeSettings() []lifeSetting {
	some := []lifeSetting{
		{15, 1, false, 0},
		{17, 64, true, pg.BlocksPerFile + 40},
	}
	if !pgtest.Prove() {
		return some
	}
	for _, major := range pgtest.Majors {
		for i, segment := range []int{1, 64} {
			for _, checksums := range []bool{false, true} {
				s := lifeSetting{major, segment, checksums, int64(i+1)*pg.BlocksPerFile + 40}
				if !slices.Contains(some, s) {
					some = append(some, s)
				}
			}
		}
	}
	return some
}

// TestClusterLife verifies what a cluster's years bring, in one span: crashes,
// a failover in the middle of a segment after which the old primary went on,
// settings switched, tablespaces and databases that come, move and go, and
// relations that are rewritten in every way. Both histories must verify, each
// against the server that lived it.
func TestClusterLife(t *testing.T) {
	for _, s := range lifeSettings() {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel() // with each other: a server rarely needs a core of its own
			l := newLife(t, s)
			l.settle()
			l.backup()
			l.onPrimary()
			l.failover()
			l.onSuccessor()
			l.judge()
		})
	}
}

type life struct {
	*pgtest.Cluster // the primary
	lifeSetting
	t         *testing.T
	successor *pgtest.Cluster
	base      pgtest.Backup
	big       string   // path of a table of several files
	methods   []string // of wal_compression
}

func newLife(t *testing.T, s lifeSetting) *life {
	opts := []pgtest.Option{pgtest.WALSegmentMiB(s.segmentMiB), pgtest.Checksums(s.checksums), pgtest.Conf("max_wal_size", "4GB")}
	l := &life{lifeSetting: s, t: t}
	if tool := pgtest.FindTool(s.major, "pg_waldump"); tool != "" { // Debian's, which has lz4 and zstd
		l.Cluster = pgtest.New(t, pgtest.Install{Major: s.major, Version: fmt.Sprint(s.major), Bin: filepath.Dir(tool)}, opts...)
	} else {
		l.Cluster = pgtest.Server(t, s.major, opts...)
	}
	for _, m := range []string{"on", "pglz", "lz4", "zstd"} {
		if l.TryExec("postgres", "SET wal_compression = "+m) == nil {
			l.methods = append(l.methods, m)
		}
	}
	return l
}

// judge verifies both histories, each against the server that lived it.
func (l *life) judge() {
	l.CompleteArchive()
	l.successor.CompleteArchive()
	theirs := l.options(l.successor, 2)
	v := mustVerify(l.t, theirs)
	wantClean(l.t, v)
	proved(l.t, l.successor, v, l.wantSeen(theirs.WAL.(*archive.Source)))
	ours := l.options(l.Cluster, 1)
	wantClean(l.t, mustVerify(l.t, ours))
	if l.bigBlocks == 0 { // there is time left
		ours.WAL = theirs.WAL
		if v, err := verify.Run(context.Background(), ours); err == nil && v.Verdict == finding.Clean {
			l.t.Errorf("the dead branch is clean by the WAL of the other: %s", describe(v))
		}
		return
	}
	l.plant(ours)
}

// options are for a verification of a server along the history of its TLI.
func (l *life) options(c *pgtest.Cluster, tli pg.TLI) verify.Options {
	o := verify.Options{
		Base: openSnap(l.t, l.base.Dir), Official: openSnap(l.t, c.Data), WAL: openWAL(l.t, l.Archive, tli), Timeline: "test",
		Native: native.Config{Scratch: l.t.TempDir()},
	}
	if pgtest.Prove() {
		o.Engine, o.Server = verify.EngineBoth, server.Config{Bins: server.Bins{Dir: c.Bin}, Scratch: c.Dir("scratch")}
	}
	return o
}

// wantSeen fails the test where the span's WAL lacks what it should hold. It
// returns the records by resource manager and operation.
func (l *life) wantSeen(src *archive.Source) map[string]int64 {
	ws, err := src.Open(context.Background(), l.base.Start)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	r := wal.NewReader(ws.ReadPages, wal.Config{Start: l.base.Start, SegmentSize: l.SegmentSize, History: src.History()})
	seen, records := map[string]int{}, map[string]int64{}
	var rec wal.Record
	for r.Next(&rec) == nil {
		records[kind(rec.Rmgr, rec.Info, rec.Major)]++
		for i := range rec.Blocks {
			if b := &rec.Blocks[i]; b.HasImage {
				seen["image "+b.Image.Compression.String()]++
			}
			if rec.Blocks[i].Number >= pg.BlocksPerFile {
				seen["second file"]++
			}
		}
	}
	want := []string{"XLOG END_OF_RECOVERY", "XLOG PARAMETER_CHANGE", "XLOG FPI_FOR_HINT", "Storage CREATE", "Storage TRUNCATE", "RelMap UPDATE",
		"Tablespace CREATE", "Tablespace DROP", "Database DROP", "Transaction COMMIT_PREPARED", "image pglz"}
	want = append(want, l.since(15, "Database CREATE_FILE_COPY", "Database CREATE_WAL_LOG")...)
	for _, m := range l.methods {
		if m == "lz4" || m == "zstd" {
			want = append(want, "image "+m)
		}
	}
	if l.bigBlocks > 0 {
		want = append(want, "second file")
	}
	for _, what := range want {
		if seen[what] == 0 && records[what] == 0 {
			l.t.Errorf("the span has no %s", what)
		}
	}
	l.t.Logf("%v %v", seen, records)
	return records
}

// plant damages a block of the table's second file: it must be found there.
func (l *life) plant(o verify.Options) {
	n := pg.BlockNumber(pg.BlocksPerFile + 3)
	pgtest.ChangeBlock(l.t, l.Data, l.big, n, func(p []byte) { p[pg.BlockSize-100] ^= 1 })
	v := mustVerify(l.t, o)
	if len(v.Discrepancies) != 1 || v.Discrepancies[0].File != l.big+".1" || v.Discrepancies[0].Offset != 3*pg.BlockSize || *v.Discrepancies[0].Block != int64(n) {
		l.t.Errorf("want one discrepancy in block %d, the fourth of %s.1: %s", n, l.big, describe(v))
	}
}
