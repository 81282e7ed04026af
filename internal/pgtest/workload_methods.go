package pgtest

import (
	"context"
	"fmt"
)

// siteTable has an index of every method but btree, GIN and SP-GiST, which
// other tables have.
var siteTable = []string{
	"CREATE TABLE site (id serial, k int, p point, during int4range, name text)",
	"CREATE INDEX site_hash ON site USING hash (k) WITH (fillfactor = 20)",
	"CREATE INDEX site_point ON site USING gist (p)",
	"CREATE INDEX site_during ON site USING gist (during)",
	"CREATE INDEX site_range ON site USING brin (id, name) WITH (pages_per_range = 1)",
	"CREATE UNLOGGED TABLE passing (k int, p point)",
	"CREATE INDEX passing_hash ON passing USING hash (k)",
	"CREATE INDEX passing_point ON passing USING gist (p)",
	// Generic WAL is an extension's; an installation may be without.
	`DO $$ BEGIN IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'bloom') THEN
		CREATE EXTENSION bloom; CREATE INDEX site_bloom ON site USING bloom (k, name);
	END IF; END $$`,
}

func insertSites(n, seed int) string {
	return fmt.Sprintf(`INSERT INTO site (k, p, during, name) SELECT i %% 60, point((i * %[2]d) %% 1009, (i * 31) %% 997),
		int4range(i %% 300, i %% 300 + %[2]d %% 40), md5((i %% 50)::text) || repeat('n', i %% 200)
		FROM generate_series(1, %[1]d) i`, n, seed)
}

// sites fills the indexes: pages split, buckets get overflow pages.
func sites(ctx context.Context, w *worker) error {
	return w.do(ctx, insertSites(w.between(200, 500), w.between(1, 900)),
		fmt.Sprintf("UPDATE site SET p = point(%d, id), k = k + 1 WHERE id %% 17 = %d", w.between(0, 900), w.between(0, 16)),
		fmt.Sprintf("UPDATE site SET name = repeat('long', %d) WHERE id %% 19 = %d", w.between(1, 200), w.between(0, 18)),
		"INSERT INTO passing SELECT k, p FROM site WHERE id % 50 = 0")
}

// leave empties pages of the indexes, which are then used again.
func leave(ctx context.Context, w *worker) error {
	at := w.between(0, 900)
	return w.do(ctx,
		fmt.Sprintf("DELETE FROM site WHERE p[0] BETWEEN %d AND %d OR id < (SELECT avg(id) - 600 FROM site)", at, at+150),
		"VACUUM site", "SELECT brin_summarize_new_values('site_range')",
		fmt.Sprintf("SELECT brin_desummarize_range('site_range', %d)", w.between(0, 20)),
		insertSites(100, at))
}

// visit lets index scans mark the entries of dead rows, which the next
// insertions into their pages take away. GiST's are left out where consistency
// is checked: after a crash PostgreSQL stops at such a DELETE record, whose redo
// sets a flag that gistprunepage does not set.
func visit(ctx context.Context, w *worker) error {
	k := w.between(0, 59)
	statements := []string{"SET synchronous_commit = on", "SET enable_seqscan = off", "SET enable_bitmapscan = off",
		fmt.Sprintf("DELETE FROM site WHERE k = %d OR p[1] < %d", k, w.between(10, 60)),
		fmt.Sprintf("SELECT count(name) FROM site WHERE k = %d", k)}
	if !w.consistency {
		statements = append(statements, "SELECT count(name) FROM site WHERE p <@ box(point(0, 0), point(999, 60))")
	}
	return w.do(ctx, append(statements, "RESET ALL", "SET lock_timeout = '3s'", insertSites(150, w.between(1, 900)))...)
}

// build makes indexes of all methods anew, and drops them.
//
// BRIN's are left out without full-page writes: after a crash PostgreSQL redoes
// INSERT records of an index whose file is gone by then, and takes the page
// that is not there for one that is (brin_xlog_insert_update).
func build(ctx context.Context, w *worker) error {
	n := w.name("method")
	statements := []string{"CREATE INDEX " + n + "_h ON site USING hash (name)",
		"CREATE INDEX " + n + "_g ON site USING gist (p, during) WITH (buffering = on)",
		"REINDEX INDEX site_hash", "REINDEX INDEX site_point", "REINDEX INDEX site_during",
		insertSites(50, w.between(1, 900)), "DROP INDEX " + n + "_h, " + n + "_g"}
	if w.fullPageWrites {
		statements = append(statements, "CREATE INDEX "+n+"_b ON site USING brin (during range_inclusion_ops)", "REINDEX INDEX site_range",
			insertSites(50, w.between(1, 900)), "DROP INDEX "+n+"_b")
	}
	return w.do(ctx, statements...)
}
