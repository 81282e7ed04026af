package recovery

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

// directories are those of a data directory that a server wants to find
// (subdirs, bin/initdb/initdb.c); what was in most of them is of the past of
// another server: statistics, slots, notifications.
var directories = []string{
	"base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_logical/mappings", "pg_logical/snapshots",
	"pg_multixact", "pg_multixact/members", "pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots",
	"pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_wal/archive_status", "pg_xact",
}

// write makes all files, pg_control last, unless the sink wants it first.
func (r *run) write(ctx context.Context) error {
	r.sink = &counting{Sink: r.Sink, wrote: r.stageBytes("write data directory")}
	m := &merger{run: r, done: make(map[datadir.RelFile]bool), maps: make(map[native.RelMapKey]bool), dbs: make(map[string]bool)}
	steps := []func(context.Context) error{m.begins, m.walk, m.leftovers, r.state}
	if !r.halfway {
		steps = append(steps, r.tail, r.configure)
	}
	if r.ControlFirst {
		steps = slices.Insert(steps, 0, r.finish)
	} else {
		steps = append(steps, r.finish)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.out.Files, r.out.Bytes = r.sink.files, r.sink.bytes
	return nil
}

// begins makes the directories that are always there.
func (m *merger) begins(context.Context) error {
	for _, d := range directories {
		if err := m.sink.Directory(d); err != nil {
			return err
		}
	}
	if m.out.Major >= 17 {
		if err := m.sink.Directory("pg_wal/summaries"); err != nil {
			return err
		}
	}
	for _, spc := range m.tablespaces() {
		for _, d := range []string{fmt.Sprintf("pg_tblspc/%d", spc), fmt.Sprintf("pg_tblspc/%d/%s", spc, m.versionDir())} {
			if err := m.sink.Directory(d); err != nil {
				return err
			}
			m.dbs[d] = true
		}
	}
	return m.sink.put(datadir.VersionPath, m.version())
}

func (r *run) version() []byte { return fmt.Appendf(nil, "%d\n", r.out.Major) }

// tablespaces are those that there are at the redo pointer, ascending: an
// empty one is a directory, too. They lie within the target wherever the
// original had them.
func (r *run) tablespaces() []pg.OID {
	have := make(map[pg.OID]bool)
	for _, spc := range r.Base.Tablespaces() {
		have[spc] = true
	}
	for _, s := range r.target.spaces {
		if s.At < r.target.Redo {
			have[s.OID] = !s.Drop
		}
	}
	for _, f := range r.result.Forks() { // whatever has files is there
		if f.Spc != pg.DefaultTablespaceOID && f.Spc != pg.GlobalTablespaceOID {
			have[f.Spc] = true
		}
	}
	maps.DeleteFunc(have, func(_ pg.OID, there bool) bool { return !there })
	r.out.Tablespaces = slices.Sorted(maps.Keys(have))
	return r.out.Tablespaces
}

// walk is the second pass over the base.
func (m *merger) walk(ctx context.Context) error {
	if err := m.Base.Walk(ctx, m); err != nil {
		return fmt.Errorf("write data directory: %w", err)
	}
	return nil
}

// leftovers writes what replay made and the base has not.
func (m *merger) leftovers(context.Context) error {
	if err := m.rest(); err != nil {
		return err
	}
	if err := m.restSLRUs(); err != nil {
		return err
	}
	for _, k := range m.result.RelMaps() {
		if err := m.relationMap(k); err != nil {
			return err
		}
	}
	return nil
}

// database makes the directory of a database, once.
func (m *merger) database(spc, db pg.OID) error {
	d := path.Dir(datadir.RelPath(pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: spc, DB: db}}, 0, m.versionDir()))
	if spc == pg.GlobalTablespaceOID || m.dbs[d] {
		return nil
	}
	m.dbs[d] = true
	return m.sink.Directory(d)
}

// relationMap writes a relation map and, for a database's, PG_VERSION beside
// it: it is in the same directories.
func (m *merger) relationMap(k native.RelMapKey) error {
	content := m.result.RelMap(k.Spc, k.DB)
	if m.maps[k] || content == nil {
		return nil
	}
	m.maps[k] = true
	if err := m.database(k.Spc, k.DB); err != nil {
		return err
	}
	dir := path.Dir(datadir.RelPath(pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: k.Spc, DB: k.DB}}, 0, m.versionDir()))
	if k.Spc != pg.GlobalTablespaceOID {
		if err := m.sink.put(path.Join(dir, datadir.VersionPath), m.version()); err != nil {
			return err
		}
	}
	return m.sink.put(path.Join(dir, "pg_filenode.map"), content)
}

// File writes those small files of the base that replay may have changed; all
// others are made anew, or left out.
func (m *merger) File(name string, content []byte) error {
	switch c := datadir.Classify(name); c.Class {
	case datadir.SLRUSegment:
		return m.slru(c.SLRU, c.First, content)
	case datadir.RelationMap:
		return m.relationMap(native.RelMapKey{Spc: c.Spc, DB: c.DB})
	}
	return nil
}

// state writes what a server keeps in files of its own: prepared transactions
// and how far replication origins got.
func (r *run) state(context.Context) error {
	for name, content := range r.survey.twoPhase {
		keep, err := r.stillPrepared(name, content)
		if err != nil {
			return err
		}
		if !keep {
			continue
		}
		r.out.Prepared++
		if err := r.sink.put(name, content); err != nil {
			return err
		}
	}
	for xid, state := range r.result.Prepares() {
		r.out.Prepared++
		name := datadir.TwoPhasePath(r.out.Major, xid, r.target.CheckPoint.NextXID)
		if err := r.sink.put(name, datadir.TwoPhaseFileContent(state)); err != nil {
			return err
		}
	}
	if origins := r.result.Origins(); len(origins) > 0 {
		return r.sink.put(datadir.OriginsPath, datadir.EncodeOrigins(origins))
	}
	return nil
}

// stillPrepared reports whether a state file of the base goes over: its
// transaction has not ended, and its PREPARE was not read again in the WAL.
func (r *run) stillPrepared(name string, content []byte) (bool, error) {
	id, err := strconv.ParseUint(name[len(name)-8:], 16, 32) // Classify has seen its form
	if err != nil {
		return false, err
	}
	xid := pg.XID(id)
	if _, again := r.result.Prepares()[xid]; again || r.result.EndedPrepared(xid) {
		return false, nil
	}
	if _, err := datadir.ParseTwoPhaseFile(content); err != nil {
		return false, &InputError{fmt.Errorf("%s of the base: %w", name, err)}
	}
	return true, nil
}

// finish writes pg_control: from then on a server starts on the target.
func (r *run) finish(context.Context) error {
	if !r.target.Native() {
		if r.survey.label != nil {
			l, err := datadir.ParseBackupLabel(r.survey.label)
			if err != nil {
				return &InputError{err}
			}
			if err := r.sink.put(datadir.LabelPath, datadir.EncodeBackupLabel(l, r.WAL.SegmentSize())); err != nil {
				return err
			}
		}
		return r.sink.put(datadir.ControlPath, r.survey.control)
	}
	content, err := datadir.EncodeControl(r.survey.control, r.control())
	if err != nil {
		return err
	}
	return r.sink.put(datadir.ControlPath, content)
}

// control is pg_control of a server that was stopped in recovery at the redo
// pointer: it goes on from there, and must get to C before all else.
func (r *run) control() datadir.Control {
	c, t := r.survey.decoded, &r.target
	k := &t.CheckPoint
	c.State = datadir.ShutDownInRecovery
	c.CheckPointLSN = t.Checkpoint
	c.CheckPoint = datadir.CheckPoint{
		Redo: k.Redo, TLI: k.TLI, PrevTLI: k.PrevTLI, FullPageWrites: k.FullPageWrites, WALLevel: k.WALLevel,
		NextXID: k.NextXID, NextOID: k.NextOID, NextMulti: k.NextMulti, NextMultiOffset: k.NextMultiOffset,
		OldestXID: k.OldestXID, OldestXIDDB: k.OldestXIDDB, OldestMulti: k.OldestMulti, OldestMultiDB: k.OldestMultiDB,
		Time: k.Time, OldestCommitTsXID: k.OldestCommitTsXID, NewestCommitTsXID: k.NewestCommitTsXID, OldestActiveXID: k.OldestActiveXID,
	}
	c.MinRecoveryPoint, c.MinRecoveryPointTLI = t.Redo, r.history.TLIAt(t.Redo-1)
	c.BackupStartPoint, c.BackupEndPoint, c.BackupEndRequired = 0, 0, false
	for _, s := range t.settings {
		if s.At >= t.Redo {
			break
		}
		c.WALLevel, c.WALLogHints = s.WALLevel, s.WALLogHints
		c.MaxConnections, c.MaxWorkerProcesses, c.MaxWALSenders = s.MaxConnections, s.MaxWorkerProcesses, s.MaxWALSenders
		c.MaxPreparedXacts, c.MaxLocksPerXact = s.MaxPreparedXacts, s.MaxLocksPerXact
		c.TrackCommitTimestamp = s.TrackCommitTimestamp
	}
	return c
}
