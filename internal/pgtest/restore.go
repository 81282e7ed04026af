package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Restore starts a second server on a copy of a backup, which recovers with
// the plain segments in the directory wal and is promoted at their end, or
// at the recovery target that lines of conf set. The backup stays as it is.
func (c *Cluster) Restore(b Backup, wal string, conf ...string) *Cluster {
	c.t.Helper()
	r := &Cluster{Install: c.Install, Port: c.Port, SegmentSize: c.SegmentSize, Checksums: c.Checksums, t: c.t}
	c.check(r.place(options{}))
	c.check(r.restore(b, wal, conf))
	r.Start()
	c.check(r.awaitPromotion())
	return r
}

func (c *Cluster) restore(b Backup, wal string, conf []string) error {
	in := filepath.Join(c.dir, "in")
	if err := errors.Join(copyTree(b.Dir, c.Data, nil), copyTree(wal, in, nil)); err != nil {
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
	lines := append([]string{
		"unix_socket_directories = '" + c.Socket + "'", "archive_mode = off",
		"restore_command = 'cp " + in + "/%f %p'", "recovery_target_action = promote",
	}, conf...)
	if err := c.AppendConf(lines...); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Data, "recovery.signal"), nil, 0o600); err != nil {
		return err
	}
	return c.acct.own(c.dir)
}

// awaitPromotion waits for the end of recovery.
func (c *Cluster) awaitPromotion() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for c.Query("SELECT pg_is_in_recovery()") == "t" {
		select {
		case <-ctx.Done():
			return errors.New("recover: not at its end after " + startTimeout.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
