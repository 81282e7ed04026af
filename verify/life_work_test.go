package verify_test

import (
	"context"
	"fmt"
	"path/filepath"

	"redoubt/internal/pgtest"
)

// since is the statements if the major is at least that.
func (l *life) since(major int, statements ...string) []string {
	if l.major < major {
		return nil
	}
	return statements
}

// rows are the rows of most tables.
const rows = "SELECT i, i % 90 k, repeat('x', 60) pad FROM generate_series(1, 1500) i"

// table is a table with these rows.
func table(name string) string { return "CREATE TABLE " + name + " AS " + rows }

// settle makes what the base has.
func (l *life) settle() {
	l.Exec("CREATE TABLESPACE old LOCATION '"+l.Dir("old")+"'", "CREATE TABLE big (i int, pad text)",
		"INSERT INTO big SELECT i, repeat('b', 500) FROM generate_series(1, 60) i")
	for _, name := range []string{"plain", "filled", "ordered", "indexed", "emptied", "shrunk", "unlogs", "moves", "returns", "in_window"} {
		l.Exec(table(name))
	}
	l.Exec("CREATE TABLE in_old TABLESPACE old AS "+rows, "CREATE INDEX ON in_old (i) TABLESPACE old",
		"ALTER TABLE ordered ADD PRIMARY KEY (i)", "CREATE INDEX indexed_k ON indexed (k, i)", "CREATE INDEX ON plain (i)",
		"CREATE UNLOGGED TABLE logs AS "+rows, "CREATE UNLOGGED TABLE never AS "+rows, "CREATE SEQUENCE seq", "CREATE SEQUENCE down INCREMENT -3")
	for _, method := range []string{"btree (i)", "hash (k)", "gin ((ARRAY[k]))", "gist (point(i, k))", "spgist (pad)", "brin (i)"} {
		l.Exec("CREATE INDEX ON never USING "+method, "CREATE INDEX ON logs USING "+method)
	}
	l.Exec("CREATE DATABASE source", "CREATE DATABASE leaves", "CREATE DATABASE wanders", "CREATE DATABASE goes_early")
	for _, db := range []string{"source", "wanders", "leaves"} {
		l.ExecIn(db, table("t"), "CREATE INDEX ON t (i)", "CREATE UNLOGGED TABLE u AS "+rows, "VACUUM t")
	}
	l.Exec("VACUUM plain, shrunk, indexed")
	if l.big = l.RelationPath("postgres", "big"); l.bigBlocks > 0 {
		l.Stop(pgtest.Fast)
		l.Extend(l.big, l.bigBlocks)
		l.Start()
	}
}

// backup takes the base; in its window things come and go, too.
func (l *life) backup() {
	l.base = l.BaseBackupDuring(filepath.Join(l.Dir("backups"), "base"), func(copied bool) {
		if copied {
			l.Exec("DROP DATABASE goes_early", "VACUUM FULL in_window", "DROP TABLE returns", table("returns"), "TRUNCATE emptied")
			return
		}
		l.Exec("CREATE TABLE short_lived AS "+rows, "UPDATE in_window SET k = 0 WHERE i < 300", "INSERT INTO emptied "+rows)
		l.Exec(l.since(15, "CREATE DATABASE from_window STRATEGY wal_log")...)
	})
	l.Exec("DROP TABLE short_lived")
}

// onPrimary is the life of the first primary.
func (l *life) onPrimary() {
	for i, method := range l.methods {
		l.Exec("CHECKPOINT", "SET wal_compression = "+method, fmt.Sprintf("UPDATE plain SET k = k + 1 WHERE i %% 4 = %d", i),
			"SELECT nextval('seq'), nextval('down')", fmt.Sprintf("UPDATE in_old SET k = k + 1 WHERE i %% 5 = %d", i))
	}
	l.bigLife(l.Cluster)
	l.rewrites(l.Cluster)
	l.unlogged(l.Cluster)
	l.Restart(pgtest.Immediate)
	l.Exec("INSERT INTO never SELECT i, i, 'after the crash' FROM generate_series(1, 50) i", "UPDATE unlogs SET k = 7 WHERE i < 9")
	l.databases(l.Cluster)
	l.tablespaces(l.Cluster, "young", func(string) string { return "" })
	l.sameNumber()
	l.hintSettings()
	l.die()
}

// bigLife changes a table of several files at both ends.
func (l *life) bigLife(c *pgtest.Cluster) {
	c.Exec("INSERT INTO big SELECT i, repeat('n', 700) FROM generate_series(1000, 1400) i",
		fmt.Sprintf("UPDATE big SET pad = repeat('u', 650) WHERE ctid = '(%d,1)'", max(l.bigBlocks-1, 4)), "UPDATE big SET i = -i WHERE ctid = '(0,3)'")
}

// rewrites gives relations new files.
func (l *life) rewrites(c *pgtest.Cluster) {
	c.Exec("VACUUM FULL filled", "VACUUM FULL pg_class", "VACUUM FULL pg_database", "CLUSTER ordered USING ordered_pkey", "UPDATE ordered SET k = -1 WHERE i < 99",
		"REINDEX INDEX CONCURRENTLY indexed_k", "REINDEX TABLE CONCURRENTLY plain", "REINDEX TABLE pg_class",
		"DELETE FROM shrunk WHERE i > 300", "VACUUM shrunk", "TRUNCATE emptied", "INSERT INTO emptied "+rows,
		"BEGIN; TRUNCATE indexed; INSERT INTO indexed "+rows+"; ROLLBACK", "BEGIN; "+table("aborted")+"; ROLLBACK",
		"BEGIN; "+table("twice")+"; TRUNCATE twice; INSERT INTO twice "+rows+"; COMMIT", "ALTER TABLE moves ALTER k TYPE bigint", "DROP TABLE twice")
}

// unlogged makes relations unlogged and logged.
func (l *life) unlogged(c *pgtest.Cluster) {
	c.Exec("ALTER TABLE logs SET LOGGED", "ALTER TABLE unlogs SET UNLOGGED", "UPDATE logs SET k = 1 WHERE i % 9 = 0",
		"CREATE UNLOGGED TABLE young_unlogged AS "+rows, "CREATE INDEX ON young_unlogged (i)", "TRUNCATE never", "INSERT INTO never "+rows)
	c.Exec(l.since(15, "CREATE UNLOGGED SEQUENCE useq", "SELECT nextval('useq')")...)
}

// databases come by both strategies, move and go; some come back with the same
// number, and so do all their relations.
func (l *life) databases(c *pgtest.Cluster) {
	c.Exec("ALTER DATABASE wanders SET TABLESPACE old", "DROP DATABASE leaves")
	c.ExecIn("wanders", "UPDATE t SET k = 3 WHERE i < 100")
	c.Exec("ALTER DATABASE wanders SET TABLESPACE pg_default")
	c.ExecIn("wanders", "UPDATE t SET k = 4 WHERE i < 200", "INSERT INTO u "+rows)
	if l.major < 15 {
		c.Exec("CREATE DATABASE copied TEMPLATE source")
		c.ExecIn("copied", "UPDATE t SET k = 5 WHERE i % 7 = 0")
		return
	}
	for _, strategy := range []string{"file_copy", "wal_log", "wal_log", "file_copy"} {
		c.Exec("DROP DATABASE IF EXISTS again", "CREATE DATABASE again OID 70000 TEMPLATE source STRATEGY "+strategy)
		c.ExecIn("again", "UPDATE t SET k = 5 WHERE i % 7 = 0", "INSERT INTO u "+rows, "VACUUM t", "DELETE FROM t WHERE i < 50")
	}
	c.Exec("CREATE DATABASE logged TEMPLATE source STRATEGY wal_log")
	c.ExecIn("logged", "UPDATE t SET k = 6 WHERE i % 11 = 0", "CREATE TABLE more AS "+rows)
}

// tablespaces makes one, moves things to it and drops it, and makes another; at
// says where they are: "" is within the data directory, which a standby on the
// same machine needs.
func (l *life) tablespaces(c *pgtest.Cluster, name string, at func(string) string) {
	c.Exec("SET allow_in_place_tablespaces = on", "CREATE TABLESPACE "+name+" LOCATION '"+at(name)+"'",
		"ALTER TABLE moves SET TABLESPACE "+name, "CREATE TABLE gone_"+name+" TABLESPACE "+name+" AS "+rows, "CREATE INDEX ON moves (i) TABLESPACE "+name,
		"UPDATE moves SET k = k + 1 WHERE i % 6 = 0", "ALTER TABLE in_old SET TABLESPACE "+name, "UPDATE in_old SET k = 0 WHERE i < 77",
		"ALTER TABLE in_old SET TABLESPACE old", "CREATE TABLESPACE "+name+"_stays LOCATION '"+at(name+"_stays")+"'",
		"CREATE TABLE stays_"+name+" TABLESPACE "+name+"_stays AS "+rows,
		"DROP TABLE gone_"+name, "ALTER TABLE moves SET TABLESPACE pg_default", "DROP INDEX moves_i_idx", "DROP TABLESPACE "+name)
}

// sameNumber makes a relation, drops it and makes another of the same number,
// as pg_upgrade's mode allows.
func (l *life) sameNumber() {
	l.Exec("CHECKPOINT")
	l.Stop(pgtest.Fast)
	l.StartWith("-b")
	for i := range 3 {
		create := []string{"SELECT binary_upgrade_set_next_heap_pg_class_oid(80000)", "SELECT binary_upgrade_set_next_pg_type_oid(80001)",
			"SELECT binary_upgrade_set_next_array_pg_type_oid(80002)"}
		create = append(create, l.since(15, "SELECT binary_upgrade_set_next_heap_relfilenode(80000)")...)
		l.Exec(append(create, "CREATE TABLE numbered (i int)", fmt.Sprintf("INSERT INTO numbered SELECT i FROM generate_series(%d, %d) i", i, 2000-600*i))...)
		if i < 2 {
			l.Exec("DROP TABLE numbered")
			if l.major < 15 {
				l.Exec("CHECKPOINT") // its file goes at the next one
			}
		}
	}
	l.Stop(pgtest.Fast)
	l.Start()
	if path := l.RelationPath("postgres", "numbered"); filepath.Base(path) != "80000" {
		l.t.Fatalf("the table is in %s", path)
	}
}

// hintSettings switches wal_log_hints on and off again within the span.
func (l *life) hintSettings() {
	for i, hints := range []string{"on", "off"} {
		if err := l.AppendConf("wal_log_hints = " + hints); err != nil {
			l.t.Fatal(err)
		}
		l.Restart(pgtest.Fast)
		l.Exec(fmt.Sprintf("UPDATE plain SET k = k + 2 WHERE i %% 3 = %d", i), table("hinted_"+hints), "CHECKPOINT",
			"SELECT count(*) FROM plain", "SELECT count(*) FROM hinted_"+hints, "VACUUM plain", "VACUUM hinted_"+hints, "VACUUM FREEZE indexed")
	}
}

// die kills the server in the middle of things.
func (l *life) die() {
	conn := l.Connect("postgres")
	for _, sql := range []string{"BEGIN", table("orphaned"), "TRUNCATE filled", "INSERT INTO filled " + rows, "DROP TABLE ordered"} {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			l.t.Fatal(err)
		}
	}
	l.Exec("BEGIN; INSERT INTO plain SELECT i, 0, 'prepared' FROM generate_series(1, 20) i; CREATE TABLE prepared_table AS SELECT 1 i; PREPARE TRANSACTION 'p'",
		"CHECKPOINT", "INSERT INTO plain SELECT i, 0, 'before the kill' FROM generate_series(1, 100) i", "SELECT pg_switch_wal()")
	l.Kill()
	l.Start()
	l.Exec("COMMIT PREPARED 'p'")
}

// failover promotes a standby in the middle of a segment. The old primary
// does not know, and goes on.
func (l *life) failover() {
	l.Exec("INSERT INTO plain SELECT i, 0, 'before the failover' FROM generate_series(1, 100) i", "CHECKPOINT")
	l.successor = l.Standby(l.base, "wal_log_hints = on")
	l.successor.AwaitReplay(l.LSN())
	l.successor.Promote()
	l.Exec("INSERT INTO plain SELECT i, 0, 'of the dead branch' FROM generate_series(1, 500) i", "UPDATE indexed SET k = 0",
		"VACUUM FULL filled", "DROP TABLE in_old", "CREATE TABLE dead_branch AS "+rows, "SELECT nextval('seq')")
	l.SwitchWAL()
	l.Exec("TRUNCATE plain", "CHECKPOINT")
	l.SwitchWAL()
	l.Stop(pgtest.Fast)
}

// onSuccessor goes on where the failover was, and dies once more.
func (l *life) onSuccessor() {
	c := l.successor
	c.Exec("INSERT INTO plain SELECT i, 0, 'of the successor' FROM generate_series(1, 300) i", "UPDATE indexed SET k = k + 1 WHERE i % 2 = 0", table("successors"))
	c.Kill()
	c.Start()
	c.Exec(table("hinted"), "VACUUM FREEZE hinted", "SELECT nextval('seq'), nextval('down') FROM generate_series(1, 40)")
	l.bigLife(c)
	l.unloggedAgain(c)
	l.tablespaces(c, "linked", c.Dir)
	if l.bigBlocks > 0 {
		c.Exec("DELETE FROM big WHERE ctid >= '(1000,0)'", "VACUUM (INDEX_CLEANUP off) big")
		if got := c.Query("SELECT pg_relation_size('big') < 1000 * 8192"); got != "t" {
			l.t.Error("the table of several files was not truncated")
		}
	}
	c.Restart(pgtest.Immediate)
	c.Stop(pgtest.Fast)
}

func (l *life) unloggedAgain(c *pgtest.Cluster) {
	c.Exec("INSERT INTO never "+rows, "ALTER TABLE unlogs SET LOGGED", "INSERT INTO unlogs "+rows, "ALTER TABLE logs SET UNLOGGED", "ALTER TABLE logs SET LOGGED")
}
