package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/official/livepg"
	"redoubt/internal/pgtest"
)

// liveSite is a running server with an archive, base backups and a configuration.
type liveSite struct {
	*pgtest.Cluster
	t                      *testing.T
	dir, base, wal, config string
}

func newLiveSite(t *testing.T) *liveSite {
	t.Helper()
	c := pgtest.Server(t, 17)
	l := &liveSite{Cluster: c, t: t, dir: c.Dir("site"), wal: c.Archive}
	l.base = filepath.Join(l.dir, "backups", "mon")
	must(t, os.Mkdir(filepath.Dir(l.base), 0o700))
	l.Own(l.dir)
	c.Exec("CREATE ROLE reader LOGIN", "CREATE ROLE locked LOGIN PASSWORD 'sesame'",
		"CREATE TABLE t AS SELECT i, repeat('x', 100) pad FROM generate_series(1, 5000) i")
	c.BaseBackup(l.base)
	c.Exec("UPDATE t SET pad = repeat('y', 100) WHERE i % 3 = 0", "CHECKPOINT")
	l.config = filepath.Join(l.dir, "redoubt.yaml")
	return l
}

// at is the server's address for a role and a database.
func (l *liveSite) at(role, database string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d&sslmode=disable", role, database, url.QueryEscape(l.Socket), l.Port)
}

func (l *liveSite) verify(official string, more ...string) outcome {
	l.t.Helper()
	return redoubt(l.t, append([]string{"verify", "--base", l.base, "--wal", l.wal, "--official", official, "--progress", "never"}, more...)...)
}

// configure writes the configuration of a job that compares the server.
func (l *liveSite) configure(live string) {
	l.t.Helper()
	must(l.t, os.WriteFile(l.config, fmt.Appendf(nil, `data_dir: %s/state
sources:
  - {name: prod, wal: %s, layout: plain, backups: %s/backups, official: "%s", live: {%s}}
jobs: {nightly: {}}
`, l.dir, l.wal, l.dir, l.at("reader", "postgres"), live), 0o600))
}

// TestLive: a running server by the command line and as a job, and what is said
// where the address, the role or the base is wrong.
func TestLive(t *testing.T) {
	pgtest.LeaveToProve(t)
	t.Parallel()
	l := newLiveSite(t)
	l.refusals()
	l.Exec(livepg.Grants("reader")...)

	// The last checkpoint is not archived.
	o := l.verify(l.at("reader", "postgres"), "--live-wal-wait", "10ms")
	o.want(t, exitInconclusive, "the WAL at hand ends before", "wait until it is archived, or let the server's own WAL be read, too")
	l.verify(l.at("reader", "postgres"), "--live-wal").want(t, exitClean)

	l.configure("server_wal: true")
	redoubt(t, "check", "-c", l.config).want(t, exitInconclusive, "the role has the rights it needs")
	o = redoubt(t, "run", "-c", l.config, "--format", "json", "--progress", "never")
	o.want(t, exitClean, `"verdict": "clean"`)
	path := l.RelationPath("postgres", "t")
	pgtest.ChangeBlock(t, l.Data, path, 3, func(p []byte) { p[5000] ^= 1 })
	l.Exec("CHECKPOINT")
	o = redoubt(t, "run", "-c", l.config, "--format", "json", "--progress", "never")
	o.want(t, exitFindings, `"kind": "bit_rot"`, path)
	if strings.Contains(o.stdout+o.stderr, "sesame") {
		t.Error("the password is in what was said")
	}

	v := l.verify(l.at("reader", "postgres"), "--live-wal", "--live-memory", "--format", "json").verification(t)
	if v.Verdict != finding.Discrepancies || !strings.Contains(v.Discrepancies[0].Explanation, "in memory is not known") {
		t.Errorf("without the function: %+v", v.Discrepancies)
	}
	l.Stop(pgtest.Fast)
	l.verify(l.at("reader", "postgres")).want(t, exitUsage, "connect to postgres://reader@/postgres", "no such file or directory")
}

// refusals: what is wrong, and its cure.
func (l *liveSite) refusals() {
	t := l.t
	l.verify(l.at("reader", "postgres")).want(t, exitUsage, `role "reader"`, "pg_read_binary_file(text,bigint,bigint,boolean)",
		`GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text,boolean,boolean) TO "reader";`)
	l.verify(l.at("reader", "nodb")).want(t, exitUsage, `database "nodb" does not exist`)
	l.verify(l.at("nobody", "postgres")).want(t, exitUsage, `role "nobody" does not exist`)
	l.verify("postgres://reader@127.0.0.1:1/postgres").want(t, exitUsage, "connect to postgres://reader@127.0.0.1:1/postgres", "connection refused")
	l.verify("postgres://reader@/postgres?port=none").want(t, exitUsage, "want postgres://USER@HOST:PORT/DATABASE")
	l.verify(l.at("reader", "postgres"), "--live-hours", "25-26").want(t, exitUsage, "--live-hours", "22:00-06:00")
	l.verify(l.at("reader", "postgres"), "--engine", "server").want(t, exitUsage)

	hba := filepath.Join(l.Data, "pg_hba.conf")
	was, err := os.ReadFile(hba)
	must(t, err)
	must(t, os.WriteFile(hba, append([]byte("local all locked scram-sha-256\n"), was...), 0o600))
	l.Exec("SELECT pg_reload_conf()", "SELECT pg_sleep(0.5)")
	l.verify(l.at("locked", "postgres")).want(t, exitUsage, "password")

	other := pgtest.Server(t, 17, pgtest.NoArchive())
	other.Exec("CREATE ROLE reader LOGIN")
	other.Exec(livepg.Grants("reader")...)
	at := fmt.Sprintf("postgres://reader@/postgres?host=%s&port=%d&sslmode=disable", url.QueryEscape(other.Socket), other.Port)
	l.verify(at).want(t, exitUsage, "they have no history in common")
}
