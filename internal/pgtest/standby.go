package pgtest

import (
	"errors"
	"os"

	"redoubt/internal/pg"
)

// Standby starts a standby of the running cluster on a copy of a backup. It
// reads the cluster's archive, streams what is not in it yet, and archives to
// the same place once it is promoted. The backup stays as it is.
func (c *Cluster) Standby(b Backup, conf ...string) *Cluster {
	c.t.Helper()
	if c.Archive == "" {
		c.t.Fatalf("PostgreSQL %s: a standby wants an archive", c.Version)
	}
	r := &Cluster{Install: c.Install, Archive: c.Archive, Port: c.Port, SegmentSize: c.SegmentSize, Checksums: c.Checksums, t: c.t}
	c.check(r.place(options{}))
	lines := append([]string{
		"unix_socket_directories = '" + r.Socket + "'",
		"restore_command = 'cp " + c.Archive + "/%f %p'",
		"primary_conninfo = 'host=" + c.Socket + " user=postgres'", "wal_retrieve_retry_interval = 50ms",
	}, conf...)
	c.check(r.restore(b, "standby.signal", lines))
	r.Start()
	return r
}

// AwaitReplay waits until a standby has replayed all WAL up to an LSN.
func (c *Cluster) AwaitReplay(to pg.LSN) {
	c.t.Helper()
	c.check(c.await("SELECT pg_last_wal_replay_lsn() >= '"+to.String()+"'", "t"))
}

// Promote makes a standby a primary, as a failover does: it begins a new TLI
// with END_OF_RECOVERY where it is.
func (c *Cluster) Promote() {
	c.t.Helper()
	if c.Query("SELECT pg_promote()") != "t" {
		c.t.Fatalf("PostgreSQL %s: promote: it is not\n%s", c.Version, c.LogTail(10))
	}
}

// Extend makes a relation of a stopped cluster so many blocks long with zeros
// that take no room on disk. path is that of its main fork; the files of 1 GiB
// that it then has are made.
func (c *Cluster) Extend(path string, blocks int64) {
	c.t.Helper()
	if c.Running() {
		c.t.Fatalf("PostgreSQL %s: extend %s: stop the server first", c.Version, path)
	}
	for first := int64(0); first < blocks; first += pg.BlocksPerFile {
		name, _ := blockPlace(c.Data, path, pg.BlockNumber(first))
		size := min(blocks-first, pg.BlocksPerFile) * pg.BlockSize
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		c.check(err)
		c.check(errors.Join(f.Truncate(size), f.Close(), c.acct.own(name)))
	}
}
