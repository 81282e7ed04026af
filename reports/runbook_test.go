package reports

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

// allKindsOfFinding are the kinds that a runbook must have words for.
var allKindsOfFinding = []finding.Kind{
	finding.MissingRelation, finding.ExtraRelation, finding.SizeMismatch, finding.ZeroedPage, finding.BitRot, finding.TornPage,
	finding.LostWrite, finding.PhantomWrite, finding.WrongRedo, finding.SLRUMismatch, finding.HintBits, finding.Unexplained,
}

func TestEveryKindHasARunbook(t *testing.T) {
	for _, k := range allKindsOfFinding {
		d := lostWrite()
		d.Kind = k
		b := runbookOf(&finding.Verification{}, &d)
		if meanings[k] == "" || b.Means == "" || b.FalseAlarm == "" || len(b.Confirm) == 0 || len(b.Repair) == 0 {
			t.Errorf("%s: %+v", k, b)
		}
	}
}

// TestHostileNamesStayOutOfCommands: a name that means something to a shell
// or to SQL is in no command.
func TestHostileNamesStayOutOfCommands(t *testing.T) {
	for _, bad := range append(hostile, `a.b; DROP TABLE x`, `public."x"`, `host=evil.example`, `public.Accounts`, `$(reboot).x`, `a.b.c`, "public.x\n;") {
		for _, k := range allKindsOfFinding {
			d := richWrite(t)
			d.Kind, d.Relation.Name, d.Relation.DatabaseName, d.Relation.IndexOf, d.Relation.ToastOf = k, bad, bad, bad, bad
			b := runbookOf(&finding.Verification{}, &d)
			for _, s := range append(b.Confirm, b.Repair...) {
				if strings.Contains(s.Code, bad) || strings.Contains(s.Code, plain(bad)) {
					t.Errorf("%s: %q is in %q", k, bad, s.Code)
				}
			}
		}
	}
}

// TestRunbooksRun runs every command of the runbooks for tables, TOAST
// tables, indexes, sequences, maps and transactions against real servers.
func TestRunbooksRun(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			c := pgtest.Server(t, major, pgtest.NoArchive())
			c.Exec(`CREATE TABLE accounts (id serial PRIMARY KEY, owner text, doc text)`,
				`ALTER TABLE accounts ALTER doc SET STORAGE EXTERNAL`,
				`INSERT INTO accounts (owner, doc) SELECT 'o' || i, repeat(md5(i::text), 100) FROM generate_series(1, 500) i`,
				`VACUUM accounts`, `CREATE TABLE "Wild ""Name" (id int PRIMARY KEY)`, `INSERT INTO "Wild ""Name" SELECT generate_series(1, 9)`)
			psql := pgtest.Tool(t, 0, "psql")
			for _, x := range []struct {
				rel, name string // in SQL; as Redoubt says it
				fork      pg.ForkNumber
				of        finding.Relation
			}{
				{rel: "accounts", name: "public.accounts"}, {rel: `"Wild ""Name"`, name: `public.Wild "Name`},
				{rel: "accounts", fork: pg.VMFork, name: "public.accounts"},
				{rel: "accounts_pkey", name: "public.accounts_pkey", of: finding.Relation{IndexOf: "public.accounts"}},
				{rel: `"Wild ""Name_pkey"`, name: `public.Wild "Name_pkey`, of: finding.Relation{IndexOf: "public.x"}},
				{rel: "accounts_id_seq", name: "public.accounts_id_seq"},
				{rel: "toast", of: finding.Relation{ToastOf: "public.accounts"}},
				{rel: "pg_class", name: "pg_catalog.pg_class"}, {rel: "pg_database", name: "pg_catalog.pg_database"},
			} {
				rel := "'" + strings.ReplaceAll(x.rel, "'", "''") + "'::regclass"
				if x.rel == "toast" {
					rel = "(SELECT reltoastrelid FROM pg_class WHERE relname = 'accounts')::regclass"
				}
				for _, k := range []finding.Kind{finding.LostWrite, finding.SizeMismatch} {
					d := onServer(t, c.Query("SELECT pg_relation_filepath("+rel+")"), x.fork) // a repair may have moved it
					d.Relation.Name, d.Relation.IndexOf, d.Relation.ToastOf = x.name, x.of.IndexOf, x.of.ToastOf
					d.Kind = k
					if k == finding.SizeMismatch {
						d.Block = nil
					}
					runSteps(t, c, psql, runbookOf(&finding.Verification{}, &d))
				}
			}
			slru := finding.Discrepancy{Kind: finding.SLRUMismatch, File: "pg_xact/0000", Block: ptr(int64(0)), ByteRanges: [][2]int{{180, 184}}}
			runSteps(t, c, psql, runbookOf(&finding.Verification{}, &slru))
		})
	}
}

// onServer is a discrepancy in block 0 of a file of the server.
func onServer(t *testing.T, path string, fork pg.ForkNumber) finding.Discrepancy {
	t.Helper()
	r := finding.Relation{Tablespace: pg.DefaultTablespaceOID, Fork: fork, DatabaseName: "postgres"}
	if _, err := fmt.Sscanf(path, "base/%d/%d", &r.Database, &r.RelFileNode); err != nil {
		r.Tablespace = pg.GlobalTablespaceOID
		if _, err := fmt.Sscanf(path, "global/%d", &r.RelFileNode); err != nil {
			t.Fatalf("path %s", path)
		}
	}
	if fork == pg.VMFork {
		path += "_vm"
	}
	return finding.Discrepancy{Severity: finding.Critical, Relation: &r, Block: ptr(int64(0)), File: path, Items: [][2]int{{1, 4}}, ReplayedLSN: ptr(pg.LSN(7)), OfficialLSN: ptr(pg.LSN(5))}
}

// runSteps runs what a reader would type: SQL in psql, the rest in a shell.
func runSteps(t *testing.T, c *pgtest.Cluster, psql string, b runbook) {
	t.Helper()
	for _, s := range append(b.Confirm, b.Repair...) {
		var out string
		var err error
		switch {
		case s.Code == "" || strings.HasPrefix(s.Code, "recovery_target"):
			continue
		case strings.HasPrefix(s.Code, "psql") || strings.HasPrefix(s.Code, "ls "):
			out, err = c.Run("/usr/bin/env", "PGDATA="+c.Data, "PATH="+filepath.Dir(psql)+":"+os.Getenv("PATH"), "sh", "-ec", s.Code+" </dev/null")
		default:
			script := filepath.Join(t.TempDir(), "step.sql")
			if err := os.WriteFile(script, []byte(s.Code+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err = c.Run(psql, "-X", "-v", "ON_ERROR_STOP=1", "-f", script)
		}
		if err != nil || strings.Contains(out, "ERROR") {
			t.Errorf("%s\n%s\n%v %s", s.Text, s.Code, err, out)
		}
		if strings.HasPrefix(s.Code, "SELECT pg_filenode_relation(") && !strings.Contains(out, "(1 row)") {
			t.Errorf("%s says %s", s.Code, out)
		}
	}
}
