package pgtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Restore starts a second server on a copy of a backup, which recovers with
// the plain segments in the directory wal and is promoted at their end, or
// at the recovery target that lines of conf set. The backup stays as it is.
func (c *Cluster) Restore(b Backup, wal string, conf ...string) *Cluster {
	c.t.Helper()
	r := &Cluster{Install: c.Install, Port: c.Port, SegmentSize: c.SegmentSize, Checksums: c.Checksums, t: c.t}
	c.check(r.place(options{}))
	in := filepath.Join(r.dir, "in")
	c.check(copyTree(wal, in, nil))
	lines := append([]string{
		"unix_socket_directories = '" + r.Socket + "'", "archive_mode = off",
		"restore_command = 'cp " + in + "/%f %p'", "recovery_target_action = promote",
	}, conf...)
	c.check(r.restore(b, "recovery.signal", lines))
	r.Start()
	c.check(r.await("SELECT pg_is_in_recovery()", "f"))
	return r
}

// restore copies a backup to the data directory, its tablespaces beside it,
// and has it recover with these lines of configuration.
func (c *Cluster) restore(b Backup, signal string, lines []string) error {
	if err := copyTree(b.Dir, c.Data, nil); err != nil {
		return err
	}
	spcmap := filepath.Join(c.Data, "tablespace_map")
	if m, err := os.ReadFile(spcmap); err == nil {
		moved, err := moveTablespaces(c.Data, string(m))
		if err != nil {
			return err
		}
		if err := os.WriteFile(spcmap, []byte(moved), 0o600); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.AppendConf(lines...); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Data, signal), nil, 0o600); err != nil {
		return err
	}
	return c.acct.own(c.dir)
}
