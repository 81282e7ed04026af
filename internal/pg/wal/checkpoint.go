package wal

import "redoubt/internal/pg"

// CheckPoint is the body of CHECKPOINT_SHUTDOWN and CHECKPOINT_ONLINE, also
// stored in pg_control (struct CheckPoint, catalog/pg_control.h).
type CheckPoint struct {
	Redo              pg.LSN // where redo starts
	TLI               pg.TLI
	PrevTLI           pg.TLI // differs where the record begins a new timeline
	FullPageWrites    bool
	WALLevel          int32  // since 17, 0 before
	NextXID           uint64 // full transaction id, with its epoch
	NextOID           pg.OID
	NextMulti         pg.MultiXactID
	NextMultiOffset   uint32
	OldestXID         pg.XID
	OldestXIDDB       pg.OID
	OldestMulti       pg.MultiXactID
	OldestMultiDB     pg.OID
	Time              int64 // Unix seconds
	OldestCommitTsXID pg.XID
	NewestCommitTsXID pg.XID
	OldestActiveXID   pg.XID
	Shutdown          bool // CHECKPOINT_SHUTDOWN
}

// DecodeCheckPoint decodes both kinds of checkpoint; false for other records.
func DecodeCheckPoint(r *Record) (CheckPoint, bool, error) {
	shutdown, err := r.is(pg.RmgrXLOG, xlogCheckpointShutdown)
	if err != nil {
		return CheckPoint{}, false, err
	}
	if online, _ := r.is(pg.RmgrXLOG, xlogCheckpointOnline); !online && !shutdown {
		return CheckPoint{}, false, nil
	}
	c := newCursor(r.Main)
	p := readCheckPoint(&c, r.Major)
	p.Shutdown = shutdown
	if err := r.wantEnd(&c); err != nil {
		return CheckPoint{}, false, err
	}
	return p, true, nil
}

// readCheckPoint reads the struct, 88 bytes in all majors: wal_level took the
// place of padding.
func readCheckPoint(c *cursor, major int) CheckPoint {
	p := CheckPoint{Redo: pg.LSN(c.u64()), TLI: pg.TLI(c.u32()), PrevTLI: pg.TLI(c.u32()), FullPageWrites: c.u8() != 0}
	c.align(4)
	if level := int32(c.u32()); major >= 17 {
		p.WALLevel = level
	}
	p.NextXID = c.u64()
	p.NextOID = pg.OID(c.u32())
	p.NextMulti, p.NextMultiOffset = pg.MultiXactID(c.u32()), c.u32()
	p.OldestXID, p.OldestXIDDB = pg.XID(c.u32()), pg.OID(c.u32())
	p.OldestMulti, p.OldestMultiDB = pg.MultiXactID(c.u32()), pg.OID(c.u32())
	c.align(8)
	p.Time = int64(c.u64())
	p.OldestCommitTsXID, p.NewestCommitTsXID = pg.XID(c.u32()), pg.XID(c.u32())
	p.OldestActiveXID = pg.XID(c.u32())
	c.align(8)
	return p
}

// TLIAfter is the TLI of the WAL behind a record: a new one begins with the
// checkpoint of a start, or with END_OF_RECOVERY, which say it.
//
// Source: access/transam/xlogrecovery.c, checkTimeLineSwitch's callers.
func TLIAfter(r *Record, tli pg.TLI) (pg.TLI, error) {
	c, ok, err := DecodeCheckPoint(r)
	if ok && c.Shutdown {
		return c.TLI, nil
	}
	if ok || err != nil {
		return tli, err
	}
	e, ok, err := DecodeEndOfRecovery(r)
	if ok {
		tli = e.TLI
	}
	return tli, err
}
