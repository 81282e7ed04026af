package wal

import "redoubt/internal/pg"

// Operations of resource manager XLOG (catalog/pg_control.h). FPI and
// FPI_FOR_HINT have no body: all is in the block references. An FPI has an
// image in each; FPI_FOR_HINT may come without since 15.
const (
	xlogCheckpointShutdown  = 0x00
	xlogCheckpointOnline    = 0x10
	xlogNextOID             = 0x30
	xlogSwitch              = 0x40
	xlogBackupEnd           = 0x50
	xlogParameterChange     = 0x60
	xlogRestorePoint        = 0x70
	xlogEndOfRecovery       = 0x90
	xlogOverwriteContrecord = 0xD0
)

// restorePointName is MAXFNAMELEN.
const restorePointName = 64

// DecodeNextOID decodes XLOG NEXTOID, the next free OID; false for other records.
func DecodeNextOID(r *Record) (pg.OID, bool, error) {
	if ok, err := r.is(pg.RmgrXLOG, xlogNextOID); !ok {
		return 0, false, err
	}
	c := newCursor(r.Main)
	oid := pg.OID(c.u32())
	if err := r.wantEnd(&c); err != nil {
		return 0, false, err
	}
	return oid, true, nil
}

// DecodeBackupEnd decodes XLOG BACKUP_END and returns the LSN where that
// online backup started; false for other records.
func DecodeBackupEnd(r *Record) (pg.LSN, bool, error) {
	if ok, err := r.is(pg.RmgrXLOG, xlogBackupEnd); !ok {
		return 0, false, err
	}
	c := newCursor(r.Main)
	start := pg.LSN(c.u64())
	if err := r.wantEnd(&c); err != nil {
		return 0, false, err
	}
	return start, true, nil
}

// ParameterChange is XLOG PARAMETER_CHANGE: settings that recovery depends on
// (xl_parameter_change, access/xlog_internal.h).
type ParameterChange struct {
	MaxConnections       int32
	MaxWorkerProcesses   int32
	MaxWALSenders        int32
	MaxPreparedXacts     int32
	MaxLocksPerXact      int32
	WALLevel             int32 // 0 minimal, 1 replica, 2 logical
	WALLogHints          bool
	TrackCommitTimestamp bool
}

// DecodeParameterChange decodes PARAMETER_CHANGE; false for other records.
func DecodeParameterChange(r *Record) (ParameterChange, bool, error) {
	if ok, err := r.is(pg.RmgrXLOG, xlogParameterChange); !ok {
		return ParameterChange{}, false, err
	}
	c := newCursor(r.Main)
	p := ParameterChange{
		MaxConnections: int32(c.u32()), MaxWorkerProcesses: int32(c.u32()), MaxWALSenders: int32(c.u32()),
		MaxPreparedXacts: int32(c.u32()), MaxLocksPerXact: int32(c.u32()), WALLevel: int32(c.u32()),
		WALLogHints: c.u8() != 0, TrackCommitTimestamp: c.u8() != 0,
	}
	c.align(4)
	if err := r.wantEnd(&c); err != nil {
		return ParameterChange{}, false, err
	}
	return p, true, nil
}

// EndOfRecovery is XLOG END_OF_RECOVERY: a promotion without a checkpoint
// (xl_end_of_recovery, access/xlog_internal.h).
type EndOfRecovery struct {
	Time     Timestamp
	TLI      pg.TLI // the new one
	PrevTLI  pg.TLI // the one it forked off
	WALLevel int32  // since 17, 0 before
}

// DecodeEndOfRecovery decodes END_OF_RECOVERY; false for other records.
func DecodeEndOfRecovery(r *Record) (EndOfRecovery, bool, error) {
	if ok, err := r.is(pg.RmgrXLOG, xlogEndOfRecovery); !ok {
		return EndOfRecovery{}, false, err
	}
	c := newCursor(r.Main)
	e := EndOfRecovery{Time: Timestamp(c.u64()), TLI: pg.TLI(c.u32()), PrevTLI: pg.TLI(c.u32())}
	if r.Major >= 17 {
		e.WALLevel = int32(c.u32())
		c.align(8)
	}
	if err := r.wantEnd(&c); err != nil {
		return EndOfRecovery{}, false, err
	}
	return e, true, nil
}

// OverwriteContrecord is XLOG OVERWRITE_CONTRECORD: after a crash a half
// record at the end of the WAL is given up (xl_overwrite_contrecord,
// access/xlog_internal.h). The Reader checks it.
type OverwriteContrecord struct {
	LSN  pg.LSN // of the half record
	Time Timestamp
}

// DecodeOverwriteContrecord decodes OVERWRITE_CONTRECORD; false for other records.
func DecodeOverwriteContrecord(r *Record) (OverwriteContrecord, bool, error) {
	if ok, err := r.is(pg.RmgrXLOG, xlogOverwriteContrecord); !ok {
		return OverwriteContrecord{}, false, err
	}
	c := newCursor(r.Main)
	o := OverwriteContrecord{LSN: pg.LSN(c.u64()), Time: Timestamp(c.u64())}
	if err := r.wantEnd(&c); err != nil {
		return OverwriteContrecord{}, false, err
	}
	return o, true, nil
}

// RestorePoint is XLOG RESTORE_POINT (xl_restore_point, access/xlog_internal.h).
type RestorePoint struct {
	Time Timestamp
	Name string
}

// DecodeRestorePoint decodes RESTORE_POINT; false for other records.
func DecodeRestorePoint(r *Record) (RestorePoint, bool, error) {
	if ok, err := r.is(pg.RmgrXLOG, xlogRestorePoint); !ok {
		return RestorePoint{}, false, err
	}
	c := newCursor(r.Main)
	p := RestorePoint{Time: Timestamp(c.u64())}
	name := newCursor(c.bytes(restorePointName))
	p.Name = name.cString()
	if err := r.wantEnd(&c); err != nil {
		return RestorePoint{}, false, err
	}
	if err := name.err(); err != nil {
		return RestorePoint{}, false, r.dialect("name without an end")
	}
	return p, true, nil
}
