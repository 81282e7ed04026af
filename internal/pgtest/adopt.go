package pgtest

import (
	"os"
	"path/filepath"
)

// Beside is a place for another data directory of the same installation: Data
// is not there yet. Adopt starts a server on what a test puts there.
func (c *Cluster) Beside() *Cluster {
	c.t.Helper()
	r := &Cluster{Install: c.Install, Port: c.Port, SegmentSize: c.SegmentSize, Checksums: c.Checksums, t: c.t}
	c.check(r.place(options{}))
	return r
}

// Adopt starts a server on the data directory, whatever its configuration
// says of sockets and users, and waits until it is no longer in recovery.
func (c *Cluster) Adopt(conf ...string) {
	c.t.Helper()
	c.check(c.TryAdopt(conf...))
}

// TryAdopt is Adopt for a directory on which a server may refuse to start.
func (c *Cluster) TryAdopt(conf ...string) error {
	lines := append([]string{
		"unix_socket_directories = '" + c.Socket + "'", "listen_addresses = ''", "autovacuum = off", "fsync = off",
		"shared_buffers = 64MB", "timezone = UTC", "log_timezone = UTC",
	}, conf...)
	if err := c.AppendConf(lines...); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Data, "pg_hba.conf"), []byte("local all all trust\n"), 0o600); err != nil {
		return err
	}
	if err := c.acct.own(c.dir); err != nil {
		return err
	}
	if err := c.TryStart(); err != nil {
		return err
	}
	return c.await("SELECT pg_is_in_recovery()", "f")
}

// Own gives a directory and what is in it to the server's user.
func (c *Cluster) Own(dir string) {
	c.t.Helper()
	c.check(c.acct.own(dir))
}
