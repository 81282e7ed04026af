package pgtest

import (
	"context"
	"fmt"
	"strings"
	"time"
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
	w.index(c)
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
	"CREATE TABLE rare (i int)", "CREATE TABLE locked (i int PRIMARY KEY)", "INSERT INTO locked SELECT generate_series(1, 1000)",
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
