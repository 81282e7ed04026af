package pgtest

import (
	"context"
	"fmt"
)

// multixact lets two sessions share a row lock and one of them update the row.
func multixact(ctx context.Context, w *worker) error {
	row := fmt.Sprintf("FROM account WHERE id BETWEEN %[1]d AND %[1]d + 3 ORDER BY id", w.account())
	for _, lock := range []string{"FOR KEY SHARE", "FOR SHARE"} {
		if err := w.do(ctx, "BEGIN", "SELECT * "+row+" "+lock); err != nil {
			return err
		}
		for _, s := range []string{"BEGIN", "SELECT * " + row + " FOR KEY SHARE", "COMMIT"} {
			if err := w.on(ctx, w.b, s); err != nil {
				return err
			}
		}
		if err := w.do(ctx, "UPDATE account SET note = 'shared' WHERE id IN (SELECT id "+row+")", "COMMIT"); err != nil {
			return err
		}
	}
	return nil
}

// foreignKey inserts children of a few parents, which locks these, while the
// other session updates them.
func foreignKey(ctx context.Context, w *worker) error {
	parent := w.between(1, 50)
	if err := w.do(ctx, "BEGIN", fmt.Sprintf("INSERT INTO child (parent) VALUES (%d)", parent)); err != nil {
		return err
	}
	if err := w.on(ctx, w.b, fmt.Sprintf("UPDATE parent SET v = v + 1 WHERE id = %d", parent)); err != nil {
		return err
	}
	return w.do(ctx, "COMMIT", fmt.Sprintf("DELETE FROM child WHERE id %% 13 = %d", w.between(0, 12)))
}

// lockUpdated locks a row that the other session is updating: the lock spreads
// to the new version.
func lockUpdated(ctx context.Context, w *worker) error {
	id := w.account()
	if err := w.do(ctx, "BEGIN", fmt.Sprintf("UPDATE account SET note = 'moving' WHERE id = %d", id)); err != nil {
		return err
	}
	for _, s := range []string{"BEGIN", fmt.Sprintf("SELECT * FROM account WHERE id = %d FOR KEY SHARE", id)} {
		if err := w.on(ctx, w.b, s); err != nil {
			return err
		}
	}
	if err := w.do(ctx, "COMMIT"); err != nil {
		return err
	}
	return w.on(ctx, w.b, "COMMIT")
}

// lockOnly leaves xmax set by lockers that change nothing, some of them aborted.
func lockOnly(ctx context.Context, w *worker) error {
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		err := w.do(ctx, "BEGIN",
			fmt.Sprintf("SELECT * FROM account WHERE id = %d FOR UPDATE", w.account()),
			fmt.Sprintf("SELECT * FROM account WHERE id = %d FOR NO KEY UPDATE", w.account()), end)
		if err != nil {
			return err
		}
	}
	return nil
}

// twoPhase prepares three transactions: one commits, one rolls back, and one
// in three clients leaves the last one to resolvePrepared.
func twoPhase(ctx context.Context, w *worker) error {
	for i, end := range []string{"COMMIT PREPARED", "ROLLBACK PREPARED", "COMMIT PREPARED"} {
		gid, table := w.name("gid"), w.name("prepared")
		err := w.do(ctx, "BEGIN",
			"CREATE TABLE "+table+" (i int)", "INSERT INTO "+table+" VALUES (1)",
			fmt.Sprintf("INSERT INTO history (account, delta, filler) VALUES (%d, 1, 'prepared')", w.account()),
			"SAVEPOINT s", fmt.Sprintf("INSERT INTO kv VALUES ('%s', 1)", gid),
			"PREPARE TRANSACTION '"+gid+"'")
		if err != nil {
			return err
		}
		if i == 2 && w.id%3 == 0 {
			continue
		}
		if err := w.do(ctx, end+" '"+gid+"'"); err != nil {
			return err
		}
	}
	return nil
}

func vacuum(ctx context.Context, w *worker) error {
	tables := []string{"account", "history", "document", "kv", "tag", "wide", "child", "parent"}
	at := w.between(0, len(tables)-1)
	return w.do(ctx, "VACUUM "+tables[at], "VACUUM (INDEX_CLEANUP ON) "+tables[(at+1)%len(tables)], "ANALYZE "+tables[at])
}

func freeze(ctx context.Context, w *worker) error {
	table := []string{"account", "history", "kv", "wide"}[w.between(0, 3)]
	return w.do(ctx, "VACUUM FREEZE "+table, "VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) parent")
}

// truncate works on a table of its own, in the transaction that made it and after.
func truncate(ctx context.Context, w *worker) error {
	t := w.name("truncated")
	return w.do(ctx, "BEGIN", "CREATE TABLE "+t+" (id serial PRIMARY KEY, v text)",
		"INSERT INTO "+t+" (v) SELECT 'a' FROM generate_series(1, 300)", "TRUNCATE "+t, "COMMIT",
		"INSERT INTO "+t+" (v) SELECT repeat('b', 50) FROM generate_series(1, 2000)",
		"DELETE FROM "+t+" WHERE id > 300", "VACUUM (TRUNCATE) "+t,
		"TRUNCATE "+t+" RESTART IDENTITY", "INSERT INTO "+t+" (v) VALUES ('left')")
}

// rewrite makes new relation files for old tables, and drops.
func rewrite(ctx context.Context, w *worker) error {
	t := w.name("rewritten")
	return w.do(ctx, "CREATE TABLE "+t+" (id int, v text)",
		"INSERT INTO "+t+" SELECT i, md5(i::text) FROM generate_series(1, 1500) i",
		"DELETE FROM "+t+" WHERE id % 3 = 0", "VACUUM FULL "+t,
		"ALTER TABLE "+t+" ALTER id TYPE bigint", "CREATE INDEX "+t+"_i ON "+t+" (v)", "CLUSTER "+t+" USING "+t+"_i",
		"CREATE TABLE "+t+"_copy AS SELECT * FROM "+t, "DROP TABLE "+t)
}

func index(ctx context.Context, w *worker) error {
	n := w.name("extra")
	return w.do(ctx, "CREATE INDEX "+n+" ON history (delta, id)", "CREATE UNIQUE INDEX "+n+"_u ON account (id, note) INCLUDE (branch)",
		"REINDEX INDEX "+n, fmt.Sprintf("UPDATE account SET note = 'i' WHERE branch = %d", w.between(0, 20)),
		"DROP INDEX "+n, "DROP INDEX "+n+"_u")
}

func temporary(ctx context.Context, w *worker) error {
	t := w.name("temporary")
	return w.do(ctx, "CREATE TEMP TABLE "+t+" (i int PRIMARY KEY)",
		"INSERT INTO "+t+" SELECT generate_series(1, 1000)",
		"INSERT INTO history (account, delta) SELECT i, i FROM "+t+" WHERE i < 50")
}

func unlogged(ctx context.Context, w *worker) error {
	t := w.name("unlogged")
	return w.do(ctx, "INSERT INTO volatile (v) SELECT 'v' FROM generate_series(1, 200)",
		"CREATE UNLOGGED TABLE "+t+" (i int PRIMARY KEY)", "INSERT INTO "+t+" SELECT generate_series(1, 300)",
		"ALTER TABLE "+t+" SET LOGGED", "UPDATE "+t+" SET i = -i WHERE i < 20")
}

// database makes databases by both strategies, which 15 introduced, and drops one.
func database(ctx context.Context, w *worker) error {
	for i, strategy := range []string{"wal_log", "file_copy"} {
		if w.done > w.perRound && i != w.rnd.IntN(2) {
			continue // they are large; both are made in the first round
		}
		db := w.name("db")
		if w.c.Major >= 15 {
			strategy = " STRATEGY " + strategy
		} else {
			strategy = ""
		}
		if err := w.do(ctx, "CREATE DATABASE "+db+" TEMPLATE template0"+strategy); err != nil {
			return err
		}
		err := w.c.TryExec(db, "CREATE TABLE t (i int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 500)", "VACUUM t")
		if err != nil {
			return err
		}
		if i == w.id%2 {
			if err := w.do(ctx, "DROP DATABASE "+db); err != nil {
				return err
			}
		}
	}
	return nil
}

// tablespace moves a table there and back.
func tablespace(ctx context.Context, w *worker) error {
	if !w.options.Tablespace {
		return nil
	}
	t := w.name("moved")
	return w.do(ctx, "CREATE TABLE "+t+" (i int PRIMARY KEY) TABLESPACE side",
		"INSERT INTO "+t+" SELECT generate_series(1, 800)", "ALTER TABLE "+t+" SET TABLESPACE pg_default",
		"ALTER TABLE "+t+" SET TABLESPACE side", "DELETE FROM "+t+" WHERE i % 2 = 0")
}

func checkpoint(ctx context.Context, w *worker) error {
	if w.id != 0 {
		return nil
	}
	return w.do(ctx, "CHECKPOINT")
}
