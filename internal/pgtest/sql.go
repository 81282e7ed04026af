package pgtest

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"redoubt/internal/pg"
)

// DSN is the connection string of a database.
func (c *Cluster) DSN(db string) string {
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=%s sslmode=disable", c.Socket, c.Port, db)
}

// Connect opens a connection that ends with the test at the latest.
func (c *Cluster) Connect(db string) *pgx.Conn {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN(db))
	c.check(err)
	c.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Exec runs statements in the database postgres, each in a transaction of its
// own unless one of them says BEGIN.
func (c *Cluster) Exec(statements ...string) {
	c.t.Helper()
	c.ExecIn("postgres", statements...)
}

// ExecIn is Exec in another database.
func (c *Cluster) ExecIn(db string, statements ...string) {
	c.t.Helper()
	c.check(c.TryExec(db, statements...))
}

// TryExec is ExecIn for statements that may fail.
func (c *Cluster) TryExec(db string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN(db))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, s := range statements {
		if _, err := conn.PgConn().Exec(ctx, s).ReadAll(); err != nil {
			return fmt.Errorf("run %q: %w", s, err)
		}
	}
	return nil
}

// Query returns the single value of a query in the database postgres, as text.
func (c *Cluster) Query(sql string, args ...any) string {
	c.t.Helper()
	return c.QueryIn("postgres", sql, args...)
}

// QueryIn is Query in another database.
func (c *Cluster) QueryIn(db, sql string, args ...any) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN(db))
	c.check(err)
	defer func() { _ = conn.Close(ctx) }()
	s, err := queryText(ctx, conn, sql, args...)
	c.check(err)
	return s
}

// queryText returns one value as text, whatever its type; NULL is empty.
func queryText(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (string, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = fmt.Append(nil, a)
	}
	res := conn.PgConn().ExecParams(ctx, sql, params, nil, nil, nil).Read()
	switch {
	case res.Err != nil:
		return "", fmt.Errorf("query %q: %w", sql, res.Err)
	case len(res.Rows) != 1 || len(res.Rows[0]) != 1:
		return "", fmt.Errorf("query %q: %d rows, want one with one column", sql, len(res.Rows))
	}
	return string(res.Rows[0][0]), nil
}

// LSN is the server's current insert position.
func (c *Cluster) LSN() pg.LSN {
	c.t.Helper()
	l, err := pg.ParseLSN(c.Query("SELECT pg_current_wal_insert_lsn()"))
	c.check(err)
	return l
}

// Checkpoint writes a checkpoint.
func (c *Cluster) Checkpoint() {
	c.t.Helper()
	c.Exec("CHECKPOINT")
}

// RelationPath is the path of a relation's main fork relative to the data
// directory, as pg_relation_filepath says it.
func (c *Cluster) RelationPath(db, relation string) string {
	c.t.Helper()
	return c.QueryIn(db, "SELECT pg_relation_filepath($1::regclass)", relation)
}
