package pgtest

import (
	"context"
	"fmt"
	"strings"
)

// randomTable is one of the tables; the small one comes up as often as the others.
func (w *worker) randomTable() string { return fmt.Sprintf("random%d", w.rnd.IntN(randomTables)) }

// randomRows is a condition that some rows of a table meet.
func (w *worker) randomRows(table string) string {
	switch w.rnd.IntN(4) {
	case 0:
		return fmt.Sprintf("id IN (SELECT id FROM %s ORDER BY id %s LIMIT %d)", table, pick(w.rnd, "", "DESC"), w.between(1, 60))
	case 1:
		return fmt.Sprintf("id %% %d = %d", w.between(5, 60), w.between(0, 4))
	case 2:
		return fmt.Sprintf("k %% 17 = %d", w.between(0, 16))
	}
	return fmt.Sprintf("ctid BETWEEN '(%d,0)' AND '(%d,5)'", w.between(0, 10), w.between(10, 14))
}

// randomDML is a statement that changes rows of any table.
func (w *worker) randomDML() string {
	table := w.randomTable()
	rows := " WHERE " + w.randomRows(table)
	switch w.rnd.IntN(9) {
	case 0, 1:
		return insertRandom(w.rnd, table, w.between(1, 40))
	case 2, 3, 4:
		return "UPDATE " + table + " SET c = c + 1" + rows // no index has c: HOT where the page has room
	case 5:
		return fmt.Sprintf("UPDATE %s SET k = k + %d, t = t || 'x', p = p + point(1, %d)%s", table, w.between(1, 9), w.between(0, 3), rows)
	case 6:
		return fmt.Sprintf(`UPDATE %s SET a = a || %d, j = coalesce(j, '{}') || '{"u": %d}', r = int4range(%d, NULL), v = NULL%s`,
			table, w.between(1, 99), w.between(1, 9), w.between(1, 500), rows)
	case 7:
		return "DELETE FROM " + table + rows
	}
	return fmt.Sprintf("INSERT INTO %s (id, k, t) SELECT id, k, 'again' FROM %s%s ON CONFLICT (id) DO UPDATE SET t = 'conflict', c = %s.c + 1", table, table, rows, table)
}

func randomInsert(ctx context.Context, w *worker) error {
	return w.do(ctx, insertRandom(w.rnd, w.randomTable(), w.between(10, 150)))
}

func randomChange(ctx context.Context, w *worker) error {
	return w.do(ctx, w.randomDML(), w.randomDML())
}

// randomTransaction nests savepoints, takes some back, and commits or not.
func randomTransaction(ctx context.Context, w *worker) error {
	if err := w.do(ctx, "BEGIN ISOLATION LEVEL "+pick(w.rnd, "READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")); err != nil {
		return err
	}
	for i := range w.between(1, 8) {
		statements := []string{w.randomDML()}
		if w.between(0, 1) == 0 {
			statements = []string{fmt.Sprintf("SAVEPOINT s%d", i), w.randomDML(), pick(w.rnd, "", fmt.Sprintf("ROLLBACK TO s%d", i), fmt.Sprintf("RELEASE s%d", i)), w.randomDML()}
		}
		if err := w.do(ctx, statements...); err != nil {
			return err
		}
	}
	return w.do(ctx, pick(w.rnd, "COMMIT", "COMMIT", "ROLLBACK"))
}

// randomPrepared leaves one in six transactions prepared: to a crash, perhaps,
// and at the end to resolvePrepared.
func randomPrepared(ctx context.Context, w *worker) error {
	gid := w.name("random")
	if err := w.do(ctx, "BEGIN", insertRandom(w.rnd, w.randomTable(), w.between(1, 30)), "SAVEPOINT s", w.randomDML(), "PREPARE TRANSACTION '"+gid+"'"); err != nil {
		return err
	}
	if w.serial < 15 && w.between(0, 5) == 0 {
		return nil
	}
	return w.do(ctx, pick(w.rnd, "COMMIT", "ROLLBACK")+" PREPARED '"+gid+"'")
}

// randomLock locks rows in two sessions at once.
func randomLock(ctx context.Context, w *worker) error {
	table := w.randomTable()
	rows := fmt.Sprintf("SELECT id FROM %s WHERE %s ORDER BY id FOR ", table, w.randomRows(table))
	if err := w.do(ctx, "BEGIN", rows+pick(w.rnd, "KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE")); err != nil {
		return err
	}
	for _, s := range []string{"BEGIN", rows + "KEY SHARE SKIP LOCKED", pick(w.rnd, "COMMIT", "ROLLBACK")} {
		if err := w.on(ctx, w.b, s); err != nil {
			return err
		}
	}
	return w.do(ctx, w.randomDML(), pick(w.rnd, "COMMIT", "ROLLBACK"))
}

// randomScan reads through indexes, which marks entries of dead rows.
func randomScan(ctx context.Context, w *worker) error {
	table := w.randomTable()
	return w.do(ctx, "SET enable_seqscan = off", "SET enable_bitmapscan = "+pick(w.rnd, "on", "off"),
		fmt.Sprintf("SELECT count(*) FROM %s WHERE k BETWEEN %d AND %d", table, w.between(0, 20), w.between(20, 2000)),
		fmt.Sprintf("SELECT count(*) FROM %s WHERE k = %d", table, w.between(0, 40)),
		fmt.Sprintf("SELECT count(*) FROM %s WHERE t = 'same'", table), fmt.Sprintf("SELECT id FROM %s WHERE p <@ box(point(0, 0), point(50, 50))", table),
		fmt.Sprintf("SELECT id FROM %s ORDER BY p <-> point(3, 3) LIMIT 20", table), fmt.Sprintf("SELECT count(*) FROM %s WHERE r && int4range(1, 9)", table),
		"RESET ALL")
}

func randomVacuum(ctx context.Context, w *worker) error {
	return w.do(ctx, "VACUUM ("+pick(w.rnd, "INDEX_CLEANUP ON", "FREEZE", "TRUNCATE ON", "DISABLE_PAGE_SKIPPING", "ANALYZE", "INDEX_CLEANUP OFF", "FREEZE, INDEX_CLEANUP ON")+") "+w.randomTable())
}

func randomToast(ctx context.Context, w *worker) error {
	table := w.randomTable()
	return w.do(ctx,
		fmt.Sprintf("UPDATE %s SET big = repeat(md5(id::text), %d) WHERE id %% 31 = %d", table, w.between(50, 600), w.between(0, 30)),
		fmt.Sprintf("UPDATE %s SET big = big || 'more' WHERE big IS NOT NULL AND id %% 3 = %d", table, w.between(0, 2)),
		fmt.Sprintf("UPDATE %s SET big = NULL WHERE id %% 7 = %d", table, w.between(0, 6)))
}

// randomLargeObject makes, writes into, shortens and drops large objects.
func randomLargeObject(ctx context.Context, w *worker) error {
	return w.do(ctx,
		fmt.Sprintf("UPDATE random2 SET lo = lo_from_bytea(0, convert_to(repeat('large ', %d), 'UTF8')) WHERE lo IS NULL AND id %% 5 = %d", w.between(100, 3000), w.between(0, 4)),
		fmt.Sprintf("SELECT lo_put(lo, %d, 'written') FROM random2 WHERE lo IS NOT NULL AND id %% 3 = 0", w.between(0, 20000)),
		fmt.Sprintf("SELECT lo_truncate(lo_open(lo, 131072), %d) FROM random2 WHERE lo IS NOT NULL AND id %% 4 = 1", w.between(0, 5000)),
		"BEGIN", fmt.Sprintf("SELECT lo_unlink(lo) FROM random2 WHERE lo IS NOT NULL AND id %% 6 = %d FOR UPDATE", w.between(0, 5)),
		"UPDATE random2 SET lo = NULL WHERE lo IS NOT NULL AND NOT EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = lo)", "COMMIT")
}

func randomCopy(ctx context.Context, w *worker) error {
	var rows strings.Builder
	for i := range w.between(20, 300) {
		fmt.Fprintf(&rows, "%d\t%s\t{%d,%d}\n", w.between(0, 500), strings.Repeat("c", w.between(0, 90)), i, i%4)
	}
	_, err := w.a.PgConn().CopyFrom(ctx, strings.NewReader(rows.String()), "COPY "+w.randomTable()+" (k, t, a) FROM STDIN")
	return err
}

// randomIndexing builds, rebuilds or drops an index while others write.
func (s *randomSchema) randomIndexing(ctx context.Context, w *worker) error {
	table := w.randomTable()
	one := fmt.Sprintf("(SELECT format('%%I', relname) FROM pg_index x JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = '%s'::regclass AND NOT indisprimary ORDER BY md5(relname || %d) LIMIT 1)", table, w.between(0, 999))
	var name string
	if err := w.a.QueryRow(ctx, "SELECT coalesce("+one+", '')").Scan(&name); err != nil {
		return err
	}
	switch how := w.rnd.IntN(5); {
	case how == 0 || name == "":
		return w.do(ctx, s.createIndex(w.rnd, table, ""))
	case how == 1:
		return w.do(ctx, s.createIndex(w.rnd, table, "CONCURRENTLY"))
	case how == 2:
		return w.do(ctx, "DROP INDEX "+name)
	case how == 3:
		return w.do(ctx, "REINDEX INDEX CONCURRENTLY "+name)
	}
	return w.do(ctx, "REINDEX INDEX "+name)
}

// randomRewrite gives a table new files, or nearly empties it.
func randomRewrite(ctx context.Context, w *worker) error {
	table := w.randomTable()
	switch w.rnd.IntN(6) {
	case 0:
		return w.do(ctx, "VACUUM FULL "+table)
	case 1:
		return w.do(ctx, "CLUSTER "+table+" USING "+table+"_pkey")
	case 2:
		return w.do(ctx, "TRUNCATE "+table, insertRandom(w.rnd, table, 60))
	case 3:
		return w.do(ctx, "DELETE FROM "+table, "VACUUM "+table, insertRandom(w.rnd, table, 80))
	case 4:
		return w.do(ctx, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s int DEFAULT %d", table, w.name("extra"), w.between(0, 9)))
	}
	return w.do(ctx, "ALTER TABLE "+table+" SET UNLOGGED", insertRandom(w.rnd, table, 20), "ALTER TABLE "+table+" SET LOGGED")
}

// randomSummaries does what only BRIN and GIN need.
func randomSummaries(ctx context.Context, w *worker) error {
	of := func(method string) string {
		return "FROM pg_class c JOIN pg_am m ON m.oid = relam WHERE amname = '" + method + "' AND relkind = 'i' AND relpersistence = 'p'"
	}
	return w.do(ctx, "SELECT brin_summarize_new_values(c.oid::regclass) "+of("brin"),
		fmt.Sprintf("SELECT brin_desummarize_range(c.oid::regclass, %d) %s", w.between(0, 6), of("brin")),
		"SELECT gin_clean_pending_list(c.oid::regclass) "+of("gin"))
}
