package verify_test

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
	"redoubt/verify"
)

// TestUnprovenDialect: only stock PostgreSQL's and Neon's 15 can be clean
// without being told so, and nothing can be where the dialect is open.
func TestUnprovenDialect(t *testing.T) {
	neon := func(major int, proven bool) finding.Postgres {
		return finding.Postgres{Major: major, Dialect: "neon", DialectEvidence: 9, DialectProven: proven}
	}
	for _, c := range []struct {
		name      string
		postgres  finding.Postgres
		undecided int64
		accept    bool
		want      string
	}{
		{"stock", finding.Postgres{Major: 17, Dialect: "postgres", DialectProven: true}, 0, false, ""},
		{"Neon's 15", neon(15, true), 0, false, ""},
		{"Neon's 17", neon(17, false), 0, false, "unproven dialect: the redo of Neon's PostgreSQL 17"},
		{"Neon's 14", neon(14, false), 0, false, "unproven dialect: the redo of Neon's PostgreSQL 14"},
		{"Neon's 17, accepted", neon(17, false), 0, true, ""},
		{"undecided", finding.Postgres{Major: 15, Dialect: "postgres", DialectProven: true}, 3, true, "dialect: nothing in the WAL tells whether PostgreSQL or Neon wrote it, and for 3 records"},
	} {
		got := strings.Join(verify.DialectReasons(c.postgres, c.undecided, c.accept), "\n")
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// neonSpan is a span of real WAL of Neon's PostgreSQL 15, over the data
// directory its initdb made; the official side is what native redo makes of it,
// which TestNeonByPostgres of replay/server proves.
func neonSpan(t *testing.T) (o verify.Options, official string) {
	t.Helper()
	data, segment := pgtest.NeonSegment(t)
	archive, official := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(archive, pgtest.NeonSegmentName), segment, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(context.Background(), filepath.Join(data, "initdb.tar.zst"), snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	base := t.TempDir()
	for _, dir := range []string{base, official} {
		if err := s.Walk(context.Background(), unpack(dir)); err != nil {
			t.Fatal(err)
		}
	}
	const end = pg.LSN(0x1FFFF98)
	wal := dirWAL{archive, pg.DefaultSegmentSize}
	stopAt(t, official, end)
	redone(t, dirSnap{dir: base}, wal, pg.Range{From: 0x14AEB90, To: end}, official)
	return verify.Options{Base: dirSnap{dir: base}, Official: dirSnap{dir: official}, WAL: wal}, official
}

// stopAt makes a stopped data directory one that was stopped at an LSN.
func stopAt(t *testing.T, dir string, at pg.LSN) {
	t.Helper()
	const checkPoint, redo = 32, 40 // ControlFileData: checkPoint, checkPointCopy.redo
	path := filepath.Join(dir, datadir.ControlPath)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := redo
	for binary.LittleEndian.Uint32(raw[crc:]) != crc32.Checksum(raw[:crc], table) {
		crc++
	}
	binary.LittleEndian.PutUint64(raw[checkPoint:], uint64(at))
	binary.LittleEndian.PutUint64(raw[redo:], uint64(at))
	binary.LittleEndian.PutUint32(raw[crc:], crc32.Checksum(raw[:crc], table))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// unpack writes what it is shown to a directory.
type unpack string

func (u unpack) write(name string, at int64, b []byte) error {
	path := filepath.Join(string(u), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, at); err != nil {
		return err
	}
	return f.Close()
}

func (u unpack) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	return u.write(f.Path, int64(first%pg.BlocksPerFile)*pg.BlockSize, pages)
}

func (u unpack) EndRelation(f datadir.RelFile, _ int64) error { return u.write(f.Path, 0, nil) }
func (u unpack) File(path string, content []byte) error       { return u.write(path, 0, content) }

// redone writes the pages that native redo makes over a copy of the base.
func redone(t *testing.T, base verify.Snapshot, wal dirWAL, span pg.Range, dir string) {
	t.Helper()
	ctx := context.Background()
	e := native.New(native.Config{Scratch: t.TempDir(), DetectDialect: true}, wal, native.Span{Range: span, Clean: true})
	defer func() { _ = e.Close() }()
	_, err := e.Scan(ctx)
	if err == nil {
		err = base.Walk(ctx, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.Replay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, pg.BlockSize)
	for _, f := range res.Forks() {
		if err := unpack(dir).write(datadir.RelPath(f.RelFork, 0, ""), 0, nil); err != nil {
			t.Fatal(err)
		}
		err := res.EachTouched(f.RelFork, func(n pg.BlockNumber) error {
			p, err := res.Page(f.RelFork, n, buf)
			if err != nil {
				return err
			}
			return unpack(dir).write(datadir.RelPath(f.RelFork, 0, ""), int64(n)*pg.BlockSize, p.Bytes)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for s := range pg.SLRU(pg.NumSLRUs) {
		for _, n := range res.SLRUPages(s) {
			b, _, _, err := res.SLRUPage(pg.SLRUPage{SLRU: s, Page: n}, buf)
			if err == nil {
				err = unpack(dir).write(datadir.SLRUPath(pg.SLRUPage{SLRU: s, Page: n}), int64(n%pg.SLRUPagesPerSegment)*pg.BlockSize, b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNeonSpan verifies a span of Neon's WAL, from a data directory whose last
// record the WAL lacks: clean, the dialect named; then with a stale page; and
// by a server, which cannot.
func TestNeonSpan(t *testing.T) {
	o, dir := neonSpan(t)
	v, err := verify.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := finding.Postgres{Major: 15, SystemIdentifier: "7306539954587820903", Dialect: "neon", DialectEvidence: 72_657, DialectProven: true}
	if v.Verdict != finding.Clean || v.Postgres != want || v.WAL.Records != 72_925 || v.Coverage.BlocksCompared < 3_000 || v.Coverage.BlocksTainted != 0 {
		t.Errorf("%s, %+v, %d records, reasons %v; want clean, %+v", v.Verdict, v.Postgres, v.WAL.Records, v.Reasons, want)
	}
	t.Logf("%d blocks compared, %d of them replayed", v.Coverage.BlocksCompared, v.Coverage.BlocksReplayed)

	o.Engine = verify.EngineServer
	v, err = verify.Run(context.Background(), o)
	if err != nil || v.Verdict != finding.Inconclusive || len(v.Reasons) == 0 || !strings.Contains(v.Reasons[0], "Neon's dialect, which no PostgreSQL recovers from") {
		t.Errorf("by a server: %s, %v, error %v", v.Verdict, v.Reasons, err)
	}

	o.Engine = ""
	// pg_class, block 0: a page that the span changes.
	if err := unpack(dir).write("base/5/1259", 0, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	v, err = verify.Run(context.Background(), o)
	if err != nil || v.Verdict != finding.Discrepancies || len(v.Discrepancies) != 1 || v.Discrepancies[0].File != "base/5/1259" {
		t.Errorf("with a damaged page: %s, %+v, error %v", v.Verdict, v.Discrepancies, err)
	}
}
