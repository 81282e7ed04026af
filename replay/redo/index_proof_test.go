package redo_test

import (
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestIndexProof lets PostgreSQL judge the redo of Btree and Sequence, as
// TestHeapProof does for heaps.
func TestIndexProof(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			safe := major == 15
			c, p := startProof(t, major, pgtest.Checksums(safe), pgtest.FullPageWrites(safe))
			if *update && major == 17 {
				p.kept = map[string]realCase{}
			}
			indexWorkload(c)
			p.run(c, pg.RmgrBtree, pg.RmgrSequence)
			p.wantIndexOperations()
		})
	}
}

// wantIndexOperations fails the test for operations that no server wrote.
func (p *proof) wantIndexOperations() {
	p.t.Helper()
	for _, op := range []string{"Btree INSERT_LEAF", "Btree INSERT_UPPER", "Btree INSERT_META", "Btree SPLIT_L", "Btree SPLIT_R",
		"Btree INSERT_POST", "Btree DEDUP", "Btree DELETE", "Btree VACUUM", "Btree UNLINK_PAGE", "Btree UNLINK_PAGE_META",
		"Btree NEWROOT", "Btree MARK_PAGE_HALFDEAD", "Btree META_CLEANUP", "Sequence LOG"} {
		if p.compared[op] == 0 {
			p.t.Errorf("no image of %s was compared", op)
		}
	}
	for _, what := range []string{"page reused", "inner page split", "posting list split with its page, new item left",
		"posting list split with its page, new item right", "new item last on the left", "rightmost page split",
		"VACUUM shrinks a posting list", "DELETE shrinks a posting list", "leaf of a deleted branch", "first root", "higher root"} {
		if p.special[what] == 0 {
			p.t.Errorf("no %s was seen", what)
		}
	}
}

// countBtree counts variants of Btree records.
func (p *proof) countBtree(rec *wal.Record) {
	if rec.Rmgr != pg.RmgrBtree {
		return
	}
	count := func(is bool, what string) {
		if is {
			p.special[what]++
		}
	}
	switch op := rec.Op(); op {
	case wal.BtreeReusePage:
		count(true, "page reused")
	case wal.BtreeSplitL, wal.BtreeSplitR:
		s, err := wal.DecodeBtreeSplit(rec)
		left := op == wal.BtreeSplitL
		count(err == nil && s.Level > 0, "inner page split")
		count(s.PostingOffset != 0 && left, "posting list split with its page, new item left")
		count(s.PostingOffset != 0 && !left, "posting list split with its page, new item right")
		count(left && s.NewItem == s.FirstRight, "new item last on the left")
		count(rec.Block(2) == nil, "rightmost page split")
	case wal.BtreeVacuum, wal.BtreeDelete:
		if b := rec.Block(0); b != nil && b.HasData {
			d, err := wal.DecodeBtreeDeletion(rec, b)
			count(err == nil && d.Updated.Len() > 0, wal.OpName(rec.Rmgr, rec.Info, rec.Major)+" shrinks a posting list")
		}
	case wal.BtreeUnlinkPage, wal.BtreeUnlinkPageMeta:
		count(rec.Block(3) != nil, "leaf of a deleted branch")
	case wal.BtreeNewroot:
		level, err := wal.DecodeBtreeNewroot(rec)
		count(err == nil && level == 0, "first root")
		count(level > 0, "higher root")
	}
}

// indexWorkload makes PostgreSQL write every Btree and Sequence record.
func indexWorkload(c *pgtest.Cluster) {
	duplicates(c)
	shortLists(c)
	deepTree(c)
	churn(c)
	c.Exec(`CREATE SEQUENCE s CYCLE MAXVALUE 500`, `SELECT nextval('s') FROM generate_series(1, 900)`, `SELECT setval('s', 7)`,
		`ALTER SEQUENCE s INCREMENT BY -3 MINVALUE -900 RESTART 100`, `SELECT nextval('s') FROM generate_series(1, 100)`,
		`BEGIN; SELECT nextval('s') FROM generate_series(1, 100); ROLLBACK`, `CREATE TABLE ids (id bigserial PRIMARY KEY, v int)`,
		`INSERT INTO ids (v) SELECT i FROM generate_series(1, 1000) i`, `TRUNCATE ids RESTART IDENTITY`, `INSERT INTO ids (v) VALUES (1)`,
		`ALTER TABLE ids ALTER v TYPE text`, `REINDEX TABLE ids`, `REINDEX INDEX CONCURRENTLY ids_pkey`)
}

// duplicates fills indexes with few keys: their tuples are merged to posting
// lists; rows that take the place of vacuumed ones go into the middle of these.
func duplicates(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE dup (id int, k int, t text) WITH (fillfactor = 100)`,
		`CREATE INDEX dup_k ON dup (k)`, `CREATE INDEX dup_t ON dup (t)`, `CREATE UNIQUE INDEX dup_id ON dup (id) INCLUDE (k)`,
		`INSERT INTO dup SELECT i, i % 7, 'text ' || i % 5 FROM generate_series(1, 2000) i`)
	for i := range 6 {
		c.Exec(fmt.Sprintf(`DELETE FROM dup WHERE (id * 7919 / 16) %% 5 = %d`, i%5), `VACUUM dup`,
			fmt.Sprintf(`INSERT INTO dup SELECT i, i %% %d, 'text ' || i %% 4 FROM generate_series(%d, %d) i`, 5+i, 10000*(i+1), 10000*(i+1)+600))
	}
	c.Exec(`CHECKPOINT`, `DELETE FROM dup WHERE k = 3`, `VACUUM dup`, `INSERT INTO dup SELECT i, 3, 'text 3' FROM generate_series(100000, 101000) i`)
}

// shortLists has a key so long that its posting lists end at eight rows and a
// page holds six of them: many a page is split in the middle of a list.
func shortLists(c *pgtest.Cluster) {
	insert := func(from, to int) string {
		return fmt.Sprintf(`INSERT INTO short SELECT i, repeat('x', 1290) FROM generate_series(%d, %d) i`, from, to)
	}
	c.Exec(`CREATE TABLE short (id int, k text)`, `ALTER TABLE short ALTER k SET STORAGE PLAIN`, `CREATE INDEX short_k ON short (k)`, insert(1, 200))
	for i := range 20 {
		c.Exec(fmt.Sprintf(`DELETE FROM short WHERE id %% 2 = 0 AND (ctid::text::point)[0]::int %% 11 IN (%d, %d)`, i%11, (i+3)%11), `VACUUM short`, insert(1000*(i+1), 1000*(i+1)+100))
	}
}

// deepTree makes an index of few keys to a page, which is several levels high
// with some hundred rows, takes ranges and finally nearly all of it away, and
// grows it again: branches are deleted from the top, the root gets a fast root
// below it, and what grows there must move that.
func deepTree(c *pgtest.Cluster) {
	row := func(from, to int) string {
		return fmt.Sprintf(`INSERT INTO deep SELECT lpad(i::text, 8, '0') || repeat('x', 2200) FROM generate_series(%d, %d) i`, from, to)
	}
	c.Exec(`CREATE TABLE deep (k text)`, `ALTER TABLE deep ALTER k SET STORAGE PLAIN`, `CREATE INDEX deep_k ON deep (k)`, row(1, 60),
		`DELETE FROM deep`, `VACUUM deep`, row(1000, 1500), `DELETE FROM deep WHERE k BETWEEN '00001100' AND '00001300'`, `VACUUM deep`)
	for range 2 {
		// Deleted pages wait for a newer transaction before they are used again.
		c.Exec(`SELECT pg_current_xact_id()`, `VACUUM deep`)
	}
	c.Exec(row(1600, 1700), row(100, 130), `DELETE FROM deep WHERE k < '00001699'`, `VACUUM deep`, `VACUUM deep`,
		row(2000, 2100), `DELETE FROM deep WHERE k < '00002099'`, `VACUUM deep`, `SELECT pg_current_xact_id()`, `VACUUM deep`, row(3000, 3020))
}

// churn changes one indexed column again and again, so that the index on the
// other is full of versions of the same row, which are deleted before a page
// is split; scans mark entries dead, and the next insertion deletes these.
func churn(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE versions (id int PRIMARY KEY, n int, c int) WITH (fillfactor = 60)`, `CREATE INDEX versions_n ON versions (n)`,
		`CREATE INDEX versions_c ON versions (c)`, `INSERT INTO versions SELECT i, 0, i % 3 FROM generate_series(1, 300) i`)
	for i := range 12 {
		c.Exec(`UPDATE versions SET n = n + 1`)
		if i%3 == 2 {
			c.Exec(`SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(id) FROM versions WHERE id > 0; SELECT count(c) FROM versions WHERE c >= 0`)
		}
	}
	c.Exec(`UPDATE versions SET id = id + 5000 WHERE id % 2 = 0`, `VACUUM versions`,
		`CREATE UNIQUE INDEX CONCURRENTLY versions_u ON versions (id) INCLUDE (n, c)`, `INSERT INTO versions SELECT i, 1, 1 FROM generate_series(20000, 20400) i`,
		`DROP INDEX versions_c`)
}
