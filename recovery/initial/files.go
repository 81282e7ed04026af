package initial

import (
	"context"
	"io"
	"path"
	"strings"

	"redoubt/internal/basebackup"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Files of a data directory.
type Files interface {
	Each(ctx context.Context, fn func(snapshot.Stored) error) error
}

// Copy writes the files of a data directory that belong into a base backup,
// backup_label and pg_control first, so that readers know at once what they have.
func Copy(ctx context.Context, t *basebackup.Tar, from Files, tail WAL) error {
	first := func(p string) bool { return p == datadir.ControlPath || p == datadir.LabelPath }
	if err := copySome(ctx, t, from, first); err != nil {
		return err
	}
	if err := copySome(ctx, t, from, func(p string) bool { return !first(p) && !left(p) }); err != nil {
		return err
	}
	for _, dir := range emptied {
		if err := t.Dir(dir); err != nil {
			return err
		}
	}
	return tail.copy(ctx, t)
}

func copySome(ctx context.Context, t *basebackup.Tar, from Files, wanted func(string) bool) error {
	return from.Each(ctx, func(f snapshot.Stored) error {
		if !wanted(f.Path) {
			return nil
		}
		if f.Dir {
			return t.Dir(f.Path)
		}
		w, err := t.File(f.Path, f.Size)
		if err != nil {
			return err
		}
		rc, err := f.Open(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = rc.Close() }() // it was only read
		_, err = io.Copy(w, rc)
		return err
	})
}

// emptied are directories that a base backup has without their content
// (excludeDirContents, backup/basebackup.c).
var emptied = []string{
	"pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans",
	"pg_wal/archive_status",
}

// left says which files and directories stay behind: those of emptied
// directories, what a server writes for itself (excludeFiles and
// noChecksumFiles, backup/basebackup.c), logs, temporary files, and
// tablespace_map: tablespaces are in the tar, as directories.
func left(p string) bool {
	top, rest, _ := strings.Cut(p, "/")
	for _, dir := range emptied {
		if top == dir && rest != "" {
			return true
		}
	}
	switch top {
	case "postmaster.pid", "postmaster.opts", "postgresql.auto.conf.tmp", "current_logfiles", "current_logfiles.tmp",
		datadir.ManifestPath, datadir.TablespaceMapPath, "log", "pg_log", "recovery.signal", "standby.signal", "pg_wal":
		return true
	}
	name := path.Base(p)
	c := datadir.Classify(p)
	return strings.HasPrefix(name, "pg_internal.init") || strings.HasPrefix(name, "pgsql_tmp") || c.Class == datadir.Relation && c.Rel.Temp
}

// WAL is the part of pg_wal that a snapshot is started on: whole segments.
type WAL struct {
	TLI         pg.TLI
	Range       pg.Range
	SegmentSize int64
	Open        func(ctx context.Context, name string, n pg.SegmentNo) (io.ReadCloser, error)
}

func (w *WAL) copy(ctx context.Context, t *basebackup.Tar) error {
	first, last := pg.SegmentOf(w.Range.From, w.SegmentSize), pg.SegmentOf(w.Range.To-1, w.SegmentSize)
	for n := first; n <= last; n++ {
		if err := w.segment(ctx, t, n); err != nil {
			return err
		}
	}
	return nil
}

func (w *WAL) segment(ctx context.Context, t *basebackup.Tar, n pg.SegmentNo) error {
	name := pg.SegmentName(w.TLI, n, w.SegmentSize)
	rc, err := w.Open(ctx, name, n)
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }() // it was only read
	out, err := t.File("pg_wal/"+name, w.SegmentSize)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, rc)
	return err
}
