package verify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
)

// named is what a server says of one relation.
type named struct{ database, name, indexOf, toastOf string }

// namesOf asks a server for the names of all relations with storage in a database.
func namesOf(t *testing.T, c *pgtest.Cluster, db string) map[pg.RelFileLocator]named {
	t.Helper()
	text := c.QueryIn(db, `
		SELECT string_agg(concat_ws(E'\x1f',
			CASE WHEN c.relisshared THEN 1664 WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END,
			CASE WHEN c.relisshared THEN 0 ELSE d.oid END, pg_relation_filenode(c.oid),
			CASE WHEN c.relisshared THEN '' ELSE d.datname END, n.nspname || '.' || c.relname,
			coalesce(tn.nspname || '.' || tc.relname, ''), coalesce(own.nspname || '.' || o.relname, '')), E'\x1e')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_database d ON d.datname = current_database()
			LEFT JOIN pg_index i ON i.indexrelid = c.oid
			LEFT JOIN pg_class tc ON tc.oid = i.indrelid LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace
			LEFT JOIN pg_class o ON o.reltoastrelid = coalesce(i.indrelid, c.oid) LEFT JOIN pg_namespace own ON own.oid = o.relnamespace
		WHERE pg_relation_filenode(c.oid) IS NOT NULL AND c.relpersistence = 'p'`)
	out := make(map[pg.RelFileLocator]named)
	for _, line := range strings.Split(text, "\x1e") {
		f := strings.Split(line, "\x1f")
		at, err := pg.ParseRelFileLocator(strings.Join(f[:3], "/"))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out[at] = named{f[3], f[4], f[5], f[6]}
	}
	return out
}

// TestNames damages every relation of two databases, or lets it be too long,
// and compares the names in the findings with those that the server says.
func TestNames(t *testing.T) {
	for major, online := range map[int]bool{15: true, 17: false} {
		t.Run(fmt.Sprintf("%d online=%v", major, online), func(t *testing.T) { names(t, major, online) })
	}
}

func names(t *testing.T, major int, online bool) {
	c := pgtest.Server(t, major)
	h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")}
	c.Exec("CREATE DATABASE shop", "CREATE DATABASE gone")
	c.ExecIn("shop",
		"CREATE SCHEMA warm", `CREATE SCHEMA "Ångström ""x"""`,
		"CREATE TABLE old_name (a int PRIMARY KEY, b text)", "CREATE TABLE rewritten (a int PRIMARY KEY, b text)",
		"CREATE TABLE emptied (a int PRIMARY KEY, b text)", "CREATE TABLE moved (a serial)",
		"CREATE TABLE dropped (a int)", "INSERT INTO dropped VALUES (1)",
		"INSERT INTO old_name SELECT g, repeat('x', 3000) FROM generate_series(1, 50) g",
		"INSERT INTO rewritten SELECT g, 'x' FROM generate_series(1, 50) g")
	dropped := c.RelationPath("shop", "dropped")
	if !online {
		c.CleanCopy(h.base)
		c.Start()
	} else {
		c.BaseBackup(h.base)
	}
	c.ExecIn("shop",
		"ALTER TABLE old_name RENAME TO new_name", "VACUUM FULL rewritten", "TRUNCATE emptied", `ALTER TABLE moved SET SCHEMA warm`,
		"DROP TABLE dropped", `CREATE TABLE "Ångström ""x"""."an ""odd"" name" (a int, b text)`,
		"BEGIN; ALTER TABLE rewritten RENAME TO never; CREATE INDEX never_i ON never (b); ROLLBACK",
		"CREATE MATERIALIZED VIEW seen AS SELECT a FROM rewritten", "REINDEX TABLE new_name",
		"VACUUM FULL pg_class", "VACUUM FULL pg_index", "VACUUM FULL pg_namespace", "VACUUM FULL pg_attribute", "VACUUM FULL pg_database")
	c.Exec("ALTER DATABASE gone RENAME TO store", "CHECKPOINT")
	want := namesOf(t, c, "shop")
	for at, n := range namesOf(t, c, "store") {
		want[at] = n
	}
	c.Stop(pgtest.Fast)
	c.CollectWAL(h.wal)
	wantClean(t, mustVerify(t, h.options()))

	resurrect(t, h, dropped)
	for at := range want {
		spoil(t, h.Data, at)
	}
	o := h.options()
	o.All = true
	v := mustVerify(t, o)
	found := make(map[pg.RelFileLocator]named)
	for _, d := range v.Discrepancies {
		if r := d.Relation; r != nil && r.Fork == pg.MainFork && d.Severity == finding.Critical {
			found[pg.RelFileLocator{Spc: r.Tablespace, DB: r.Database, Rel: r.RelFileNode}] = named{r.DatabaseName, r.Name, r.IndexOf, r.ToastOf}
		}
	}
	at, _ := datadir.ParseRelPath(dropped)
	if n, ok := found[at.RelFileLocator]; ok && n != (named{"shop", "public.dropped", "", ""}) {
		t.Errorf("the dropped relation is found as %+v", n)
	}
	for at, n := range want {
		if found[at] != n {
			t.Errorf("%s is %+v, found as %+v", at, n, found[at])
		}
	}
	t.Logf("%d relations, %d of them found, %d discrepancies", len(want), len(found), len(v.Discrepancies))
}

// resurrect puts a file of the base back.
func resurrect(t *testing.T, h history, path string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(h.base, path))
	if err == nil {
		err = os.WriteFile(filepath.Join(h.Data, path), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// spoil makes a relation's first page rot, or gives an empty file a page.
func spoil(t *testing.T, dir string, at pg.RelFileLocator) {
	t.Helper()
	path := filepath.Join(dir, datadir.RelPath(pg.RelFork{RelFileLocator: at}, 0, ""))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) == 0 {
		raw = make([]byte, pg.BlockSize)
		copy(raw, "page "+strconv.Itoa(int(at.Rel)))
	} else {
		raw[8] ^= 0x55 // the checksum
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
