package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Random is a workload of concurrent clients that draws everything from Seed:
// tables and their indexes, of all methods that the server has, and what each
// client does to them. HOT chains, TOAST, large objects, savepoints, prepared
// transactions, row locks, scans that mark dead entries, vacuum, freezing,
// rewrites, indexes built, dropped and rebuilt under writers.
//
// Two runs of one seed give each client the same statements; how the clients
// interleave, and so what each statement finds, differs.
type Random struct {
	Seed    uint64
	Clients int // 3 if zero
	Steps   int // of each client; 60 if zero
	Kills   int // how often the server is killed in the middle (SIGKILL) and recovers
}

// Run runs the workload. The server must run, and runs afterwards.
func (r Random) Run(c *Cluster) {
	c.t.Helper()
	s, err := newRandomSchema(c, rand.New(rand.NewPCG(r.Seed, 1<<32)))
	c.check(err)
	m := Mixed{Seed: r.Seed, Clients: r.Clients, Operations: r.Steps, Crashes: r.Kills, plan: s.operations(), kill: true}
	if m.Clients == 0 {
		m.Clients = 3
	}
	if m.Operations == 0 {
		m.Operations = 60
	}
	c.check(m.run(c))
}

// randomTables is the number of tables; the last one is small, so that the
// clients meet each other on its rows.
const randomTables = 3

// randomSchema is what a seed makes of the tables.
type randomSchema struct {
	indexes []randomIndex // what this server can build
}

// randomIndex is an index definition behind "CREATE INDEX … ON table ".
type randomIndex struct{ extension, definition string }

// randomIndexes are definitions for the columns that all tables have.
var randomIndexes = []randomIndex{
	{"", "(k)"}, {"", "(t)"}, {"", "(d, k) WITH (fillfactor = 50)"}, {"", "(k) WHERE k % 2 = 0"}, {"", "(lower(t)) INCLUDE (k)"}, {"", "(k, t) WITH (deduplicate_items = off)"},
	{"", "USING hash (k)"}, {"", "USING hash (t) WITH (fillfactor = 40)"}, {"", "USING hash (d)"},
	{"", "USING gin (a) WITH (fastupdate = off)"}, {"", "USING gin (a)"}, {"", "USING gin (j)"}, {"", "USING gin (j jsonb_path_ops) WITH (fastupdate = off)"},
	{"", "USING gin (v) WITH (gin_pending_list_limit = 64)"}, {"pg_trgm", "USING gin (t gin_trgm_ops)"}, {"btree_gin", "USING gin (k, d) WITH (fastupdate = off)"},
	{"", "USING gist (p)"}, {"", "USING gist (r) WITH (fillfactor = 60)"}, {"", "USING gist (n inet_ops)"}, {"", "USING gist (v)"}, {"", "USING gist (b) WITH (buffering = on)"},
	{"btree_gist", "USING gist (k, r)"}, {"pg_trgm", "USING gist (t gist_trgm_ops)"},
	{"", "USING spgist (p)"}, {"", "USING spgist (p kd_point_ops)"}, {"", "USING spgist (t) INCLUDE (k)"}, {"", "USING spgist (r)"}, {"", "USING spgist (n)"}, {"", "USING spgist (b) WITH (fillfactor = 50)"},
	{"", "USING brin (k) WITH (pages_per_range = 2)"}, {"", "USING brin (d, t) WITH (pages_per_range = 1, autosummarize = off)"}, {"", "USING brin (r) WITH (pages_per_range = 3)"},
	{"", "USING brin (k int4_bloom_ops) WITH (pages_per_range = 4)"}, {"", "USING brin (k int4_minmax_multi_ops) WITH (pages_per_range = 2)"}, {"", "USING brin (n inet_inclusion_ops, b)"},
	{"bloom", "USING bloom (k, t)"},
}

// newRandomSchema makes the tables and their first indexes.
func newRandomSchema(c *Cluster, rnd *rand.Rand) (*randomSchema, error) {
	s := &randomSchema{}
	available := strings.Fields(c.Query("SELECT coalesce(string_agg(name, ' '), '') FROM pg_available_extensions"))
	for _, x := range randomIndexes {
		if x.extension != "" && !slices.Contains(available, x.extension) {
			continue
		}
		s.indexes = append(s.indexes, x)
		if x.extension == "" {
			continue
		}
		if err := c.TryExec("postgres", "CREATE EXTENSION IF NOT EXISTS "+x.extension); err != nil {
			return nil, err
		}
	}
	for i := range randomTables {
		table := fmt.Sprintf("random%d", i)
		statements := []string{
			fmt.Sprintf(`CREATE TABLE %s (id bigserial PRIMARY KEY, k int, t text, d date, p point, b box, r int4range, n inet, a int[], j jsonb, v tsvector,
				c int DEFAULT 0, big text, lo oid) WITH (fillfactor = %d)`, table, []int{100, 80, 40}[rnd.IntN(3)]),
			"ALTER TABLE " + table + " ALTER big SET STORAGE " + []string{"EXTERNAL", "EXTENDED"}[rnd.IntN(2)],
		}
		rows := []int{400, 150, 20}[i]
		before := rnd.IntN(2) == 0 // rows come before the indexes, which are then built of them
		if before {
			statements = append(statements, insertRandom(rnd, table, rows))
		}
		for range 4 + rnd.IntN(5) {
			statements = append(statements, s.createIndex(rnd, table, ""))
		}
		if !before {
			statements = append(statements, insertRandom(rnd, table, rows))
		}
		if err := c.TryExec("postgres", statements...); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// createIndex is a statement that makes any index.
func (s *randomSchema) createIndex(rnd *rand.Rand, table, how string) string {
	return fmt.Sprintf("CREATE INDEX %s ON %s %s", how, table, s.indexes[rnd.IntN(len(s.indexes))].definition)
}

// pick is one of several.
func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

// randomColumns is a SELECT list for the columns from k to v, of i.
func randomColumns(rnd *rand.Rand) string {
	x := 1 + rnd.IntN(1000)
	return strings.Join([]string{
		fmt.Sprintf("(i * %d) %% %d", x, pick(rnd, 2, 40, 1_000_000)),
		pick(rnd, "md5(i::text)", "'same'", "left('https://www.example.com/path', i % 29) || chr(40 + i % 80) || i", "repeat(chr(97 + i % 20), i % 180)", "NULL",
			"(SELECT string_agg(md5((i * 7 + g)::text), '') FROM generate_series(1, 20) g)"),
		fmt.Sprintf("CASE WHEN i %% 11 > 0 THEN date '2020-01-01' + (i * %d) %% 900 END", x),
		pick(rnd, "point(1, 1)", "NULL::point", fmt.Sprintf("point(i * %d %% 1009, i %% 97)", x)),
		pick(rnd, "box(point(0, 0), point(1, 1))", fmt.Sprintf("box(point(i %% 50, i * %d %% 60), point(i %% 7, i %% 300))", x)),
		pick(rnd, "'empty'::int4range", "int4range(i, NULL)", fmt.Sprintf("int4range(i %% 60, i %% 60 + %d)", x)),
		fmt.Sprintf("CASE WHEN i %% 13 > 0 THEN ('10.' || i %% %d || '.' || i %% 250 || '.1')::inet ELSE '2001:db8::'::inet + i END", pick(rnd, 3, 250)),
		pick(rnd, "ARRAY[7]", "NULL::int[]", fmt.Sprintf("ARRAY[i %% 3, i, %d]", x), "(SELECT array_agg(g * i) FROM generate_series(1, 30) g)"),
		pick(rnd, "NULL::jsonb", fmt.Sprintf(`jsonb_build_object('k', i %% 5, 'x' || i, %d, 'l', jsonb_build_array(i, NULL, true))`, x)),
		pick(rnd, "NULL::tsvector", fmt.Sprintf("to_tsvector('simple', 'all w' || i %% 9 || ' r' || i * %d)", x)),
	}, ", ")
}

// insertRandom is a statement that adds rows.
func insertRandom(rnd *rand.Rand, table string, rows int) string {
	return fmt.Sprintf("INSERT INTO %s (k, t, d, p, b, r, n, a, j, v) SELECT %s FROM generate_series(%d, %d) i", table, randomColumns(rnd), 1, rows)
}

// lost reports whether a statement failed because of what another client did
// to the same objects.
func lost(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	if conflict(err) {
		return true
	}
	switch e.Code {
	case "42704", "42703", "0A000": // an index, a column is gone; CLUSTER on one that can't
		return true
	case "XX000":
		return strings.Contains(e.Message, "could not open relation") || strings.Contains(e.Message, "cache lookup failed") ||
			strings.Contains(e.Message, "could not find")
	case "55000": // an index is not valid any more
		return true
	}
	return false
}

// operations are what clients do; a client's plan is made of shuffles of them.
func (s *randomSchema) operations() []operation {
	var all []operation
	add := func(times int, name string, run func(ctx context.Context, w *worker) error) {
		for range times {
			all = append(all, operation{name, func(ctx context.Context, w *worker) error {
				// Who loses against another client soon does something else.
				err := w.do(ctx, "SET lock_timeout = '200ms'")
				if err == nil {
					err = run(ctx, w)
				}
				if lost(err) {
					return nil
				}
				return err
			}})
		}
	}
	add(4, "insert", randomInsert)
	add(6, "change", randomChange)
	add(4, "transaction", randomTransaction)
	add(2, "prepare", randomPrepared)
	add(2, "lock", randomLock)
	add(2, "scan", randomScan)
	add(3, "vacuum", randomVacuum)
	add(1, "toast", randomToast)
	add(1, "large object", randomLargeObject)
	add(1, "copy", randomCopy)
	add(2, "index", s.randomIndexing)
	add(1, "rewrite", randomRewrite)
	add(1, "summaries", randomSummaries)
	add(1, "checkpoint", checkpoint)
	return all
}
