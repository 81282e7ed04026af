package wal_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestAgainstPgWalinspect compares WAL of a real PostgreSQL with what its
// extension pg_walinspect says, record by record, and each block reference
// with its data and its restored image, byte by byte: of 17, and to prove all
// of 16 and 18. 15's extension lists no block references (TestAgainstPgWaldump
// has them), and 14 has none (TestPostgres14AgainstPgWaldump).
func TestAgainstPgWalinspect(t *testing.T) {
	t.Parallel()
	majors := []int{17}
	if pgtest.Prove() {
		majors = []int{16, 17, 18}
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) { againstWalinspect(t, major) })
	}
}

func againstWalinspect(t *testing.T, major int) {
	t.Helper()
	c := pgtest.Server(t, major, pgtest.NoArchive(), pgtest.Conf("wal_keep_size", "4GB"),
		pgtest.Conf("max_prepared_transactions", "10"), pgtest.Conf("wal_compression", "pglz"))
	pgtest.Mixed{Clients: 2, Seed: 11, Rounds: 1}.Run(c)
	c.Exec("CREATE EXTENSION pg_walinspect", "CHECKPOINT",
		"CREATE TABLE many AS SELECT i, repeat(md5(i::text), 10) AS b FROM generate_series(1, 2000) i",
		"SET wal_consistency_checking = 'all'",
		"CREATE INDEX ON many (b)", "UPDATE many SET b = b || 'x' WHERE i % 50 = 0", "CHECKPOINT")
	const start = pg.LSN(0x1000028)
	end, err := pg.ParseLSN(c.Query("SELECT pg_current_wal_flush_lsn()")) // what follows, one of the queries below may see alone
	if err != nil {
		t.Fatal(err)
	}
	records, blocks := compareRecords(t, c, start, end)
	t.Logf("%d: %d records and %d block references equal", major, records, blocks)
	if records < 10_000 || blocks < 10_000 {
		t.Error("too few for a proof")
	}
}

type inspected struct {
	start, end, prev string
	xid              uint32
	rmgr, op         string
	length, main     uint32
	images           uint32
}

type inspectedBlock struct {
	start       string
	id          uint8
	spc, db     uint32
	rel         uint32
	fork        uint8
	number      uint32
	data, image []byte
}

// rows runs a query and hands each row to fn.
func rows(t *testing.T, conn *pgx.Conn, sql string, args []any, into []any, fn func()) {
	t.Helper()
	r, err := conn.Query(context.Background(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.ForEachRow(r, into, func() error { fn(); return nil }); err != nil {
		t.Fatal(err)
	}
}

func compareRecords(t *testing.T, c *pgtest.Cluster, start, end pg.LSN) (records, blocks int) {
	t.Helper()
	conn := c.Connect("postgres")
	var b inspectedBlock
	blocksOf := map[string][]inspectedBlock{}
	rows(t, conn, `SELECT start_lsn::text, block_id, reltablespace::int8, reldatabase::int8, relfilenode::int8, relforknumber,
			relblocknumber, coalesce(block_data, ''), block_fpi_data
		FROM pg_get_wal_block_info($1::text::pg_lsn, $2::text::pg_lsn)`, []any{start.String(), end.String()},
		[]any{&b.start, &b.id, &b.spc, &b.db, &b.rel, &b.fork, &b.number, &b.data, &b.image},
		func() {
			b.data, b.image = bytes.Clone(b.data), bytes.Clone(b.image)
			blocksOf[b.start] = append(blocksOf[b.start], b)
			blocks++
		})

	r := wal.NewReader(directory(filepath.Join(c.Data, "pg_wal"), 1, c.SegmentSize), wal.Config{
		Start: start, SegmentSize: c.SegmentSize, History: wal.NewHistory(1)})
	var rec wal.Record
	var want inspected
	rows(t, conn, `SELECT start_lsn::text, end_lsn::text, prev_lsn::text, xid::text::int8, resource_manager, record_type,
			record_length, main_data_length, fpi_length
		FROM pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn) ORDER BY start_lsn`, []any{start.String(), end.String()},
		[]any{&want.start, &want.end, &want.prev, &want.xid, &want.rmgr, &want.op, &want.length, &want.main, &want.images},
		func() {
			if err := r.Next(&rec); err != nil {
				t.Fatalf("record %d: %v; pg_walinspect has %+v", records, err, want)
			}
			records++
			got := inspected{rec.LSN.String(), rec.End.String(), rec.Prev.String(), uint32(rec.XID), rec.Rmgr.String(),
				wal.OpName(rec.Rmgr, rec.Info, rec.Major), rec.Length, uint32(len(rec.Main)), rec.Length - lengthWithoutImages(&rec)}
			if got != want {
				t.Fatalf("record differs\ngot  %+v\nwant %+v", got, want)
			}
			compareBlocks(t, &rec, blocksOf[want.start])
			describe(t, &rec) // every body decodes
		})
	return records, blocks
}

func compareBlocks(t *testing.T, rec *wal.Record, want []inspectedBlock) {
	t.Helper()
	if len(want) != len(rec.Blocks) {
		t.Fatalf("%s has %d block references, want %d", rec, len(rec.Blocks), len(want))
	}
	for _, w := range want {
		b := rec.Block(w.id)
		block := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: pg.OID(w.spc), DB: pg.OID(w.db), Rel: pg.OID(w.rel)},
			Fork: pg.ForkNumber(w.fork)}, Number: pg.BlockNumber(w.number)}
		if b == nil || b.Block != block || !bytes.Equal(b.Data, w.data) || b.HasImage != (w.image != nil) {
			t.Fatalf("%s: block reference %d differs\ngot  %+v\nwant %+v", rec, w.id, b, w)
		}
		if !b.HasImage {
			continue
		}
		page := bytes.Repeat([]byte{0xA5}, pg.BlockSize)
		if err := b.Image.Restore(page); err != nil {
			t.Fatal(fmt.Errorf("%s, block %d: %w", rec, b.ID, err))
		}
		if !bytes.Equal(page, w.image) {
			t.Fatalf("%s, block %d: restored image differs", rec, b.ID)
		}
	}
}
