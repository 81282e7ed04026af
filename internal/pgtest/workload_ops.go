package pgtest

import (
	"context"
	"fmt"
	"strings"
)

// accounts is the number of rows that the hot tables start with.
const accounts = 2000

// setUp makes the tables, unless an earlier run has.
func (m Mixed) setUp(c *Cluster) error {
	if c.Query("SELECT count(*) FROM pg_class WHERE relname = 'account'") != "0" {
		return nil
	}
	statements := []string{
		"CREATE TABLE account (id bigint PRIMARY KEY, branch int NOT NULL, balance numeric NOT NULL, note text) WITH (fillfactor = 80)",
		"CREATE INDEX account_branch ON account (branch)",
		"CREATE TABLE history (id bigserial PRIMARY KEY, account bigint, delta numeric, at timestamptz DEFAULT now(), filler text)",
		"CREATE INDEX history_account ON history (account, id DESC)",
		"CREATE TABLE document (id serial PRIMARY KEY, title text, body text)",
		"ALTER TABLE document ALTER body SET STORAGE EXTERNAL",
		"CREATE TABLE kv (k text PRIMARY KEY, v int)",
		"CREATE TABLE parent (id int PRIMARY KEY, v int)",
		"CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent)",
		"CREATE TABLE tag (id bigserial, name text, pad text)",
		"CREATE INDEX tag_name ON tag (name)",
		"CREATE TABLE wide (id int PRIMARY KEY, name text COLLATE \"C\" UNIQUE, filler char(300))",
		"CREATE UNLOGGED TABLE volatile (id serial PRIMARY KEY, v text)",
		"CREATE SEQUENCE ticket CACHE 1",
		"CREATE SEQUENCE batch INCREMENT 7 CACHE 20 CYCLE MAXVALUE 5000",
		fmt.Sprintf("INSERT INTO account SELECT i, i %% 20, 100, 'opened' FROM generate_series(1, %d) i", accounts),
		"INSERT INTO parent SELECT i, 0 FROM generate_series(1, 50) i",
		"INSERT INTO wide SELECT i, md5(i::text), 'x' FROM generate_series(1, 3000) i",
	}
	statements = append(append(statements, indexTables...), siteTable...)
	if m.Tablespace {
		statements = append(statements, "CREATE TABLESPACE side LOCATION '"+c.Dir("side")+"'")
	}
	return c.TryExec("postgres", statements...)
}

// operation is one thing a client does, in transactions of its own.
type operation struct {
	name string
	run  func(ctx context.Context, w *worker) error
}

// operations are all of them; a client's plan is made of whole shuffles of this list.
var operations = []operation{
	{"transfer", transfer}, {"transfer", transfer}, {"transfer", transfer}, {"transfer", transfer},
	{"insert", insertRows}, {"insert", insertRows}, {"update keys", updateKeys}, {"delete", deleteRows},
	{"copy", copyRows}, {"toast", toast}, {"upsert", upsert}, {"upsert", upsert},
	{"entries", entries}, {"entries", entries}, {"places", places}, {"places", places}, {"thin out", thinOut},
	{"duplicates", duplicates}, {"shrink", shrink}, {"expire", expire}, {"sequences", sequences},
	{"abort", abort}, {"subtransactions", subtransactions}, {"multixact", multixact}, {"foreign key", foreignKey},
	{"lock updated", lockUpdated},
	{"lock only", lockOnly}, {"two-phase", twoPhase}, {"vacuum", vacuum}, {"freeze", freeze},
	{"truncate", truncate}, {"rewrite", rewrite}, {"index", index}, {"temporary", temporary}, {"unlogged", unlogged},
	{"database", database}, {"tablespace", tablespace}, {"checkpoint", checkpoint},
	{"sites", sites}, {"sites", sites}, {"leave", leave}, {"visit", visit}, {"build", build},
}

func transfer(ctx context.Context, w *worker) error {
	from, to, amount := w.account(), w.account(), w.between(1, 50)
	return w.do(ctx, "BEGIN",
		fmt.Sprintf("UPDATE account SET balance = balance - %d WHERE id = %d", amount, from),
		fmt.Sprintf("UPDATE account SET balance = balance + %d WHERE id = %d", amount, to),
		fmt.Sprintf("INSERT INTO history (account, delta, filler) VALUES (%d, %d, repeat('h', %d))", from, -amount, w.between(0, 200)),
		"COMMIT")
}

func insertRows(ctx context.Context, w *worker) error {
	return w.do(ctx, fmt.Sprintf(
		"INSERT INTO history (account, delta, filler) SELECT 1 + (i * %d) %% %d, i, repeat('i', i %% 90) FROM generate_series(1, %d) i",
		w.between(1, 97), accounts, w.between(50, 400)))
}

// updateKeys changes indexed columns, so that no update is HOT.
func updateKeys(ctx context.Context, w *worker) error {
	at := w.account()
	return w.do(ctx,
		fmt.Sprintf("UPDATE account SET branch = branch + 1, note = repeat('n', %d) WHERE id BETWEEN %d AND %d", w.between(1, 400), at, at+30),
		fmt.Sprintf("UPDATE wide SET name = md5(name || %d) WHERE id BETWEEN %d AND %d", w.between(0, 1000), at, at+20))
}

func deleteRows(ctx context.Context, w *worker) error {
	return w.do(ctx, fmt.Sprintf("DELETE FROM history WHERE account BETWEEN %d AND %d", w.account(), w.account()+100))
}

func copyRows(ctx context.Context, w *worker) error {
	var rows strings.Builder
	for range w.between(200, 1500) {
		fmt.Fprintf(&rows, "%d\t%d\t%s\n", w.account(), w.between(-500, 500), strings.Repeat("c", w.between(0, 120)))
	}
	_, err := w.a.PgConn().CopyFrom(ctx, strings.NewReader(rows.String()), "COPY history (account, delta, filler) FROM STDIN")
	return err
}

func toast(ctx context.Context, w *worker) error {
	return w.do(ctx,
		fmt.Sprintf("INSERT INTO document (title, body) SELECT 'd' || i, repeat(md5(i::text), %d) FROM generate_series(1, 4) i", w.between(100, 900)),
		fmt.Sprintf("UPDATE document SET body = body || repeat('t', %d) WHERE id %% 7 = %d", w.between(1, 5000), w.between(0, 6)),
		fmt.Sprintf("DELETE FROM document WHERE id %% 11 = %d", w.between(0, 10)))
}

// upsert inserts speculatively; keys collide between clients.
func upsert(ctx context.Context, w *worker) error {
	return w.do(ctx, fmt.Sprintf(
		"INSERT INTO kv SELECT 'key' || (i * %d) %% 700, i FROM generate_series(1, 40) i ON CONFLICT (k) DO NOTHING", w.between(1, 30)),
		fmt.Sprintf("INSERT INTO kv VALUES ('hot%d', 1) ON CONFLICT (k) DO UPDATE SET v = kv.v + 1", w.between(1, 5)))
}

// duplicates gives a btree many equal keys: deduplication, posting list splits.
func duplicates(ctx context.Context, w *worker) error {
	return w.do(ctx, fmt.Sprintf(
		"INSERT INTO tag (name, pad) SELECT 'tag' || i %% %d, repeat('p', 10) FROM generate_series(1, %d) i", w.between(3, 9), w.between(300, 1200)),
		fmt.Sprintf("DELETE FROM tag WHERE id %% 5 = %d", w.between(0, 4)))
}

// shrink empties leaf pages of btrees and the end of a heap, which vacuum then gives back.
func shrink(ctx context.Context, w *worker) error {
	at := w.between(0, 30) * 100
	return w.do(ctx,
		"DELETE FROM tag WHERE id < (SELECT avg(id) FROM tag)",
		fmt.Sprintf("DELETE FROM wide WHERE id BETWEEN %d AND %d", at, at+400),
		"DELETE FROM wide WHERE id > 3200",
		"VACUUM tag", "VACUUM wide",
		fmt.Sprintf("INSERT INTO wide SELECT i, md5(i || 'w%d'), 'y' FROM generate_series(3000, 3400) i ON CONFLICT DO NOTHING", w.id))
}

// expire deletes the oldest rows: whole leaf pages of the primary key go and are recycled.
func expire(ctx context.Context, w *worker) error {
	return w.do(ctx, "DELETE FROM history WHERE id < (SELECT avg(id) FROM history)", "VACUUM history")
}

func sequences(ctx context.Context, w *worker) error {
	return w.do(ctx,
		fmt.Sprintf("SELECT nextval('ticket'), nextval('batch') FROM generate_series(1, %d)", w.between(1, 100)),
		fmt.Sprintf("SELECT setval('ticket', %d)", w.between(1, 1_000_000)),
		fmt.Sprintf("ALTER SEQUENCE batch RESTART WITH %d", w.between(1, 500)))
}

func abort(ctx context.Context, w *worker) error {
	t := w.name("aborted")
	return w.do(ctx, "BEGIN", "CREATE TABLE "+t+" (i int PRIMARY KEY)",
		"INSERT INTO "+t+" SELECT generate_series(1, 500)",
		fmt.Sprintf("UPDATE account SET note = 'lost' WHERE id = %d", w.account()), "ROLLBACK")
}

// subtransactions are more than a backend caches (PGPROC_MAX_CACHED_SUBXIDS, 64).
func subtransactions(ctx context.Context, w *worker) error {
	statements := []string{"BEGIN"}
	for i := range w.between(66, 90) {
		statements = append(statements, fmt.Sprintf("SAVEPOINT s%d", i),
			fmt.Sprintf("INSERT INTO history (account, delta, filler) VALUES (%d, %d, 'sub')", w.account(), i))
		if i%9 == 8 {
			statements = append(statements, fmt.Sprintf("ROLLBACK TO s%d", i))
		}
	}
	return w.do(ctx, append(statements, "COMMIT")...)
}
