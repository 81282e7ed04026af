package redo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestHeapProof lets PostgreSQL judge the redo of Heap and Heap2: each
// operation that these servers write must occur, and each of its results must
// be PostgreSQL's. Hint bits are logged and full pages written on 15 and not
// on 17, whose pages are then redone by increments from the first record on.
// The same records are redone a second time as Neon's PostgreSQL writes them.
func TestHeapProof(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			safe := major == 15
			c, p := startProof(t, major, pgtest.Checksums(safe), pgtest.FullPageWrites(safe), pgtest.Conf("wal_level", "logical"))
			if *update && (major == 15 || major == 17) {
				p.kept = map[string]realCase{}
			}
			p.withNeon()
			heapWorkload(t, c)
			p.run(c, pg.RmgrHeap, pg.RmgrHeap2)
			p.wantOperations(major)
		})
	}
}

// wantOperations fails the test for operations that no server wrote, so that
// nothing counts as proven that was never seen.
func (p *proof) wantOperations(major int) {
	p.t.Helper()
	want := []string{"Heap INSERT", "Heap INSERT+INIT", "Heap DELETE", "Heap UPDATE", "Heap UPDATE+INIT", "Heap HOT_UPDATE",
		"Heap HEAP_CONFIRM", "Heap LOCK", "Heap INPLACE", "Heap2 VISIBLE", "Heap2 MULTI_INSERT", "Heap2 MULTI_INSERT+INIT",
		"Heap2 LOCK_UPDATED"}
	if major < 17 {
		want = append(want, "Heap2 PRUNE", "Heap2 VACUUM", "Heap2 FREEZE_PAGE")
	} else {
		want = append(want, "Heap2 PRUNE_ON_ACCESS", "Heap2 PRUNE_VACUUM_SCAN", "Heap2 PRUNE_VACUUM_CLEANUP")
	}
	for _, op := range want {
		if p.compared[op] == 0 {
			p.t.Errorf("no image of %s was compared", op)
		}
	}
	if p.special["unregistered VM clear"]+p.special["registered VM clear"] == 0 {
		p.t.Error("no visibility map bit was cleared")
	}
	for _, what := range []string{"TRUNCATE", "NEW_CID", "REWRITE", "speculative insertion taken back",
		"move to another partition", "old tuple in the record", "multixact", "all-frozen insertion",
		"prefix from the old tuple", "suffix from the old tuple"} {
		if p.special[what] == 0 {
			p.t.Errorf("no %s was seen", what)
		}
	}
}

// countSpecial counts variants of records that have no operation of their own.
func (p *proof) countSpecial(rec *wal.Record) {
	count := func(flags uint8, bit uint8, what string) {
		if flags&bit != 0 {
			p.special[what]++
		}
	}
	op := rec.HeapOp()
	if rec.Rmgr == pg.RmgrHeap && slices.ContainsFunc(rec.Blocks, func(b wal.BlockRef) bool { return b.Fork == pg.VMFork }) {
		p.special["registered VM clear"]++ // as 17.11 and 18.6 do
	}
	switch {
	case rec.Rmgr == pg.RmgrHeap && op == wal.OpHeapDelete:
		r, _ := wal.DecodeHeapDelete(rec)
		count(r.Flags, wal.DeleteIsSuper, "speculative insertion taken back")
		count(r.Flags, wal.DeleteIsPartitionMove, "move to another partition")
		count(r.Infobits, wal.InfobitXMaxIsMulti, "multixact")
		count(r.Flags, 0x06, "old tuple in the record")
	case rec.Rmgr == pg.RmgrHeap && (op == wal.OpHeapUpdate || op == wal.OpHeapHotUpdate):
		r, _ := wal.DecodeHeapUpdate(rec)
		count(r.Flags, wal.UpdatePrefixFromOld, "prefix from the old tuple")
		count(r.Flags, wal.UpdateSuffixFromOld, "suffix from the old tuple")
		count(r.OldInfobits, wal.InfobitXMaxIsMulti, "multixact")
		count(r.Flags, 0x0C, "old tuple in the record")
	case rec.Rmgr == pg.RmgrHeap && op == wal.OpHeapLock:
		r, _ := wal.DecodeHeapLock(rec)
		count(r.Infobits, wal.InfobitXMaxIsMulti, "multixact")
	case rec.Rmgr == pg.RmgrHeap2 && op == wal.OpHeap2MultiInsert:
		r, _ := wal.DecodeHeapMultiInsert(rec)
		count(r.Flags, wal.InsertAllFrozenSet, "all-frozen insertion")
	case rec.Rmgr == pg.RmgrHeap && op == wal.OpHeapTruncate, rec.Rmgr == pg.RmgrHeap2 && (op == wal.OpHeap2NewCID || op == wal.OpHeap2Rewrite):
		p.special[wal.OpName(rec.Rmgr, rec.Info, rec.Major)]++
	}
}

// heapWorkload makes PostgreSQL write every Heap and Heap2 record.
func heapWorkload(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	// A slot makes rewrites of catalogs log their mappings.
	c.Exec("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')")
	c.Exec(`CREATE TABLE a (id int PRIMARY KEY, n int, pad text) WITH (fillfactor = 70)`,
		`INSERT INTO a SELECT i, 0, repeat('p', i % 60) FROM generate_series(1, 1500) i`,
		`ALTER TABLE a REPLICA IDENTITY FULL`,
		`CREATE TABLE wide (id int, head text, v int, tail text)`,
		`ALTER TABLE wide ALTER head SET STORAGE PLAIN, ALTER tail SET STORAGE PLAIN`,
		`INSERT INTO wide SELECT i, repeat('h', 700), i, repeat('t', 900) FROM generate_series(1, 40) i`,
		`CREATE TABLE part (id int, v text) PARTITION BY LIST (id)`,
		`CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1)`, `CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2)`,
		`INSERT INTO part SELECT 1, i::text FROM generate_series(1, 30) i`, `UPDATE part SET id = 2 WHERE v < '2'`)
	for i := range 6 { // HOT chains, pruned on access
		c.Exec(fmt.Sprintf(`UPDATE a SET n = n + 1 WHERE id %% 7 = %d`, i%3), `SELECT sum(n) FROM a`)
	}
	// Updates that share their start, their end or nothing, on the page and across pages.
	c.Exec(`UPDATE wide SET v = v + 100000`, `UPDATE wide SET tail = tail || 'x' WHERE id % 2 = 0`,
		`UPDATE wide SET head = 'y' || head, tail = 'z' WHERE id % 3 = 0`, `VACUUM wide`, `UPDATE wide SET v = -v`)
	copyRows(t, c, "COPY wide FROM STDIN", 300, 40)
	copyRows(t, c, "COPY a (id, pad) FROM STDIN", 2000, 2000)
	c.Exec(`CREATE TABLE toasted (id serial, doc text)`, `ALTER TABLE toasted ALTER doc SET STORAGE EXTERNAL`,
		`INSERT INTO toasted (doc) SELECT repeat(md5(i::text), 300) FROM generate_series(1, 10) i`,
		`UPDATE toasted SET doc = doc || 'u' WHERE id % 2 = 0`, `DELETE FROM toasted WHERE id % 3 = 0`, `VACUUM toasted`)
	frozenThenTouched(c)
	locks(t, c)
	speculative(t, c)
	transactions(t, c)
	catalogs(c)
}

// copyRows makes MULTI_INSERT records: n rows, ids from first on.
func copyRows(t *testing.T, c *pgtest.Cluster, statement string, first, n int) {
	t.Helper()
	var rows strings.Builder
	for i := range n {
		fmt.Fprintf(&rows, "%d\t%s", first+i, strings.Repeat("c", i%50))
		if strings.Contains(statement, "wide") {
			fmt.Fprintf(&rows, "\t%d\t\\N", i)
		}
		rows.WriteByte('\n')
	}
	conn := c.Connect("postgres")
	if strings.Contains(statement, "FREEZE") {
		if _, err := conn.Exec(context.Background(), "BEGIN; TRUNCATE frozen"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := conn.Exec(context.Background(), "COMMIT"); err != nil {
				t.Error(err)
			}
		}()
	}
	if _, err := conn.PgConn().CopyFrom(context.Background(), strings.NewReader(rows.String()), statement); err != nil {
		t.Fatal(err)
	}
}

// frozenThenTouched sets the visibility map and clears it by each record that
// can, and cuts it with its table.
func frozenThenTouched(c *pgtest.Cluster) {
	c.Exec(`CREATE TABLE vm (id int PRIMARY KEY, v text)`,
		`INSERT INTO vm SELECT i, repeat('v', 300) FROM generate_series(1, 3000) i`,
		`VACUUM FREEZE vm`, `DELETE FROM vm WHERE id = 1`, `UPDATE vm SET v = 'hot' WHERE id = 100`,
		`UPDATE vm SET id = -200 WHERE id = 200`, `SELECT * FROM vm WHERE id = 400 FOR UPDATE`, `INSERT INTO vm VALUES (9001, 'x')`,
		`DELETE FROM vm WHERE id BETWEEN 500 AND 700`, `VACUUM (INDEX_CLEANUP ON) vm`, `INSERT INTO vm SELECT i, 'again' FROM generate_series(500, 600) i`,
		`DELETE FROM vm WHERE id > 1500`, `VACUUM vm`, `VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) vm`,
		`CREATE TABLE noindex (id int, v text)`, `INSERT INTO noindex SELECT i, 'n' FROM generate_series(1, 1000) i`,
		`DELETE FROM noindex WHERE id % 3 = 0 OR id > 900`, `VACUUM noindex`, `INSERT INTO noindex SELECT i, 'm' FROM generate_series(1, 500) i`)
}

// locks makes lockers of all strengths, multixacts of them, and freezes these.
func locks(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	one, two := c.Connect("postgres"), c.Connect("postgres")
	first := func(sql string) { execOn(t, one.PgConn(), sql) }
	second := func(sql string) { execOn(t, two.PgConn(), sql) }
	for i, lock := range []string{"KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"} {
		first(fmt.Sprintf("BEGIN; SELECT * FROM a WHERE id BETWEEN %d AND %d FOR %s", 10*i, 10*i+5, lock))
		if i < 2 {
			second(fmt.Sprintf("BEGIN; SELECT * FROM a WHERE id BETWEEN %d AND %d FOR KEY SHARE; COMMIT", 10*i, 10*i+5))
			first(fmt.Sprintf("UPDATE a SET n = n + 1 WHERE id = %d", 10*i+1))
			first(fmt.Sprintf("DELETE FROM a WHERE id = %d", 10*i+3))
		}
		first([]string{"COMMIT", "ROLLBACK"}[i%2])
	}
	// The lock of an old version spreads to the new one.
	first("BEGIN; UPDATE a SET n = -1 WHERE id BETWEEN 100 AND 110")
	second("BEGIN; SELECT * FROM a WHERE id BETWEEN 100 AND 110 FOR KEY SHARE")
	first("COMMIT")
	second("COMMIT")
	c.Exec("VACUUM FREEZE a")
	second("BEGIN; SELECT * FROM a WHERE id BETWEEN 100 AND 110 FOR SHARE; COMMIT")
	c.Exec("SET vacuum_freeze_min_age = 0", "VACUUM (FREEZE) a")
}

// speculative makes insertions with ON CONFLICT, one of which loses the race: its
// row is on the page, and it waits for a lock in the expression of the index,
// when another session inserts the same key.
func speculative(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	// The first call looks for a conflict, the second makes the index's entry.
	c.Exec(`CREATE FUNCTION key(k int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
			IF current_setting('loser.calls', true) <> '' THEN
				PERFORM set_config('loser.calls', (current_setting('loser.calls')::int + 1)::text, false);
				IF current_setting('loser.calls') = '2' THEN PERFORM pg_advisory_xact_lock(7); END IF;
			END IF;
			RETURN k; END $$`,
		`CREATE TABLE up (k int, v int)`, `CREATE UNIQUE INDEX up_k ON up (key(k))`)
	const insert = "INSERT INTO up VALUES (1, 1) ON CONFLICT (key(k)) DO UPDATE SET v = up.v + 1"
	winner, loser := c.Connect("postgres").PgConn(), c.Connect("postgres").PgConn()
	execOn(t, winner, "SELECT pg_advisory_lock(7)")
	execOn(t, loser, "SET loser.calls = 0")
	lost := make(chan error, 1)
	go func() {
		_, err := loser.Exec(context.Background(), insert).ReadAll()
		lost <- err
	}()
	for end := time.Now().Add(time.Minute); c.Query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") != "1"; {
		if time.Now().After(end) {
			t.Fatal("the losing session does not come to wait")
		}
		time.Sleep(10 * time.Millisecond)
	}
	execOn(t, winner, insert)
	execOn(t, winner, "SELECT pg_advisory_unlock(7)")
	if err := <-lost; err != nil {
		t.Error(err)
	}
}

// transactions aborts, nests and prepares.
func transactions(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	conn := c.Connect("postgres").PgConn()
	execOn(t, conn, "BEGIN; UPDATE a SET n = 9 WHERE id < 50; ROLLBACK")
	var nested strings.Builder
	nested.WriteString("BEGIN;")
	for i := range 70 {
		fmt.Fprintf(&nested, "SAVEPOINT s%d; INSERT INTO noindex VALUES (%d, 'sub'); UPDATE a SET n = %d WHERE id = %d;", i, i, i, 200+i)
		if i%9 == 8 {
			fmt.Fprintf(&nested, "ROLLBACK TO s%d;", i)
		}
	}
	execOn(t, conn, nested.String()+"COMMIT")
	execOn(t, conn, "BEGIN; DELETE FROM a WHERE id BETWEEN 300 AND 330; PREPARE TRANSACTION 'p'")
	execOn(t, conn, "COMMIT PREPARED 'p'")
	execOn(t, conn, "CREATE TABLE frozen (id int, v text); TRUNCATE frozen, noindex; INSERT INTO frozen VALUES (1)")
	execOn(t, conn, "VACUUM a")
	// A combo command id that outlives its transaction, is frozen, and which redo of LOCK clears.
	execOn(t, conn, "CREATE TABLE combo (id int, v int)")
	execOn(t, conn, "BEGIN; INSERT INTO combo VALUES (1, 1), (2, 2); SAVEPOINT s; UPDATE combo SET v = 3; ROLLBACK TO s; COMMIT")
	execOn(t, conn, "VACUUM FREEZE combo")
	execOn(t, conn, "BEGIN; SELECT * FROM combo FOR SHARE; COMMIT; UPDATE combo SET v = 4")
	copyRows(t, c, "COPY frozen FROM STDIN (FREEZE)", 1, 500)
}

// catalogs changes the catalogs a lot and rewrites some.
func catalogs(c *pgtest.Cluster) {
	for i := range 8 {
		c.Exec(fmt.Sprintf("CREATE TABLE c%d (id serial PRIMARY KEY, a text, b numeric DEFAULT 1)", i),
			fmt.Sprintf("ALTER TABLE c%d ADD COLUMN more int DEFAULT %d, ALTER a SET NOT NULL", i, i),
			fmt.Sprintf("INSERT INTO c%d (a) VALUES ('x')", i), fmt.Sprintf("ANALYZE c%d", i))
		if i%2 == 0 {
			c.Exec(fmt.Sprintf("DROP TABLE c%d", i))
		}
	}
	c.Exec("VACUUM pg_class, pg_attribute, pg_type, pg_depend", "VACUUM FULL pg_class", "VACUUM FULL pg_attribute", "CLUSTER pg_depend USING pg_depend_depender_index",
		"CREATE TABLE last (id int)", "VACUUM FREEZE pg_statistic, pg_attribute")
}
