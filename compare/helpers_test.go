package compare_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"redoubt/internal/pgtest"
)

func run(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// lockTwice makes two transactions hold rows, so that they get multixacts.
func lockTwice(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	a, b := c.Connect("postgres"), c.Connect("postgres")
	run(t, a, "BEGIN", "SELECT 1 FROM t WHERE id < 40 FOR SHARE")
	run(t, b, "BEGIN", "SELECT 1 FROM t WHERE id < 40 FOR SHARE")
	run(t, a, "COMMIT")
	run(t, b, "COMMIT")
}

// speculate leaves a speculative tuple behind: the backend of an INSERT … ON
// CONFLICT is terminated between its heap tuple and the index entry that
// would confirm it. The index expression is evaluated once before the tuple
// is inserted, to look for conflicts, and once behind it; there it waits.
func speculate(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	admin, stuck := c.Connect("postgres"), c.Connect("postgres")
	run(t, admin, `CREATE FUNCTION second_waits(k int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
		DECLARE n int := coalesce(nullif(current_setting('my.calls', true), ''), '0')::int;
		BEGIN
			IF k = 77 THEN
				PERFORM set_config('my.calls', (n + 1)::text, false);
				IF n = 1 THEN PERFORM pg_advisory_lock(77); END IF;
			END IF;
			RETURN k;
		END $$`,
		`CREATE TABLE held (k int)`, `CREATE UNIQUE INDEX held_k ON held (second_waits(k))`,
		`INSERT INTO held VALUES (1), (2)`, `SELECT pg_advisory_lock(77)`)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = stuck.Exec(context.Background(), `INSERT INTO held VALUES (77) ON CONFLICT DO NOTHING`) // dies
	}()
	for range 600 {
		var n int
		err := admin.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			<-ended
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the insertion never waited for its index entry")
}
