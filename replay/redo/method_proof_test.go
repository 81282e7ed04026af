package redo_test

import (
	"fmt"
	"sync"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestMethodProof lets PostgreSQL judge the redo of Hash, Gist, BRIN and
// Generic (bloom), as TestHeapProof does for heaps.
func TestMethodProof(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			safe := major == 15 || major == 18
			c, p := startProof(t, major, pgtest.Checksums(safe), pgtest.FullPageWrites(safe))
			if *update && major == 17 {
				p.kept = map[string]realCase{}
			}
			for _, name := range []string{"bloom", "btree_gist", "pg_trgm"} {
				c.Exec("CREATE EXTENSION " + name)
			}
			hashWorkload(c)
			gistWorkload(c)
			brinWorkload(c)
			bloomWorkload(c)
			if safe {
				splitsUnderCheckpoints(t, c)
			}
			p.run(c, pg.RmgrHash, pg.RmgrGist, pg.RmgrBRIN, pg.RmgrGeneric)
			p.wantMethodOperations(safe)
		})
	}
}

// wantMethodOperations fails the test for operations that no server wrote.
// With full-page writes, images stand in for changes, and some are not the end
// of what redo does to their page.
func (p *proof) wantMethodOperations(images bool) {
	p.t.Helper()
	for _, op := range []string{
		"Hash INIT_META_PAGE", "Hash INIT_BITMAP_PAGE", "Hash INSERT", "Hash ADD_OVFL_PAGE", "Hash SPLIT_ALLOCATE_PAGE",
		"Hash SPLIT_COMPLETE", "Hash MOVE_PAGE_CONTENTS", "Hash SQUEEZE_PAGE", "Hash DELETE", "Hash SPLIT_CLEANUP",
		"Hash UPDATE_META_PAGE", "Hash VACUUM_ONE_PAGE",
		"Gist PAGE_UPDATE", "Gist DELETE", "Gist PAGE_SPLIT", "Gist PAGE_DELETE",
		"BRIN CREATE_INDEX", "BRIN INSERT", "BRIN INSERT+INIT", "BRIN UPDATE", "BRIN UPDATE+INIT", "BRIN SAMEPAGE_UPDATE",
		"BRIN REVMAP_EXTEND", "BRIN DESUMMARIZE", "Generic Generic"} {
		if p.compared[op] == 0 {
			p.t.Errorf("no image of %s was compared", op)
		}
	}
	want := []string{"hash page split", "GiST page reused", "GiST one for one", "GiST root split",
		"squeeze without items", "free overflow page used", "masks grow", "splitpoint grows", "buckets in phases"}
	if images {
		want = append(want, "image of a hash bucket to be split")
	}
	for _, what := range want {
		if p.special[what] == 0 {
			p.t.Errorf("no %s was seen", what)
		}
	}
}

// countMethods counts variants of the records of Hash and Gist.
func (p *proof) countMethods(rec *wal.Record) {
	count := func(is bool, what string) {
		if is {
			p.special[what]++
		}
	}
	switch op := rec.Op(); {
	case rec.Rmgr == pg.RmgrHash && op == wal.HashSplitPage:
		count(true, "hash page split")
	case rec.Rmgr == pg.RmgrHash && op == wal.HashInitMetaPage:
		m, err := wal.DecodeHashMetaInit(rec)
		count(err == nil && m.Tuples > 400000, "buckets in phases")
	case rec.Rmgr == pg.RmgrHash && op == wal.HashSqueezePage:
		m, err := wal.DecodeHashMove(rec)
		count(err == nil && m.Tuples == 0, "squeeze without items")
	case rec.Rmgr == pg.RmgrHash && op == wal.HashAddOvflPage:
		a, err := wal.DecodeHashOverflow(rec)
		count(err == nil && a.BitmapFound, "free overflow page used")
		count(rec.Block(3) != nil, "new bitmap page")
	case rec.Rmgr == pg.RmgrHash && op == wal.HashSplitAllocate:
		s, err := wal.DecodeHashSplit(rec)
		count(err == nil && s.Flags&wal.HashSplitMasks != 0, "masks grow")
		count(s.Flags&wal.HashSplitSplitpoint != 0, "splitpoint grows")
		count(imaged(rec.Block(0)), "image of a hash bucket to be split")
	case rec.Rmgr == pg.RmgrHash && op == wal.HashSplitComplete:
		count(imaged(rec.Block(0)) || imaged(rec.Block(1)), "image of a hash bucket that was split")
	case rec.Rmgr == pg.RmgrGist && op == wal.GistPageReuse:
		count(true, "GiST page reused")
	case rec.Rmgr == pg.RmgrGist && op == wal.GistPageUpdate:
		count(imaged(rec.Block(1)), "image of a GiST page whose split is completed")
		count(len(rec.Main) == 4 && rec.Main[0] == 1 && rec.Main[2] == 1 && rec.Main[1]|rec.Main[3] == 0, "GiST one for one")
	case rec.Rmgr == pg.RmgrGist && op == wal.GistPageSplit:
		first := rec.Block(1)
		count(first != nil && first.Number == 0, "GiST root split")
		count(rec.Block(0) != nil, "GiST split completes a split below")
		count(imaged(rec.Block(0)), "image of a GiST page whose split is completed")
	}
}

// imaged says whether redo restores the block from an image.
func imaged(ref *wal.BlockRef) bool { return ref != nil && ref.HasImage && ref.Image.Apply }

// leftChild brings the image of a GiST page whose split the record completes
// up to what the primary did to the page after it had made the image.
func leftChild(rec *wal.Record, ref *wal.BlockRef, image page.Page) {
	if rec.Rmgr != pg.RmgrGist || rec.Op() != wal.GistPageUpdate && rec.Op() != wal.GistPageSplit {
		return
	}
	if ref.ID == 1 && rec.Op() == wal.GistPageUpdate || ref.ID == 0 && rec.Op() == wal.GistPageSplit {
		lsn := image.LSN()
		image.SetLSN(rec.End)
		copy(image[pg.BlockSize-16:], image[:8])
		image.SetLSN(lsn)
		image[pg.BlockSize-4] &^= 0x08
	}
}

// hashWorkload makes PostgreSQL write every Hash record.
func hashWorkload(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE h (id int, k int, t text)`, `CREATE INDEX h_k ON h USING hash (k) WITH (fillfactor = 40)`,
		`INSERT INTO h SELECT i, i, 'text ' || i FROM generate_series(1, 3000) i`, `CREATE INDEX h_t ON h USING hash (t)`,
		// Few keys: long chains of overflow pages.
		`CREATE INDEX h_few ON h USING hash ((id % 4))`,
		`INSERT INTO h SELECT i, i % 40, 'text ' || i % 9 FROM generate_series(3001, 9000) i`, `CHECKPOINT`,
		`DELETE FROM h WHERE id % 3 = 0`, `VACUUM h`, `INSERT INTO h SELECT i, i % 7, 'text ' || i FROM generate_series(9001, 11000) i`,
		`DELETE FROM h WHERE id BETWEEN 3500 AND 8500`, `VACUUM h`, `DELETE FROM h WHERE id % 5 < 4`, `VACUUM h`,
		`INSERT INTO h SELECT i, i, 'x' || i FROM generate_series(1, 2500) i`, `DELETE FROM h`, `VACUUM h`,
		`INSERT INTO h SELECT i, i % 3, 'y' FROM generate_series(1, 1500) i`)
	// An index for so many expected rows that its buckets come in phases.
	c.Exec(`CREATE TABLE hmany (k int)`, `INSERT INTO hmany VALUES (1)`,
		`UPDATE pg_class SET relpages = 1, reltuples = 500000 WHERE relname = 'hmany'`, `CREATE INDEX hmany_k ON hmany USING hash (k)`)
	// A scan marks the items of deleted rows; the next insertion into a full page takes them out.
	c.Exec(`CREATE TABLE hdead (k int, v int) WITH (fillfactor = 50)`, `CREATE INDEX hdead_k ON hdead USING hash (k)`,
		`INSERT INTO hdead SELECT 1, i FROM generate_series(1, 500) i`, `SET synchronous_commit = on`, `DELETE FROM hdead WHERE v % 2 = 0`,
		`SET enable_seqscan = off`, `SET enable_bitmapscan = off`, `SELECT count(v) FROM hdead WHERE k = 1`,
		`INSERT INTO hdead SELECT 1, i FROM generate_series(1, 700) i`)
}

// gistWorkload makes PostgreSQL write every Gist record but ASSIGN_LSN.
func gistWorkload(c *pgtest.Cluster) {
	point := func(from, to int) string {
		return fmt.Sprintf(`INSERT INTO g SELECT i, point((i * 7919) %% 1000, (i * 104729) %% 997), int4range(i %% 500, i %% 500 + i %% 50), md5(i::text)
			FROM generate_series(%d, %d) i`, from, to)
	}
	c.Exec(`CREATE TABLE g (id int, p point, r int4range, t text)`, `CREATE INDEX g_p ON g USING gist (p)`, point(1, 1500), `CHECKPOINT`,
		`CREATE INDEX g_r ON g USING gist (r)`, `CREATE INDEX g_id ON g USING gist (id) INCLUDE (r)`, `CREATE INDEX g_t ON g USING gist (t gist_trgm_ops)`,
		`CREATE INDEX g_sorted ON g USING gist (p)`, `CREATE INDEX g_buffered ON g USING gist (r, p) WITH (buffering = on, fillfactor = 60)`,
		point(1501, 2500), `CHECKPOINT`, point(2501, 3000), `UPDATE g SET p = point(id, id) WHERE id % 4 = 0`, `VACUUM g`,
		`CREATE TABLE booked (room int, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&))`,
		`INSERT INTO booked SELECT i % 5, tsrange('2020-01-01'::timestamp + i * '1 hour'::interval, '2020-01-01'::timestamp + i * '1 hour'::interval + '20 minutes'::interval) FROM generate_series(1, 800) i`)
	// Whole leaves go, wait for a newer transaction, and are used again.
	c.Exec(`DELETE FROM g WHERE id > 200`, `VACUUM g`, `SELECT pg_current_xact_id()`, `VACUUM g`, `SELECT pg_current_xact_id()`, `VACUUM g`, point(6000, 7500))
	c.Exec(`CREATE TABLE gdead (p point, v int) WITH (fillfactor = 50)`, `CREATE INDEX gdead_p ON gdead USING gist (p)`,
		`INSERT INTO gdead SELECT point(1, i % 7), i FROM generate_series(1, 600) i`, `SET synchronous_commit = on`, `DELETE FROM gdead WHERE v % 2 = 0`,
		`SET enable_seqscan = off`, `SET enable_bitmapscan = off`, `SELECT count(v) FROM gdead WHERE p <@ box(point(0, 0), point(9, 9))`,
		`INSERT INTO gdead SELECT point(1, i % 7), i FROM generate_series(1, 600) i`)
}

// splitsUnderCheckpoints splits pages of GiST and hash indexes after and between
// checkpoints. Where there are 200 buckets, 10 rows after a checkpoint leave the
// bucket that they split untouched before, so its image is in the record. Then
// one checkpoint follows the other, and some may begin between the records of a
// split.
func splitsUnderCheckpoints(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	c.Exec(`CREATE TABLE gwide (t text)`, `ALTER TABLE gwide ALTER t SET STORAGE PLAIN`, `CREATE INDEX gwide_t ON gwide USING gist (t)`,
		`CREATE TABLE hwide (k int)`, `CREATE INDEX hwide_k ON hwide USING hash (k) WITH (fillfactor = 10)`,
		`INSERT INTO hwide SELECT generate_series(-8000, -1)`)
	for i := range 20 {
		c.Exec(`CHECKPOINT`, fmt.Sprintf(`INSERT INTO hwide SELECT generate_series(%d, %d)`, -10000+i*10, -9991+i*10))
	}
	conn := c.Connect("postgres")
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 60 {
			execOn(t, conn.PgConn(), fmt.Sprintf(`INSERT INTO gwide SELECT repeat(md5(i::text), 25) FROM generate_series(%d, %d) i`, i*20, i*20+19))
			execOn(t, conn.PgConn(), fmt.Sprintf(`INSERT INTO hwide SELECT i FROM generate_series(%d, %d) i`, i*100, i*100+99))
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			c.Exec(`CHECKPOINT`)
		}
	}
	wg.Wait()
}

// brinWorkload makes PostgreSQL write every BRIN record. Ranges of one block
// make the revmap grow over pages that are in use.
func brinWorkload(c *pgtest.Cluster) {
	rows := func(from, to int) string {
		return fmt.Sprintf(`INSERT INTO br SELECT i, md5(i::text), repeat('p', 2400) FROM generate_series(%d, %d) i`, from, to)
	}
	c.Exec(`CREATE TABLE br (id int, t text, pad text) WITH (autovacuum_enabled = off)`, `ALTER TABLE br ALTER pad SET STORAGE PLAIN`,
		`CREATE INDEX br_id ON br USING brin (id) WITH (pages_per_range = 1)`,
		`CREATE INDEX br_t ON br USING brin (t) WITH (pages_per_range = 1, autosummarize = off)`,
		`CREATE INDEX br_multi ON br USING brin (id int4_minmax_multi_ops) WITH (pages_per_range = 2)`,
		`CREATE INDEX br_bloom ON br USING brin (t text_bloom_ops) WITH (pages_per_range = 16)`,
		rows(1, 1500), `SELECT brin_summarize_new_values('br_id'), brin_summarize_new_values('br_t'), brin_summarize_new_values('br_multi'), brin_summarize_new_values('br_bloom')`,
		`CHECKPOINT`, rows(1501, 3200), `DELETE FROM br WHERE id % 3 = 0 AND id < 2500`, `VACUUM br`,
		`INSERT INTO br SELECT i * 100, repeat('t', i % 700), repeat('q', 500) FROM generate_series(1, 1500) i`, rows(3201, 4600), `VACUUM br`,
		`SELECT brin_desummarize_range('br_id', i), brin_desummarize_range('br_t', i) FROM generate_series(0, 1500, 7) i`,
		`SELECT brin_summarize_range('br_id', i), brin_summarize_range('br_t', i) FROM generate_series(0, 1500, 14) i`,
		`UPDATE br SET t = repeat('u', id % 900), id = -id WHERE id % 5 = 0`, `VACUUM br`, `REINDEX TABLE br`)
}

// bloomWorkload makes PostgreSQL write Generic records.
func bloomWorkload(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE bl (a int, b int, c text)`, `CREATE INDEX bl_abc ON bl USING bloom (a, b, c) WITH (length = 160)`,
		`INSERT INTO bl SELECT i, i % 10, md5(i::text) FROM generate_series(1, 3000) i`, `CHECKPOINT`,
		`DELETE FROM bl WHERE a % 3 = 0 OR a BETWEEN 1000 AND 2000`, `VACUUM bl`, `INSERT INTO bl SELECT i, i, 'again' FROM generate_series(1, 2000) i`,
		`CREATE INDEX bl_b ON bl USING bloom (b)`, `DELETE FROM bl WHERE b > 100`, `VACUUM bl`, `INSERT INTO bl SELECT i, i, 'x' FROM generate_series(1, 900) i`)
}
