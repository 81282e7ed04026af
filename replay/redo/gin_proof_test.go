package redo_test

import (
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestGinProof lets PostgreSQL judge the redo of Gin, as TestHeapProof does
// for heaps.
func TestGinProof(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			safe := major == 15
			c, p := startProof(t, major, pgtest.Checksums(safe), pgtest.FullPageWrites(safe))
			ginWorkload(c)
			if *update && major == 17 {
				p.kept = map[string]realCase{}
			}
			p.run(c, pg.RmgrGin)
			p.wantSeen("Gin", []string{"CREATE_PTREE", "INSERT", "VACUUM_DATA_LEAF_PAGE", "DELETE_PAGE", "UPDATE_META_PAGE",
				"INSERT_LISTPAGE", "DELETE_LISTPAGE"},
				"entry inserted", "entry replaced", "entry inner tuple inserted", "downlink inserted into a posting tree",
				"segment deleted", "segment inserted", "segment replaced", "items added to a segment",
				"split of a root", "split that completes a child's", "page of the pending list is not the row's last",
				"tail of the pending list grows", "tail of the pending list is linked", "statistics of a metapage", "several list pages deleted at once")
		})
	}
}

// wantSeen fails the test for operations that no server wrote, and for
// variants of them that none did.
func (p *proof) wantSeen(rmgr string, ops []string, variants ...string) {
	p.t.Helper()
	for _, op := range ops {
		if p.compared[rmgr+" "+op] == 0 {
			p.t.Errorf("no image of %s %s was compared", rmgr, op)
		}
	}
	for _, what := range variants {
		if p.special[what] == 0 {
			p.t.Errorf("no %s was seen", what)
		}
	}
}

// countGin counts variants of Gin records.
func (p *proof) countGin(rec *wal.Record) {
	if rec.Rmgr != pg.RmgrGin {
		return
	}
	count := func(is bool, what string) {
		if is {
			p.special[what]++
		}
	}
	data := rec.Block(0)
	switch rec.Op() {
	case wal.GinInsert:
		in, _ := wal.DecodeGinInsert(rec)
		e, _ := wal.DecodeGinEntry(rec, data)
		count(data.HasData && !in.Data && in.Leaf && !e.Replace, "entry inserted")
		count(data.HasData && !in.Data && in.Leaf && e.Replace, "entry replaced")
		count(data.HasData && !in.Data && !in.Leaf, "entry inner tuple inserted")
		count(data.HasData && in.Data && !in.Leaf, "downlink inserted into a posting tree")
		if data.HasData && in.Data && in.Leaf {
			p.countSegments(rec, data)
		}
	case wal.GinVacuumDataLeafPage:
		if data.HasData {
			p.countSegments(rec, data)
		}
	case wal.GinSplit:
		s, _ := wal.DecodeGinSplit(rec)
		count(s.Root, "split of a root")
		count(!s.Leaf && rec.Block(3) != nil, "split that completes a child's")
	case wal.GinUpdateMetaPage:
		u, _ := wal.DecodeGinUpdateMeta(rec)
		count(u.Tuples > 0, "tail of the pending list grows")
		count(u.Tuples == 0 && u.PrevTail != pg.InvalidBlock, "tail of the pending list is linked")
		count(rec.Block(1) == nil, "statistics of a metapage")
	case wal.GinInsertListPage:
		right, _, _ := wal.DecodeGinInsertListPage(rec)
		count(right != pg.InvalidBlock, "page of the pending list is not the row's last")
	case wal.GinDeleteListPages:
		_, n, _ := wal.DecodeGinDeleteListPages(rec)
		count(n > 1, "several list pages deleted at once")
	}
}

func (p *proof) countSegments(rec *wal.Record, data *wal.BlockRef) {
	actions, err := wal.DecodeGinActions(rec, data)
	for err == nil {
		var a wal.GinAction
		var ok bool
		if a, ok, err = actions.Next(); !ok {
			return
		}
		p.special[[]string{wal.GinSegmentDelete: "segment deleted", wal.GinSegmentInsert: "segment inserted",
			wal.GinSegmentReplace: "segment replaced", wal.GinSegmentAdd: "items added to a segment"}[a.Kind]]++
	}
}

// ginWorkload makes PostgreSQL write every Gin record.
func ginWorkload(c *pgtest.Cluster) {
	c.Exec(`ALTER DATABASE postgres SET wal_consistency_checking = 'gin'`)
	c.Exec(`CREATE EXTENSION btree_gin`, `CREATE EXTENSION pg_trgm`, `CREATE EXTENSION intarray`, `CREATE EXTENSION hstore`)
	postingTrees(c)
	ginKeys(c)
	pendingLists(c)
	c.Exec(`CREATE TABLE doc (id int, j jsonb, p jsonb, t text, v tsvector, h hstore, k int, at date)`,
		`CREATE INDEX doc_j ON doc USING gin (j) WITH (fastupdate = off)`, `CREATE INDEX doc_p ON doc USING gin (p jsonb_path_ops)`,
		`CREATE INDEX doc_t ON doc USING gin (t gin_trgm_ops) WITH (fastupdate = off)`, `CREATE INDEX doc_v ON doc USING gin (v)`,
		`CREATE INDEX doc_h ON doc USING gin (h) WITH (fastupdate = off)`, `CREATE INDEX doc_k ON doc USING gin (k, at)`)
	for i := range 3 {
		c.Exec(fmt.Sprintf(`INSERT INTO doc SELECT i, jsonb_build_object('k' || i %% 13, i, 'list', jsonb_build_array(i %% 5, i %% 7, NULL)),
				jsonb_build_object('a', jsonb_build_object('b', i %% 9)), substr(md5(i::text), 1, 9), to_tsvector('simple', 'word' || i %% 31 || ' other' || i %% 4),
				hstore('x' || i %% 17, (i %% 6)::text), i %% 11, date '2024-01-01' + i %% 40 FROM generate_series(%d, %d) i`, i*90, i*90+89),
			fmt.Sprintf(`UPDATE doc SET j = j || '{"new": %d}', v = NULL WHERE id %% 8 = %d`, i, i), fmt.Sprintf(`DELETE FROM doc WHERE id %% 5 = %d`, i), `VACUUM doc`, `CHECKPOINT`)
	}
	c.Exec(`REINDEX TABLE doc`, `REINDEX INDEX CONCURRENTLY doc_v`, `INSERT INTO doc (id, t) VALUES (-1, 'short'), (-2, NULL), (-3, '')`, `VACUUM doc`)
}

// postingTrees has a key so frequent that it gets a tree of its own, of many
// pages. Pages from its middle are emptied and deleted, it grows at its end, then
// in the middle, where rows take the place of deleted ones.
func postingTrees(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE tree (id int, a int[]) WITH (fillfactor = 100)`, `INSERT INTO tree SELECT i, ARRAY[7] FROM generate_series(1, 60000) i`,
		`CREATE INDEX tree_a ON tree USING gin (a) WITH (fastupdate = off)`, `INSERT INTO tree SELECT i, ARRAY[8, 7] FROM generate_series(60000, 64500) i`,
		`DELETE FROM tree WHERE id BETWEEN 12000 AND 48000 OR id % 4 = 1`, `VACUUM tree`, `SELECT pg_current_xact_id()`, `VACUUM tree`,
		`INSERT INTO tree SELECT i, ARRAY[7] FROM generate_series(100000, 102000) i`)
	// The numbers in this key's lists take several bytes each.
	c.Exec(`CREATE TABLE sparse (id int, a int[], pad text)`, `ALTER TABLE sparse ALTER pad SET STORAGE PLAIN`,
		`INSERT INTO sparse SELECT i, CASE WHEN i % 16 = 0 THEN ARRAY[1, i % 3 + 10] END, repeat('x', 700) FROM generate_series(1, 30000) i`,
		`CREATE INDEX sparse_a ON sparse USING gin (a) WITH (fastupdate = off)`, `UPDATE sparse SET a = ARRAY[1, 20] WHERE id % 16 = 1 AND id < 7000`,
		`DELETE FROM sparse WHERE id BETWEEN 3000 AND 9000`, `VACUUM sparse`, `INSERT INTO sparse SELECT i, ARRAY[1, 2, 3], repeat('y', 650) FROM generate_series(40000, 40500) i`,
		`CHECKPOINT`, `DELETE FROM sparse WHERE id % 7 = 2`, `VACUUM sparse`, `DELETE FROM sparse`, `VACUUM sparse`)
}

// ginKeys has keys so long that few fit a page: the entry tree gets several
// levels with some hundred rows. Nothing in them can be compressed.
func ginKeys(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE keys (id int, a text[])`, `CREATE INDEX keys_a ON keys USING gin (a) WITH (fastupdate = off)`,
		`CREATE FUNCTION long(int) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(md5($1 || 'k' || k), '') FROM generate_series(1, 35) k $$`)
	for i := range 3 {
		c.Exec(fmt.Sprintf(`INSERT INTO keys SELECT i, ARRAY[long(i), long(-i / 3)] FROM generate_series(%d, %d) i`, i*200, i*200+199),
			fmt.Sprintf(`DELETE FROM keys WHERE id %% 3 = %d`, i), `VACUUM keys`)
	}
}

// pendingLists grows lists of pages that wait for their merge, and merges them.
func pendingLists(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE pending (id int, a int[], t text[])`, `CREATE INDEX pending_a ON pending USING gin (a)`,
		`CREATE INDEX pending_t ON pending USING gin (t) WITH (gin_pending_list_limit = 256)`)
	for i := range 3 {
		c.Exec(fmt.Sprintf(`INSERT INTO pending SELECT i, ARRAY[i, i %% 7, %d], ARRAY['t' || i, repeat('u', i)] FROM generate_series(1, 400) i`, i),
			// One row with more keys than a page of the list holds.
			fmt.Sprintf(`INSERT INTO pending SELECT 0, array_agg(i), array_agg('row' || i || repeat('r', 40)) FROM generate_series(1, 900 + %d) i`, i),
			`SELECT gin_clean_pending_list('pending_a')`, fmt.Sprintf(`DELETE FROM pending WHERE id %% 4 = %d`, i), `VACUUM pending`)
	}
	c.Exec(`INSERT INTO pending SELECT i, ARRAY[i, 7], ARRAY['last'] FROM generate_series(1, 300) i`)
}
