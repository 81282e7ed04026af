package pgtest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Rare is a workload of operations that others seldom or never write: it uses
// up transaction ids and multixacts until freezing everything truncates their
// SLRUs, narrows a btree to the page below its root and splits that, switches
// full-page writes, advances and drops replication origins.
type Rare struct {
	XIDs   int // transaction ids to use up; two segments of pg_xact are 2,097,152
	Multis int // multixacts to use up; a segment of their offsets is 65,536
}

// Run runs the workload. The server must run, and runs afterwards.
func (w Rare) Run(c *Cluster) {
	c.t.Helper()
	c.Exec(rareProcedures...)
	w.tear(c)
	w.index(c)
	c.Restart(Fast)
	w.lockUpdated(c)
	w.deadEntries(c)
	w.origins(c)
	w.switches(c)
	w.Burn(c)
	c.FreezeAll()
	w.Burn(c)
	c.FreezeAll()
	c.Exec("INSERT INTO rare SELECT i FROM generate_series(1, 1000) i")
}

// rareProcedures use up transaction ids, 1,000 at a time, and multixacts, one
// for each of 1,000 rows that a transaction and a subtransaction of it lock.
var rareProcedures = []string{
	"CREATE TABLE rare (i int)", "CREATE TABLE locked (i int PRIMARY KEY, v int)", "INSERT INTO locked SELECT generate_series(1, 1000)",
	`CREATE PROCEDURE burn(n int) LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1 .. n / 1000 LOOP
			FOR j IN 1 .. 1000 LOOP
				BEGIN
					PERFORM pg_logical_emit_message(j % 500 <> 0, 'burn', '');
				EXCEPTION WHEN division_by_zero THEN NULL; END;
			END LOOP;
			COMMIT;
		END LOOP;
	END $$`,
	`CREATE PROCEDURE lock_rows(n int) LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1 .. n / 1000 LOOP
			PERFORM FROM locked FOR KEY SHARE;
			FOR j IN 1 .. 1000 LOOP
				BEGIN
					PERFORM FROM locked WHERE locked.i = j FOR NO KEY UPDATE;
				EXCEPTION WHEN division_by_zero THEN NULL; END;
			END LOOP;
			COMMIT;
		END LOOP;
	END $$`,
}

// Burn uses up what the workload is told to.
func (w Rare) Burn(c *Cluster) {
	c.t.Helper()
	c.Exec(fmt.Sprintf("CALL burn(%d)", w.XIDs), fmt.Sprintf("CALL lock_rows(%d)", w.Multis))
}

// FreezeAll freezes the rows of all databases, so that SLRUs are truncated.
func (c *Cluster) FreezeAll() {
	c.t.Helper()
	c.Exec("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
	for _, db := range strings.Fields(c.Query("SELECT string_agg(datname, ' ') FROM pg_database")) {
		c.ExecIn(db, "VACUUM (FREEZE, DISABLE_PAGE_SKIPPING)")
	}
}

// index leaves a btree one page on each level, whose last one then splits.
func (w Rare) index(c *Cluster) {
	c.t.Helper()
	c.Exec("CREATE INDEX rare_i ON rare (i)", "INSERT INTO rare SELECT generate_series(1, 3000)", "DELETE FROM rare",
		"VACUUM (INDEX_CLEANUP ON) rare", "CHECKPOINT", "VACUUM (INDEX_CLEANUP ON) rare", "INSERT INTO rare SELECT generate_series(1, 3000)")
}

// tear kills the server in the middle of a long record, so that the next start
// marks what is there of it as overwritten, unless the record was whole already.
func (w Rare) tear(c *Cluster) {
	c.t.Helper()
	from, torn := c.LSN(), make(chan error)
	go func() {
		torn <- c.TryExec("postgres", "SELECT pg_logical_emit_message(false, 'torn', repeat('long', 100000000))")
	}()
	far := fmt.Sprintf("SELECT pg_current_wal_lsn() > '%s'", from+4<<20)
	c.check(c.await(far, "t"))
	c.Kill()
	if err := <-torn; err == nil {
		c.t.Logf("the record was whole before the server was killed")
	}
	c.Start()
}

// lockUpdated locks a row that another transaction is updating.
func (w Rare) lockUpdated(c *Cluster) {
	c.t.Helper()
	updates, locks := c.Connect("postgres"), c.Connect("postgres")
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	for _, step := range []struct {
		conn *pgx.Conn
		sql  string
	}{{updates, "BEGIN"}, {updates, "UPDATE locked SET v = 1 WHERE i = 1"}, {locks, "BEGIN"}, {locks, "SELECT FROM locked WHERE i = 1 FOR KEY SHARE"},
		{updates, "COMMIT"}, {locks, "COMMIT"}} {
		_, err := step.conn.Exec(ctx, step.sql)
		c.check(err)
	}
	c.check(updates.Close(ctx))
	c.check(locks.Close(ctx))
}

// deadEntries has scans mark index entries of dead rows, which the next
// insertions into their pages take away; empty pages are used again.
func (w Rare) deadEntries(c *Cluster) {
	c.t.Helper()
	fill := "INSERT INTO dead SELECT i % 5, point(i % 100, i / 100) FROM generate_series(1, 2000) i"
	c.Exec("CREATE TABLE dead (k int, p point)", "CREATE INDEX ON dead USING hash (k)", "CREATE INDEX ON dead USING gist (p)",
		"CREATE TABLE few (t text)", "CREATE INDEX ON few USING spgist (t)", "INSERT INTO few VALUES ('a'), ('b'), ('c')", fill,
		"DELETE FROM dead WHERE k = 3 OR p[0] < 60", "DELETE FROM few WHERE t = 'b'", "VACUUM few", `SET enable_seqscan = off; SET enable_bitmapscan = off;
			SELECT count(p) FROM dead WHERE k = 3; SELECT count(k) FROM dead WHERE p <@ box(point(0, 0), point(59, 99))`,
		fill, fill, "DELETE FROM dead", "VACUUM dead", "CREATE TABLE passes ()", "DROP TABLE passes", "VACUUM dead", fill, fill)
}

func (w Rare) origins(c *Cluster) {
	c.t.Helper()
	c.Exec("SELECT pg_replication_origin_create('rare')", "SELECT pg_replication_origin_create('advanced')",
		"SELECT pg_replication_origin_session_setup('rare'); BEGIN; SELECT pg_replication_origin_xact_setup('0/4711', now()); INSERT INTO rare VALUES (0); COMMIT",
		"SELECT pg_replication_origin_advance('advanced', '0/1234')", "SELECT pg_replication_origin_drop('advanced')",
		"SELECT pg_create_restore_point('rare')")
}

// switches turns full-page writes off and on again under work.
func (w Rare) switches(c *Cluster) {
	c.t.Helper()
	for _, value := range []string{"off", "on"} {
		c.Exec("ALTER SYSTEM SET full_page_writes = "+value, "SELECT pg_reload_conf()")
		c.check(c.await("SHOW full_page_writes", value))
		c.Exec("CHECKPOINT", "UPDATE rare SET i = i + 1 WHERE i % 3 = 0")
	}
}

// await waits until a query says what is wanted.
func (c *Cluster) await(query, want string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	for c.Query(query) != want {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to say %s: not after %s", query, want, sqlTimeout)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
