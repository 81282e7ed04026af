package snapshot

import (
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Form is how a snapshot is stored.
type Form uint8

// The forms.
const (
	Directory    Form = iota + 1 // a data directory, or a base backup in plain format
	Tar                          // one tar of a data directory
	TarDirectory                 // base.tar and a tar per tablespace, as pg_basebackup writes them
)

var formNames = [...]string{"", "directory", "tar", "tar directory"}

// String is "directory", "tar" or "tar directory".
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return "unknown form"
}

// Info is what is known of a snapshot besides its pages.
//
// Of a directory everything is known from the start. Of a tar, Peek finds out
// when the snapshot starts, and the rest may be known only after Walk:
// pg_basebackup writes pg_control, which names the cluster, last. Known and
// HasControl say which it is.
type Info struct {
	Form  Form
	Known bool // Online, Redo, Checkpoint, StartTLI and FromStandby are set

	Online      bool   // an online base backup: a backup_label is there
	FromStandby bool   // an online base backup taken from a standby
	Redo        pg.LSN // where replay starts
	Checkpoint  pg.LSN // where the checkpoint record starts that Redo belongs to
	StartTLI    pg.TLI // timeline at Redo
	// Consistent is the LSN from which on the pages are those of one moment:
	// Redo for a cluster that was shut down, minRecoveryPoint for a standby
	// that was, and for an online backup from a standby (0 while pg_control
	// was not read). For an online backup from a primary it is 0: the
	// BACKUP_END record whose start is Redo says it.
	Consistent pg.LSN
	// EndLSN is where the WAL that the backup needs ends, as backup_manifest
	// says; 0 without one. For an online backup it is the end of the BACKUP_END record, or later.
	EndLSN pg.LSN
	Label  datadir.BackupLabel // of an online backup

	HasControl           bool // what follows is set
	Major                int
	SystemIdentifier     uint64 // also without pg_control if backup_manifest has it (17 and later)
	CatalogVersion       uint32
	SegmentSize          int64 // of WAL, bytes
	Checksums            bool
	WALLogHints          bool
	TrackCommitTimestamp bool
	Control              datadir.Control

	Tablespaces []pg.OID // besides pg_default and pg_global, ascending
}

// settleStart fills in where replay starts. With no label the cluster must
// have been shut down.
func (i *Info) settleStart(label *datadir.BackupLabel) error {
	switch {
	case label != nil:
		i.fromLabel(label)
	case i.HasControl:
		if err := i.fromControl(); err != nil {
			return err
		}
	default:
		return nil
	}
	i.Known = true
	return nil
}

func (i *Info) fromLabel(l *datadir.BackupLabel) {
	i.Online, i.FromStandby, i.Label = true, l.Standby, *l
	i.Redo, i.Checkpoint, i.StartTLI = l.Start, l.Checkpoint, l.StartTLI
	if i.FromStandby && i.HasControl {
		i.Consistent = i.Control.MinRecoveryPoint
	}
}

func (i *Info) fromControl() error {
	c := &i.Control
	i.Redo, i.Checkpoint, i.StartTLI = c.CheckPoint.Redo, c.CheckPointLSN, c.CheckPoint.TLI
	switch c.State {
	case datadir.ShutDown:
		if c.CheckPointLSN != c.CheckPoint.Redo || c.CheckPointLSN == pg.InvalidLSN {
			return fmt.Errorf("read pg_control: the cluster is shut down, but its checkpoint at %s starts replay at %s", c.CheckPointLSN, c.CheckPoint.Redo)
		}
		i.Consistent = i.Redo
		return nil
	case datadir.ShutDownInRecovery:
		return i.fromStandby()
	}
	return fmt.Errorf("the cluster was not stopped cleanly (its state is %q) and there is no backup_label: "+
		"stop the server with pg_ctl stop -m fast before its directory is read or copied, or take a base backup with pg_basebackup", c.State)
}

// fromStandby is a standby that was stopped: its pages are those of minRecoveryPoint once replay got there.
func (i *Info) fromStandby() error {
	c := &i.Control
	switch {
	case c.BackupStartPoint != pg.InvalidLSN || c.BackupEndPoint != pg.InvalidLSN || c.BackupEndRequired:
		return errors.New("the cluster was stopped before it had replayed the WAL of the base backup it was made from: start it, wait until it accepts connections, and stop it again")
	case c.MinRecoveryPoint < c.CheckPoint.Redo || c.CheckPoint.Redo == pg.InvalidLSN:
		return fmt.Errorf("read pg_control: the standby was shut down, but its minimum recovery point %s is before its redo point %s", c.MinRecoveryPoint, c.CheckPoint.Redo)
	}
	i.Consistent = c.MinRecoveryPoint
	return nil
}

// setControl copies what others ask for most.
func (i *Info) setControl(c datadir.Control, major int) {
	i.HasControl, i.Control, i.Major = true, c, major
	i.SystemIdentifier, i.CatalogVersion = c.SystemIdentifier, c.CatalogVersion
	i.SegmentSize = int64(c.SegmentSize)
	i.Checksums, i.WALLogHints, i.TrackCommitTimestamp = c.Checksums(), c.WALLogHints, c.TrackCommitTimestamp
}

// owns reports whether a manifest is this backup's. PostgreSQL leaves the
// manifest of the backup that a cluster was made from in its data directory,
// where it says nothing about today's files, and from there into copies. No
// two backups start in the same segment, for each starts with a switch of
// segments; a label that is damaged within it is still told from another's.
//
// A snapshot that Redoubt made has no label and needs no WAL to be consistent:
// its manifest starts where its pages are. A cluster that was made from a
// backup with a label is never consistent where that backup starts.
func (i *Info) owns(m *datadir.Manifest) bool {
	switch {
	case !i.Online:
		return i.Known && i.Consistent == i.Redo && m.Start() == i.Redo
	case !i.HasControl:
		return m.Start() == i.Label.Start
	}
	return m.Start() != pg.InvalidLSN && pg.SegmentOf(m.Start(), i.SegmentSize) == pg.SegmentOf(i.Label.Start, i.SegmentSize)
}

// setManifest takes what a manifest says, if it is this backup's.
func (i *Info) setManifest(m *datadir.Manifest) {
	if m == nil || !i.owns(m) {
		return
	}
	if end := m.End(); i.Online && end > i.Redo {
		i.EndLSN = end
	}
	if !i.HasControl {
		i.SystemIdentifier = m.SystemIdentifier
	}
}

// checkLabel holds backup_label against pg_control.
func (i *Info) checkLabel() error {
	if !i.Online || !i.HasControl {
		return nil
	}
	l, c := &i.Label, &i.Control
	if name := pg.SegmentName(l.StartTLI, pg.SegmentOf(l.Start, i.SegmentSize), i.SegmentSize); name != l.StartFile {
		return fmt.Errorf("backup_label says %s is in segment %s; with segments of %d bytes it is in %s: the label is damaged or of another cluster", l.Start, l.StartFile, i.SegmentSize, name)
	}
	if c.CheckPointLSN < l.Checkpoint {
		return fmt.Errorf("pg_control knows the checkpoint at %s, backup_label the one at %s: pg_control is older than the backup; use another backup", c.CheckPointLSN, l.Checkpoint)
	}
	return i.checkStandby()
}

// checkStandby is PostgreSQL's own check of a backup from a standby (InitWalRecovery, xlogrecovery.c).
func (i *Info) checkStandby() error {
	if !i.FromStandby {
		return nil
	}
	s := i.Control.State
	if s != datadir.InArchiveRecovery && s != datadir.ShutDownInRecovery {
		return fmt.Errorf("backup_label says the backup is from a standby, pg_control says %q: they are not of one backup; use another backup", s)
	}
	if i.Control.MinRecoveryPoint == pg.InvalidLSN {
		return errors.New("the backup is from a standby and its pg_control names no minimum recovery point: it is damaged; use another backup")
	}
	return nil
}
