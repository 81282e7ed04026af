package pgtest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"redoubt/internal/pg"
)

// Backup is a base backup made with the low-level API: the data directory
// without WAL, with backup_label and, if there are tablespaces, tablespace_map.
type Backup struct {
	Dir   string // the copied data directory
	Start pg.LSN // where redo starts (START WAL LOCATION)
	Stop  pg.LSN // where the backup is consistent
	Label string // content of backup_label
}

// BaseBackup takes an online base backup into dir, which must not exist.
// Tablespaces are copied to dir + ".tblspc/<oid>".
func (c *Cluster) BaseBackup(dir string) Backup {
	c.t.Helper()
	return c.BaseBackupDuring(dir, nil)
}

// BaseBackupDuring is BaseBackup that calls during twice while the backup is
// under way: before the files are copied and after. What it changes is
// therefore in the WAL of the backup's own window.
func (c *Cluster) BaseBackupDuring(dir string, during func(copied bool)) Backup {
	c.t.Helper()
	b, err := c.baseBackup(dir, during)
	c.check(err)
	return b
}

func (c *Cluster) baseBackup(dir string, during func(copied bool)) (Backup, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN("postgres")) // the session that starts a backup must stop it
	if err != nil {
		return Backup{}, err
	}
	defer func() { _ = conn.Close(ctx) }()

	start, stop := "pg_backup_start('pgtest', true)", fmt.Sprintf("pg_backup_stop(%t)", c.Archive != "")
	if c.Major < 15 {
		start, stop = "pg_start_backup('pgtest', true, false)", fmt.Sprintf("pg_stop_backup(false, %t)", c.Archive != "")
	}
	if _, err := queryText(ctx, conn, "SELECT "+start); err != nil {
		return Backup{}, err
	}
	if during != nil {
		during(false)
	}
	if err := c.copyForBackup(dir); err != nil {
		return Backup{}, fmt.Errorf("copy data directory: %w", err)
	}
	if during != nil {
		during(true)
	}
	var lsn, label, spcmap string
	row := conn.QueryRow(ctx, "SELECT lsn::text, labelfile, coalesce(spcmapfile, '') FROM "+stop)
	if err := row.Scan(&lsn, &label, &spcmap); err != nil {
		return Backup{}, fmt.Errorf("stop backup: %w", err)
	}
	return c.finishBackup(dir, lsn, label, spcmap)
}

func (c *Cluster) finishBackup(dir, lsn, label, spcmap string) (b Backup, err error) {
	b = Backup{Dir: dir, Label: label}
	if b.Stop, err = pg.ParseLSN(lsn); err != nil {
		return b, err
	}
	if b.Start, err = labelStart(label); err != nil {
		return b, err
	}
	if err := os.WriteFile(filepath.Join(dir, "backup_label"), []byte(label), 0o600); err != nil {
		return b, err
	}
	if spcmap != "" {
		if spcmap, err = moveTablespaces(dir, spcmap); err != nil {
			return b, err
		}
		if err := os.WriteFile(filepath.Join(dir, "tablespace_map"), []byte(spcmap), 0o600); err != nil {
			return b, err
		}
	}
	return b, nil
}

// labelStart reads "START WAL LOCATION: 0/2000028 (file …)".
func labelStart(label string) (pg.LSN, error) {
	rest, ok := strings.CutPrefix(label, "START WAL LOCATION: ")
	lsn, _, ok2 := strings.Cut(rest, " (")
	if !ok || !ok2 {
		return 0, fmt.Errorf("read backup_label %q: no START WAL LOCATION", label)
	}
	return pg.ParseLSN(lsn)
}

// copyForBackup copies what a base backup has (basebackup.c,
// excludeDirContents and excludeFiles), pg_control last.
func (c *Cluster) copyForBackup(dir string) error {
	err := copyTree(c.Data, dir, func(rel string, d fs.DirEntry) bool {
		name := d.Name()
		switch {
		case emptyInBackup[filepath.Dir(rel)], strings.HasPrefix(name, "pgsql_tmp"), strings.HasPrefix(name, "pg_internal.init"):
			return true
		case rel == "postmaster.pid", rel == "postmaster.opts", rel == controlFile, name == "postgresql.auto.conf.tmp":
			return true
		}
		return false
	})
	if err != nil {
		return err
	}
	return copyFile(filepath.Join(c.Data, controlFile), filepath.Join(dir, controlFile))
}

const controlFile = "global/pg_control"

// emptyInBackup are directories whose content no backup has.
var emptyInBackup = map[string]bool{
	"pg_wal": true, "pg_replslot": true, "pg_dynshmem": true, "pg_notify": true, "pg_serial": true,
	"pg_snapshots": true, "pg_stat_tmp": true, "pg_subtrans": true,
}

// moveTablespaces copies what the links in pg_tblspc lead to beside the backup
// and turns links and tablespace_map ("<oid> <path>" a line) to the copies.
func moveTablespaces(dir, spcmap string) (string, error) {
	side := dir + ".tblspc"
	if err := os.Mkdir(side, 0o700); err != nil {
		return "", err
	}
	var moved strings.Builder
	for line := range strings.Lines(spcmap) {
		oid, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			return "", fmt.Errorf("read tablespace_map line %q", line)
		}
		link, to := filepath.Join(dir, "pg_tblspc", oid), filepath.Join(side, oid)
		if err := copyTree(path, to, nil); err != nil {
			return "", err
		}
		if err := os.Remove(link); err != nil {
			return "", err
		}
		if err := os.Symlink(to, link); err != nil {
			return "", err
		}
		fmt.Fprintf(&moved, "%s %s\n", oid, to)
	}
	return moved.String(), nil
}

// PgBasebackup runs pg_basebackup of the server's own major version into dir;
// the proof is skipped where there is none.
func (c *Cluster) PgBasebackup(dir string, args ...string) {
	c.t.Helper()
	_, err := c.Run(Tool(c.t, c.Major, "pg_basebackup"), append([]string{"-D", dir, "--no-sync", "-c", "fast"}, args...)...)
	c.check(err)
}

// CleanCopy stops the server with a shutdown checkpoint and copies the data
// directory, pg_wal included, to dir, which must not exist.
func (c *Cluster) CleanCopy(dir string) {
	c.t.Helper()
	c.Stop(Fast)
	c.check(copyTree(c.Data, dir, nil))
}
