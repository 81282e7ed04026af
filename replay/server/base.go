package server

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// directories are those of a data directory that a server wants to find
// (initdb's subdirs, bin/initdb/initdb.c).
var directories = []string{
	"base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical/mappings", "pg_logical/snapshots",
	"pg_multixact/members", "pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots",
	"pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal/archive_status", "pg_wal/summaries", "pg_xact",
}

// baseWriter is a visitor that makes a data directory of a base. It takes
// relations, maps, SLRU segments, pg_control, and the start of the backup out
// of its label, which it writes anew; nothing else of the base gets in. Names
// of files are made of parsed numbers, never taken over. Free space maps and
// temporary relations stay behind: a server makes the former anew and removes
// the latter.
type baseWriter struct {
	dir     *scratch
	major   int
	made    bool
	file    *os.File // the relation file being written
	name    string   // its name within the scratch directory
	control *datadir.Control
	label   *datadir.BackupLabel
	spaces  map[pg.OID]bool
	dbs     map[string]bool // directories of databases
}

var _ datadir.Visitor = (*baseWriter)(nil)

// begin makes the directories before the first file comes.
func (b *baseWriter) begin() error {
	if b.made {
		return nil
	}
	b.made, b.spaces, b.dbs = true, make(map[pg.OID]bool), make(map[string]bool)
	for _, d := range directories {
		if err := b.dir.mkdirs(path.Join(dataDir, d)); err != nil {
			return err
		}
	}
	return b.dir.put(path.Join(dataDir, datadir.VersionPath), b.version())
}

func (b *baseWriter) version() []byte { return fmt.Appendf(nil, "%d\n", b.major) }

// place is where a file of a relation's directory goes: those of a tablespace
// beside the data directory, where a link will lead. rel is relative to the
// data directory and made by datadir.RelPath.
func (b *baseWriter) place(rel string) (string, error) {
	if rest, ok := strings.CutPrefix(rel, "pg_tblspc/"); ok {
		oid, _, _ := strings.Cut(rest, "/")
		var spc pg.OID
		if _, err := fmt.Sscan(oid, &spc); err != nil {
			return "", fmt.Errorf("read tablespace of %s: %w", rel, err)
		}
		if !b.spaces[spc] {
			b.spaces[spc] = true
			if err := b.dir.root.Symlink("../../"+spacesDir+"/"+oid, path.Join(dataDir, "pg_tblspc", oid)); err != nil {
				return "", err
			}
		}
		rel = path.Join("..", spacesDir, rest)
	}
	name := path.Join(dataDir, rel)
	return name, b.database(path.Dir(name))
}

// database gives the directory of a database its PG_VERSION.
func (b *baseWriter) database(dir string) error {
	if b.dbs[dir] || dir == path.Join(dataDir, "global") {
		return nil
	}
	b.dbs[dir] = true
	return b.dir.put(path.Join(dir, datadir.VersionPath), b.version())
}

// wanted says whether a relation file goes to the server.
func wanted(f datadir.RelFile) bool { return !f.Temp && f.Fork != pg.FSMFork }

// open makes f's file the current one.
func (b *baseWriter) open(f datadir.RelFile) error {
	if err := b.begin(); err != nil {
		return err
	}
	name, err := b.place(datadir.RelPath(f.RelFork, f.Segment, datadir.Classify(f.Path).VersionDir))
	if err != nil || name == b.name && b.file != nil {
		return err
	}
	if err := b.close(); err != nil {
		return err
	}
	b.file, err = b.dir.create(name)
	b.name = name
	return err
}

// Blocks writes pages of a relation.
func (b *baseWriter) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if !wanted(f) {
		return nil
	}
	if err := b.open(f); err != nil {
		return err
	}
	if err := b.dir.room(int64(len(pages))); err != nil {
		return err
	}
	_, err := b.file.WriteAt(pages, (int64(first)-int64(f.Segment)*pg.BlocksPerFile)*pg.BlockSize)
	return diskFull(b.dir, err)
}

// EndRelation ends a file, which may be empty. A torn tail is left out: it is
// no block, and a server would write over it.
func (b *baseWriter) EndRelation(f datadir.RelFile, size int64) error {
	if !wanted(f) {
		return nil
	}
	if err := b.open(f); err != nil {
		return err
	}
	err := b.file.Truncate(size / pg.BlockSize * pg.BlockSize)
	return errors.Join(err, b.close())
}

func (b *baseWriter) close() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file, b.name = nil, ""
	return err
}

// File takes the small files that a server needs.
func (b *baseWriter) File(name string, content []byte) error {
	if err := b.begin(); err != nil {
		return err
	}
	c := datadir.Classify(name)
	switch c.Class {
	case datadir.ControlFile:
		ctl, err := datadir.ParseControl(content)
		if err != nil {
			return err
		}
		b.control = &ctl
		return b.dir.put(path.Join(dataDir, datadir.ControlPath), content)
	case datadir.LabelFile:
		l, err := datadir.ParseBackupLabel(content)
		b.label = &l
		return err
	case datadir.SLRUSegment:
		return b.dir.put(path.Join(dataDir, datadir.SLRUPath(pg.SLRUPage{SLRU: c.SLRU, Page: c.First})), content)
	case datadir.RelationMap:
		rel := datadir.RelPath(pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: c.Spc, DB: c.DB}}, 0, c.VersionDir)
		to, err := b.place(path.Join(path.Dir(rel), "pg_filenode.map"))
		if err != nil {
			return err
		}
		return b.dir.put(to, content)
	}
	return nil
}

// settle checks that the base is one that a server can start from, at the
// span's start, and writes its label.
func (b *baseWriter) settle(span Span) error {
	switch {
	case b.control == nil:
		return fmt.Errorf("the base has no %s: no server can start on it", datadir.ControlPath)
	case b.control.Major() != b.major:
		return fmt.Errorf("the base is of PostgreSQL %d, the WAL of %d", b.control.Major(), b.major)
	}
	start := b.control.CheckPoint.Redo
	if b.label != nil {
		start = b.label.Start
	} else if s := b.control.State; s != datadir.ShutDown && s != datadir.ShutDownInRecovery {
		return fmt.Errorf("the base has no backup_label, and its server was %s: a copy of a running server without a label is no backup", s)
	}
	if start != span.From {
		return fmt.Errorf("the base starts at %s, the span at %s", start, span.From)
	}
	if b.label == nil {
		return nil
	}
	return b.dir.put(path.Join(dataDir, datadir.LabelPath), datadir.EncodeBackupLabel(*b.label, int64(b.control.SegmentSize)))
}

// checkpoint is where the checkpoint record starts that the server starts from.
func (b *baseWriter) checkpoint() pg.LSN {
	if b.label != nil {
		return b.label.Checkpoint
	}
	return b.control.CheckPointLSN
}

// startTLI is the timeline that the server begins on.
func (b *baseWriter) startTLI() pg.TLI {
	if b.label != nil && b.label.StartTLI != 0 {
		return b.label.StartTLI
	}
	return b.control.CheckPoint.TLI
}
