package redo_test

import (
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestSPGistProof lets PostgreSQL judge the redo of SPGist, as TestHeapProof
// does for heaps.
func TestSPGistProof(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			safe := major == 15
			c, p := startProof(t, major, pgtest.Checksums(safe), pgtest.FullPageWrites(safe))
			spgistWorkload(c)
			if *update && major == 17 {
				p.kept = map[string]realCase{}
			}
			p.run(c, pg.RmgrSPGist)
			p.wantSeen("SPGist", []string{"ADD_LEAF", "MOVE_LEAFS", "ADD_NODE", "SPLIT_TUPLE", "PICKSPLIT", "VACUUM_LEAF", "VACUUM_ROOT", "VACUUM_REDIRECT"},
				"leaf on a new page", "leaf with a chain of its own", "leaf second in its chain", "leaf in place of a dead tuple", "leaf of a null",
				"chain moved to a new page", "chain moved", "dead chain moved",
				"node added in place", "node added, tuple moved, parent on its own page", "node added, tuple moved, parent on the old page",
				"postfix on the same page", "postfix on another page",
				"root split", "split chain's page new", "split chain leaves its page", "inner tuple on the parent's page", "inner tuple on another page",
				"leaves moved within their chain", "chains mended", "chain dies",
				"redirects forgotten", "placeholders cut off")
		})
	}
}

// countSPGist counts variants of SPGist records.
func (p *proof) countSPGist(rec *wal.Record) {
	if rec.Rmgr != pg.RmgrSPGist {
		return
	}
	count := func(is bool, what string) {
		if is {
			p.special[what]++
		}
	}
	switch rec.Op() {
	case wal.SPGistAddLeaf:
		l, _ := wal.DecodeSPGistAddLeaf(rec)
		count(l.NewPage, "leaf on a new page")
		count(l.Head == 0, "leaf with a chain of its own")
		count(l.Head != 0 && l.Head != l.Offset, "leaf second in its chain")
		count(l.Head == l.Offset, "leaf in place of a dead tuple")
		count(l.Nulls, "leaf of a null")
	case wal.SPGistMoveLeafs:
		m, _ := wal.DecodeSPGistMoveLeafs(rec)
		count(m.NewPage, "chain moved to a new page")
		count(!m.NewPage, "chain moved")
		count(m.Insert.Len() == m.Delete.Len(), "dead chain moved")
	case wal.SPGistAddNode:
		n, _ := wal.DecodeSPGistAddNode(rec)
		count(rec.Block(1) == nil, "node added in place")
		count(n.ParentBlock == 2, "node added, tuple moved, parent on its own page")
		count(n.ParentBlock == 1, "node added, tuple moved, parent on the new page")
		count(n.ParentBlock == 0 && rec.Block(1) != nil, "node added, tuple moved, parent on the old page")
	case wal.SPGistSplitTuple:
		s, _ := wal.DecodeSPGistSplitTuple(rec)
		count(s.SamePage, "postfix on the same page")
		count(!s.SamePage, "postfix on another page")
	case wal.SPGistPickSplit:
		s, _ := wal.DecodeSPGistPickSplit(rec)
		count(s.Root, "root split")
		count(s.InitSrc && !s.Root, "split chain's page new")
		count(!s.Root && rec.Block(1) != nil, "split chain leaves its page")
		count(s.InnerIsParent, "inner tuple on the parent's page")
		count(!s.InnerIsParent && !s.Root, "inner tuple on another page")
	case wal.SPGistVacuumLeaf:
		v, _ := wal.DecodeSPGistVacuumLeaf(rec)
		count(v.MoveFrom.Len() > 0, "leaves moved within their chain")
		count(v.ChainFrom.Len() > 0, "chains mended")
		count(v.Dead.Len() > 0, "chain dies")
	case wal.SPGistVacuumRedirect:
		v, _ := wal.DecodeSPGistVacuumRedirect(rec)
		count(v.ToPlaceholder.Len() > 0, "redirects forgotten")
		count(v.FirstPlaceholder != 0, "placeholders cut off")
	}
}

// spgistWorkload makes PostgreSQL write every SPGist record.
func spgistWorkload(c *pgtest.Cluster) {
	c.Exec(`ALTER DATABASE postgres SET wal_consistency_checking = 'spgist'`)
	c.Exec(`CREATE TABLE tiny (id int, p point)`, `CREATE INDEX tiny_p ON tiny USING spgist (p)`,
		`INSERT INTO tiny SELECT i, CASE WHEN i % 4 > 0 THEN point(i, i) END FROM generate_series(1, 40) i`, `DELETE FROM tiny WHERE id % 3 = 0`, `VACUUM tiny`,
		`INSERT INTO tiny SELECT i, point(i, i) FROM generate_series(1, 10) i`)
	geometry(c)
	radix(c)
	c.Exec(`CREATE TABLE many (id int, r int4range, i inet, b box)`,
		`CREATE INDEX many_r ON many USING spgist (r)`, `CREATE INDEX many_i ON many USING spgist (i)`, `CREATE INDEX many_b ON many USING spgist (b)`)
	for i := range 3 {
		c.Exec(fmt.Sprintf(`INSERT INTO many SELECT i, CASE WHEN i %% 9 = 0 THEN 'empty' ELSE int4range(i %% 50 * 7, i %% 50 * 7 + i %% 31 + 1) END,
				('10.' || i %% 7 || '.' || i %% 200 || '.' || i %% 9)::inet, box(point(i %% 61, i %% 17), point(i %% 13, i)) FROM generate_series(%d, %d) i`, i*700, i*700+699),
			fmt.Sprintf(`DELETE FROM many WHERE id %% 3 = %d`, i), `VACUUM many`)
	}
	c.Exec(`REINDEX INDEX CONCURRENTLY many_i`, `INSERT INTO many SELECT i, int4range(i, NULL), '::1', NULL FROM generate_series(1, 500) i`,
		`DELETE FROM many`, `VACUUM many`, `VACUUM many`, `INSERT INTO many SELECT i, int4range(NULL, i), '2001:db8::'::inet + i, box(point(i, i), point(0, 0)) FROM generate_series(1, 500) i`)
}

// geometry has two trees over points, and polygons; chains of equal points grow
// until they move or are split all the same; nulls have a tree of their own.
func geometry(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE shape (id int, q point, k point, g polygon)`, `CREATE INDEX shape_q ON shape USING spgist (q) INCLUDE (id)`,
		`CREATE INDEX shape_k ON shape USING spgist (k kd_point_ops)`, `CREATE INDEX shape_g ON shape USING spgist (g)`)
	for i := range 4 {
		c.Exec(fmt.Sprintf(`INSERT INTO shape SELECT i, point(i * 7919 %% 1000, i * 104729 %% 1000), point(i * 31 %% 97, i %% 89), polygon(box(point(i %% 41, i %% 43), point(i %% 7, i %% 11)))
				FROM generate_series(%d, %d) i`, i*900, i*900+899),
			fmt.Sprintf(`INSERT INTO shape SELECT i, point(%d, 5), CASE WHEN i %% 3 > 0 THEN point(3, 3) END, NULL FROM generate_series(1, 250) i`, i%2),
			fmt.Sprintf(`DELETE FROM shape WHERE (id / 40) %% 4 = %d OR id %% 5 = 0`, i), `VACUUM shape`, `SELECT pg_current_xact_id()`, `VACUUM shape`)
	}
	// Whole chains die; rows of the same place follow them.
	c.Exec(`DELETE FROM shape WHERE q[0] < 500`, `VACUUM shape`,
		`INSERT INTO shape SELECT i, point(i * 7919 % 1000, i * 104729 % 1000), point(i * 31 % 97, i % 89), NULL FROM generate_series(1, 1500) i`)
}

// radix has texts with long common beginnings, that diverge in each place one
// after the other: nodes are added, prefixes cut, long texts go down level by
// level.
func radix(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE word (id int, t text)`, `CREATE INDEX word_t ON word USING spgist (t)`,
		`INSERT INTO word SELECT i, 'http://www.example.com/' || md5(i::text) FROM generate_series(1, 1500) i`)
	for i := range 4 {
		c.Exec(fmt.Sprintf(`INSERT INTO word SELECT i, left('http://www.example.com/', i %% 23) || chr(33 + (i * 7 + %d) %% 90) || repeat('z', i %% 30) || i FROM generate_series(1, 700) i`, i),
			fmt.Sprintf(`INSERT INTO word SELECT i, repeat(chr(97 + %d), 300 * (i %% 9 + 1)) || i FROM generate_series(1, 40) i`, i),
			`INSERT INTO word SELECT i, 'same' FROM generate_series(1, 300) i`,
			fmt.Sprintf(`DELETE FROM word WHERE id %% 4 = %d`, i), `VACUUM word`)
	}
	c.Exec(`INSERT INTO word SELECT i, chr(40000 + i) || repeat('long', 2400) || i FROM generate_series(1, 4) i`, `CHECKPOINT`,
		`INSERT INTO word SELECT i, md5((i * 31)::text) || chr(200 + i % 60) || i FROM generate_series(1, 1500) i`,
		`INSERT INTO word SELECT i, chr(256 + i * 37 % 5000) || chr(300 + i % 700) FROM generate_series(1, 2500) i`, `DELETE FROM word WHERE t < 'm'`, `VACUUM word`, `VACUUM word`)
}
