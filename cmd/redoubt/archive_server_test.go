package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pgtest"
	"redoubt/internal/storage/storagetest"
)

// pushScript is an archive_command whose pushes are killed at random while the
// file KILLING is there.
const pushScript = `#!/bin/sh
%s
"%s" archive-push -c "%s" "$1" & pid=$!
random() { od -An -N1 -tu1 /dev/urandom; }
if [ -e "%s" ] && [ $(( $(random) %% 3 )) = 0 ]; then
  sleep "0.0$(( $(random) %% 60 ))"
  kill -9 $pid 2>/dev/null && echo >>"%s"
fi
wait $pid || exit 1
`

const getScript = `#!/bin/sh
%s
exec "%s" archive-get -c "%s" "$1" "$2"
`

// archiving is a cluster that archives with archive-push, and can be restored
// with archive-get.
type archiving struct {
	*pgtest.Cluster
	conf    string // Redoubt's configuration
	program string // Redoubt, where PostgreSQL's user can run it
	get     string // restore_command
	killing string // while this file is there pushes are killed
	killed  string // a line for each
}

func newArchiving(t *testing.T, major int, bucket func(c *pgtest.Cluster) string, compression string) *archiving {
	a := readyToArchive(t, major, bucket, compression)
	a.Start()
	return a
}

// readyToArchive is newArchiving before the server is started.
func readyToArchive(t *testing.T, major int, bucket func(c *pgtest.Cluster) string, compression string) *archiving {
	c := pgtest.Server(t, major, pgtest.WALSegmentMiB(1), pgtest.NoArchive(), pgtest.NoStart())
	dir := c.Dir("redoubt")
	a := &archiving{Cluster: c, killing: filepath.Join(dir, "killing"), killed: filepath.Join(dir, "killed")}
	binary, err := fast()
	must(t, err)
	data, err := os.ReadFile(binary)
	must(t, err)
	program := filepath.Join(dir, "redoubt")
	must(t, os.WriteFile(program, data, 0o755))
	conf := filepath.Join(dir, "redoubt.yaml")
	a.conf, a.program = conf, program
	must(t, os.WriteFile(conf, fmt.Appendf(nil, `
data_dir: %s
walbackup:
  bucket: %s
  compression: %s
  sources: [{path: %s/pg_wal, tenant: acme, timeline: main}]
`, c.Dir("state"), bucket(c), compression, c.Data), 0o644))
	env := ""
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		env += fmt.Sprintf("export %s='%s'\n", name, os.Getenv(name))
	}
	push, get := filepath.Join(dir, "push"), filepath.Join(dir, "get")
	must(t, os.WriteFile(push, fmt.Appendf(nil, pushScript, env, program, conf, a.killing, a.killed), 0o755))
	must(t, os.WriteFile(get, fmt.Appendf(nil, getScript, env, program, conf), 0o755))
	a.get = get + " %f %p"
	must(t, c.AppendConf("archive_mode = on", "archive_command = '"+push+" %p'", "wal_keep_size = 0", "max_wal_size = '4MB'", "min_wal_size = '2MB'"))
	return a
}

// archived waits until a segment is durable, as PostgreSQL sees it.
func (a *archiving) archived(t *testing.T, name string) {
	t.Helper()
	for until := time.Now().Add(3 * time.Minute); a.Query("SELECT coalesce(max(last_archived_wal), '') FROM pg_stat_archiver WHERE last_archived_wal NOT LIKE '%.%'") < name; {
		if time.Now().After(until) {
			t.Fatalf("%s is not archived: %s", name, a.LogTail(20))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

const tally = "SELECT count(*) || ' rows, ' || sum(id) || ', ' || md5(string_agg(filler, '' ORDER BY id)) FROM kept"

// A real server archives with archive-push, which is killed now and then; what
// archive-get brings back to a base backup has every committed row.
func TestArchiveServer(t *testing.T) {
	for _, c := range []struct {
		major       int
		s3          bool
		compression string
	}{{15, false, "zstd"}, {17, true, "lz4"}} {
		t.Run(fmt.Sprint(c.major), func(t *testing.T) {
			bucket := func(cl *pgtest.Cluster) string { return cl.Dir("bucket") }
			if c.s3 {
				newBucket := storagetest.S3(t)
				bucket = func(*pgtest.Cluster) string {
					loc := newBucket("wal")
					_, err := url.Parse(loc)
					must(t, err)
					return strings.Replace(loc, "?", "/below/a/prefix?", 1)
				}
			}
			proveArchiving(t, newArchiving(t, c.major, bucket, c.compression))
		})
	}
}

func proveArchiving(t *testing.T, a *archiving) {
	rounds := 12
	if pgtest.Prove() {
		rounds = 150
	}
	a.Exec("CREATE TABLE kept (id serial PRIMARY KEY, filler text)")
	var backup pgtest.Backup
	must(t, os.WriteFile(a.killing, nil, 0o644))
	for i := range rounds {
		if i == rounds/3 {
			backup = a.BaseBackup(filepath.Join(t.TempDir(), "base"))
		}
		a.Exec("INSERT INTO kept (filler) SELECT repeat(md5(g::text), 20) FROM generate_series(1, 700) g", "UPDATE kept SET filler = filler || 'x' WHERE id % 97 = 0")
		if i%4 == 0 {
			a.Exec("CHECKPOINT")
		}
	}
	must(t, os.Remove(a.killing))
	want := a.Query(tally)
	name := a.SwitchWAL()
	a.archived(t, name)
	a.Stop(pgtest.Immediate) // what is not archived is lost
	killed, _ := os.ReadFile(a.killed)

	start := time.Now()
	r := a.Restore(backup, t.TempDir(), "restore_command = '"+a.get+"'")
	if got := r.Query(tally); got != want {
		t.Errorf("recovered %s, want %s", got, want)
	}
	t.Logf("%s; up to segment %s, %d pushes killed, recovered in %v", want, name, len(killed), time.Since(start).Round(time.Millisecond))
	r.Exec("INSERT INTO kept (filler) VALUES ('the new timeline lives')")
}
