package recovery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/recovery"
)

// TestJudge recovers to LSNs in the middle of a workload, and to the end of
// the WAL. PostgreSQL is the judge: it starts, finds no corruption, and what
// it then holds is what its own recovery of the same archive to the same LSN
// holds, in every table of every database.
func TestJudge(t *testing.T) {
	for major := pg.MinMajor; major <= pg.MaxMajor; major++ {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			judge(t, major)
		})
	}
}

func judge(t *testing.T, major int) {
	w := busy(t, major)
	targets := 2
	if os.Getenv("REDOUBT_PROVE") == "1" {
		targets = 19
	}
	cfg := w.config(t)
	all := records(t, &cfg, w.backup.Stop)
	rnd := rand.New(rand.NewPCG(uint64(major), 1))
	native := 0
	var whole map[string]string
	var last *recovery.Report
	for _, to := range append(some(rnd, all[len(all)/4:], targets), 0) {
		cfg := w.config(t)
		cfg.To = to
		if to == 0 {
			w.made = func(dir string, rep *recovery.Report) { whole, last = files(t, dir), rep }
		}
		if w.compare(t, cfg).Native() {
			native++
		}
	}
	w.chained(t, whole, last)
	if native == 0 {
		t.Error("no recovery had anything to do for the native engine: nothing was proven")
	}
}

// chained wants a recovery with durable points on the way to make what one
// without makes, byte by byte.
func (w *world) chained(t *testing.T, whole map[string]string, rep *recovery.Report) {
	t.Helper()
	chained := filepath.Join(t.TempDir(), "chained")
	cfg := w.config(t)
	cfg.Every = uint64(rep.Redo-rep.Start) / 4
	if os.Getenv("REDOUBT_PROVE") == "1" {
		cfg.Every = 1
	}
	got, err := recovery.ToDirectory(context.Background(), cfg, recovery.Directory{Path: chained, Open: kept})
	must(t, err)
	t.Logf("durable points from %s to %s at %s", rep.Start, rep.Redo, got.Durable)
	if len(got.Durable) == 0 {
		t.Error("there was no durable point")
	}
	sameFiles(t, whole, files(t, chained))
}

// busy is a world with a bit of everything: all index methods, tablespaces,
// transactions that stay prepared across backup and checkpoints, origins,
// large objects, roles, settings, new and dropped databases.
func busy(t *testing.T, major int) *world {
	t.Helper()
	mixed := pgtest.Mixed{Clients: 1, Rounds: 1, Seed: uint64(major), Tablespace: true}
	stay := func(c *pgtest.Cluster, gid string) {
		c.Exec("BEGIN; INSERT INTO kept VALUES ('" + gid + "'); SAVEPOINT s; INSERT INTO kept VALUES ('" + gid + " sub'); PREPARE TRANSACTION '" + gid + "'")
	}
	return live(t, major, func(c *pgtest.Cluster) {
		c.Exec("CREATE TABLE kept (v text PRIMARY KEY)", "CREATE ROLE reader", "ALTER ROLE reader SET work_mem = '3MB'",
			"CREATE TABLESPACE first LOCATION '"+c.Dir("first")+"'", "CREATE TABLE placed (v int) TABLESPACE first",
			"CREATE UNLOGGED TABLE fleeting (v int PRIMARY KEY)", "INSERT INTO fleeting SELECT generate_series(1, 1000)",
			"SELECT pg_replication_origin_create('elsewhere')")
		stay(c, "stay_before")
		stay(c, "stay_ends")
		mixed.Run(c)
	}, func(c *pgtest.Cluster) {
		c.Exec("INSERT INTO placed SELECT generate_series(1, 5000)", "SELECT pg_replication_origin_advance('elsewhere', '0/ABC')")
	}, func(c *pgtest.Cluster) {
		for round := range 2 {
			mixed.Seed += 100
			stay(c, fmt.Sprintf("stay_%d", round))
			c.Exec("SELECT lo_from_bytea(0, decode(repeat('ab', 5000), 'hex'))", "CREATE DATABASE made"+fmt.Sprint(round),
				fmt.Sprintf("SELECT pg_replication_origin_advance('elsewhere', '0/ABC%d')", round))
			mixed.Run(c)
			c.Checkpoint()
			if round == 1 {
				c.Exec("COMMIT PREPARED 'stay_ends'", "ROLLBACK PREPARED 'stay_0'", "DROP DATABASE made0",
					"CREATE TABLESPACE second LOCATION '"+c.Dir("second")+"'", "CREATE TABLE later (v int) TABLESPACE second",
					"INSERT INTO later SELECT generate_series(1, 3000)")
			}
		}
		c.Exec("CREATE TABLESPACE third LOCATION '"+c.Dir("third")+"'", "CREATE TABLE last (v int) TABLESPACE third",
			"INSERT INTO last SELECT generate_series(1, 100)")
	}, pgtest.WALSegmentMiB(4), pgtest.Conf("track_commit_timestamp", "on"), pgtest.Conf("max_replication_slots", "5"))
}

// compare recovers twice, with us and with PostgreSQL alone.
func (w *world) compare(t *testing.T, cfg recovery.Config) *recovery.Report {
	t.Helper()
	got, rep := w.recovered(t, cfg)
	conf := []string{"hot_standby = off", "autovacuum = off"}
	if cfg.To != 0 {
		conf = append(conf, fmt.Sprintf("recovery_target_lsn = '%s'", cfg.To), "recovery_target_inclusive = off")
	}
	want := w.cluster.Restore(w.backup, w.walDir, conf...)
	t.Logf("to %s: native %s to %s, tail to %s, %d blocks, %d prepared, tablespaces %v", rep.To, rep.Start, rep.Redo, rep.End,
		rep.BlocksReplayed, rep.Prepared, rep.Tablespaces)
	for _, d := range got.Digest().Differences(want.Digest()) {
		t.Errorf("to %s: %s", rep.To, d)
	}
	if rep.DamagedPages > 0 || rep.FuturePages > 0 {
		t.Errorf("to %s: %d damaged pages %v, %d from the future", rep.To, rep.DamagedPages, rep.Damaged, rep.FuturePages)
	}
	want.Stop(pgtest.Immediate)
	got.Amcheck()
	got.Stop(pgtest.Fast)
	return rep
}
