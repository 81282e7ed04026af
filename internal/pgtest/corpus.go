package pgtest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Corpus is PostgreSQL's own regression SQL and that of its contrib modules,
// run for the WAL it leaves. Whether a statement does what its test wants is
// of no interest here: it is the SQL of one major version, run on all, without
// the C functions of regress.so.
type Corpus struct {
	// Regress names the tests to run, in the order of PostgreSQL's parallel
	// schedule; nil: all of them.
	Regress []string
	// Contrib names the modules to run; nil: all of them.
	Contrib []string
	Clients int // at once; default 4
}

// corpusRun is a Corpus under way.
type corpusRun struct {
	Corpus
	c            *Cluster
	psql, source string
	files        atomic.Int64
	unfinished   atomic.Int64 // files whose client did not come to the end
}

// corpusTimeout is what one file may take; some wait for what never comes.
const corpusTimeout = 3 * time.Minute

// brokenModules are run by nobody here, for the reason given.
var brokenModules = map[string]string{
	"basic_archive":      "wants to be the server's archive_library",
	"pg_stat_statements": "wants to be preloaded, writes nothing",
	"pg_surgery":         "breaks rows on purpose, without WAL that says so",
	"sepgsql":            "wants SELinux",
}

// Run passes the SQL to a cluster, several files at once as the schedule
// allows. It skips the proof where the SQL was not fetched.
func (o Corpus) Run(c *Cluster) {
	c.t.Helper()
	root, err := RepoRoot()
	c.check(err)
	o.Clients = cmp.Or(o.Clients, 4)
	w := &corpusRun{Corpus: o, c: c, psql: Tool(c.t, 0, "psql")}
	w.source = c.Dir("sql")
	from := filepath.Join(root, ".cache", "postgres-sql")
	if _, err := os.Stat(filepath.Join(from, "VERSION")); err != nil {
		SkipProof(c.t, "no regression SQL of PostgreSQL in .cache/postgres-sql; scripts/fetch-postgres-sql gets it from Debian")
	}
	for _, part := range []string{"regress", "contrib"} {
		c.check(copyTree(from+"/"+part, w.source+"/"+part, nil))
	}
	c.check(w.disarm())
	c.check(os.MkdirAll(w.source+"/regress/results", 0o755))
	c.check(c.acct.own(w.source))
	c.check(w.regress())
	c.check(w.contrib())
	c.t.Logf("ran %d files of SQL, %d of them not to the end", w.files.Load(), w.unfinished.Load())
}

// crashers are statements that end servers of some minor releases: tests of
// bugs that were fixed later than these. The file is run without them.
var crashers = map[string]*regexp.Regexp{
	"regress/sql/sqljson.sql":                    regexp.MustCompile(`sqljson_mystr`),
	"regress/sql/hash_part.sql":                  regexp.MustCompile(`VARIADIC NULL::int\[\]`),
	"contrib/pageinspect/sql/oldextversions.sql": regexp.MustCompile(`brin_page_items`),
	"contrib/pageinspect/sql/brin.sql":           regexp.MustCompile(`brin_page_items|brin_revmap_data`),
	"contrib/xml2/sql/xml2.sql":                  regexp.MustCompile(`//namespace::foo`),
}

// disarm cuts the crashers out, a statement each.
func (w *corpusRun) disarm() error {
	for name, bad := range crashers {
		path := filepath.Join(w.source, name)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		statements := strings.SplitAfter(string(b), ";\n")
		kept := slices.DeleteFunc(statements, bad.MatchString)
		if err := os.WriteFile(path, []byte(strings.Join(kept, "")), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// database makes a database with what pg_regress sets for its own. Another
// module's file may crash the server meanwhile.
func (w *corpusRun) database(name, strategy string) error {
	err := w.c.TryExec("postgres", corpusDatabase(name, strategy)...)
	if err == nil {
		return nil
	}
	w.c.t.Logf("make database %s, and once again: %v", name, err)
	if err := w.c.awaitReady(); err != nil {
		return err
	}
	return w.c.TryExec("postgres", corpusDatabase(name, strategy)...)
}

func corpusDatabase(name, strategy string) []string {
	sql := []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name + " TEMPLATE template0" + strategy}
	for _, set := range []string{
		"lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'", "bytea_output TO 'hex'",
		"timezone_abbreviations TO 'Default'", "timezone TO 'PST8PDT'", "datestyle TO 'Postgres, MDY'", "intervalstyle TO 'postgres_verbose'",
		"statement_timeout TO '60s'",
	} {
		sql = append(sql, "ALTER DATABASE "+name+" SET "+set)
	}
	return sql
}

// regress runs the groups of the parallel schedule one after the other.
func (w *corpusRun) regress() error {
	if err := w.database("regression", ""); err != nil {
		return err
	}
	schedule, err := os.ReadFile(w.source + "/regress/parallel_schedule")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(schedule)) {
		tests, ok := strings.CutPrefix(line, "test: ")
		if !ok {
			continue
		}
		var group errgroup.Group
		group.SetLimit(w.Clients)
		for _, test := range strings.Fields(tests) {
			if w.Regress == nil || slices.Contains(w.Regress, test) {
				group.Go(func() error { return w.file("regress", "regression", test) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// contrib runs modules side by side, each in a database of its own.
func (w *corpusRun) contrib() error {
	makefiles, err := filepath.Glob(w.source + "/contrib/*/Makefile")
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(w.Clients)
	for i, path := range makefiles {
		module := filepath.Base(filepath.Dir(path))
		if brokenModules[module] != "" || w.Contrib != nil && !slices.Contains(w.Contrib, module) {
			continue
		}
		makefile, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		strategy := ""
		if i%2 == 0 && w.c.Major >= 15 {
			strategy = " STRATEGY file_copy"
		}
		group.Go(func() error { return w.module(module, regressTests(string(makefile)), strategy) })
	}
	return group.Wait()
}

// regressTests are the tests that a module's makefile lists.
func regressTests(makefile string) []string {
	lines := strings.ReplaceAll(makefile, "\\\n", " ")
	for line := range strings.Lines(lines) {
		if tests, ok := strings.CutPrefix(line, "REGRESS ="); ok {
			return slices.DeleteFunc(strings.Fields(tests), func(s string) bool { return strings.HasPrefix(s, "$") })
		}
	}
	return nil
}

// module runs a module's tests in order.
func (w *corpusRun) module(module string, tests []string, strategy string) error {
	if len(tests) == 0 {
		return nil
	}
	db := "contrib_regression_" + strings.ReplaceAll(module, "-", "_")
	if err := w.database(db, strategy); err != nil {
		return err
	}
	for _, test := range tests {
		if err := w.file("contrib/"+module, db, test); err != nil {
			return err
		}
	}
	return nil
}

// file runs one file with psql. That its statements fail is no error; that the server is gone is.
func (w *corpusRun) file(dir, db, test string) error {
	dir = filepath.Join(w.source, dir)
	path := filepath.Join(dir, "sql", test+".sql")
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("find a test that the schedule names: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), corpusTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.psql, "-X", "-a", "-q", "-d", db, "-f", path,
		"-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on")
	cmd.SysProcAttr = w.c.acct.attr()
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "PGHOST=" + w.c.Socket, fmt.Sprintf("PGPORT=%d", w.c.Port), "PGUSER=postgres",
		"PGTZ=PST8PDT", "PGDATESTYLE=Postgres, MDY", "PG_ABS_SRCDIR=" + dir, "PG_ABS_BUILDDIR=" + dir,
		"PG_LIBDIR=" + filepath.Join(w.c.Bin, "..", "lib"), "PG_DLSUFFIX=.so",
	}
	w.files.Add(1)
	if err := cmd.Run(); err != nil {
		w.unfinished.Add(1)
		w.c.t.Logf("%s in %s: %v", test, db, err)
		if err := w.c.awaitReady(); err != nil {
			return fmt.Errorf("run %s in %s: %w\n%s", test, db, err, w.c.LogTail(30))
		}
	}
	return nil
}
