package initial

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// Source is the WAL of a timeline; *archive.Source fits it.
type Source interface {
	replay.WALSource
	SystemID() uint64
	History() wal.History
}

// MismatchError says why a data directory and WAL are not of one timeline.
type MismatchError struct{ Reason string }

func (e *MismatchError) Error() string {
	return "the data directory and the WAL do not fit: " + e.Reason
}

func mismatch(format string, args ...any) error { return &MismatchError{fmt.Sprintf(format, args...)} }

// Fit is what the WAL says of a snapshot that fits it.
type Fit struct {
	Checkpoint wal.CheckPoint // the record that pg_control or the label names
	End        pg.LSN         // from here on it can be started on: behind that record, or behind the end of the backup
	Replay     pg.Range       // whole records, from where replay starts
}

// segmentsBehind is how many segments behind the snapshot's own are replayed
// in a proof: redo of the first writes to each page is what a wrong base spoils.
const segmentsBehind = 1

// Match reads the first WAL that belongs to a snapshot: the checkpoint record
// must stand where pg_control (or the backup_label) says, be what it says,
// and stand in an unbroken chain of records. WAL that is not there is a
// *wal.MissingError, WAL that does not fit a *MismatchError.
func Match(ctx context.Context, info snapshot.Info, src Source) (Fit, error) {
	if id := src.SystemID(); id != info.SystemIdentifier {
		return Fit{}, mismatch("the WAL is of cluster %d, pg_control of cluster %d", id, info.SystemIdentifier)
	}
	if size := src.SegmentSize(); size != info.SegmentSize {
		return Fit{}, mismatch("WAL segments have %d bytes, pg_control says %d", size, info.SegmentSize)
	}
	stream, err := src.Open(ctx, pg.SegmentOf(info.Redo, info.SegmentSize).Start(info.SegmentSize))
	if err != nil {
		return Fit{}, err
	}
	defer func() { _ = stream.Close() }() // it was only read
	m := matching{info: info, limit: pg.SegmentOf(info.Redo, info.SegmentSize).Start(info.SegmentSize) + pg.LSN((1+segmentsBehind)*info.SegmentSize)}
	r := wal.NewReader(stream.ReadPages, wal.Config{
		Start: pg.SegmentOf(info.Redo, info.SegmentSize).Start(info.SegmentSize), FindFirst: true, MayBeginLate: true,
		SegmentSize: info.SegmentSize, SystemID: info.SystemIdentifier, History: src.History(), Dialect: replay.DialectOf(src),
	})
	return m.read(ctx, r)
}

type matching struct {
	info  snapshot.Info
	limit pg.LSN
	fit   Fit
	found bool // the checkpoint
}

func (m *matching) read(ctx context.Context, r *wal.Reader) (Fit, error) {
	var rec wal.Record
	for {
		if err := ctx.Err(); err != nil {
			return Fit{}, err
		}
		if m.found && m.fit.End != 0 && r.End() >= m.limit {
			break
		}
		if err := r.Next(&rec); err != nil {
			if err = m.ended(r, err); err != nil {
				return Fit{}, err
			}
			break
		}
		if err := m.record(&rec); err != nil {
			return Fit{}, err
		}
	}
	m.fit.Replay = pg.Range{From: m.info.Redo, To: r.End()}
	return m.fit, nil
}

// ended says what the end of the WAL means: before all that is needed was
// read it is missing, or broken.
func (m *matching) ended(r *wal.Reader, err error) error {
	var missing *wal.MissingError
	var end *wal.EndError
	enough := m.found && m.fit.End != 0
	switch {
	case errors.As(err, &missing) && enough:
		return nil
	case errors.As(err, &end) && enough && (end.Reason == wal.EndZeroLength || end.Reason == wal.EndZeroPage):
		return nil // a begun segment
	case errors.As(err, &end) && !m.found && r.End() <= m.info.Checkpoint:
		return mismatch("the WAL ends at %s (%v), before the checkpoint at %s", r.End(), err, m.info.Checkpoint)
	case errors.As(err, &end):
		return mismatch("%v", err)
	}
	return err
}

func (m *matching) record(r *wal.Record) error {
	i := &m.info
	if !m.found && r.LSN > i.Checkpoint {
		return mismatch("no record starts at %s, where pg_control names a checkpoint; the records around it end at %s", i.Checkpoint, r.LSN)
	}
	if r.LSN == i.Checkpoint {
		if err := m.checkpoint(r); err != nil {
			return err
		}
	}
	if !i.Online || m.fit.End != 0 {
		return nil
	}
	if i.FromStandby && r.End >= i.Consistent && m.found {
		m.fit.End = r.End
		return nil
	}
	start, ok, err := wal.DecodeBackupEnd(r)
	if err == nil && ok && start == i.Redo {
		m.fit.End = r.End
	}
	return err
}

// checkpoint holds the record against pg_control, field by field.
func (m *matching) checkpoint(r *wal.Record) error {
	i := &m.info
	cp, ok, err := wal.DecodeCheckPoint(r)
	switch {
	case err != nil:
		return err
	case !ok:
		return mismatch("the record at %s is %s, and no checkpoint", r.LSN, r.Rmgr)
	case cp.Redo != i.Redo:
		return mismatch("the checkpoint at %s starts replay at %s, the data directory at %s", r.LSN, cp.Redo, i.Redo)
	case cp.TLI != i.StartTLI:
		return mismatch("the checkpoint at %s is of TLI %d, the data directory of %d", r.LSN, cp.TLI, i.StartTLI)
	case !i.Online && !cp.Shutdown:
		return mismatch("the checkpoint at %s is not that of a shutdown", r.LSN)
	}
	if c := i.Control.CheckPoint; !i.Online {
		if cp.NextXID != c.NextXID || cp.NextOID != c.NextOID || cp.NextMulti != c.NextMulti || cp.Time != c.Time {
			return mismatch("the checkpoint record at %s is another than the one in pg_control (next transaction %d and %d, next OID %d and %d, time %d and %d)",
				r.LSN, cp.NextXID, c.NextXID, cp.NextOID, c.NextOID, cp.Time, c.Time)
		}
		m.fit.End = r.End
	}
	m.found, m.fit.Checkpoint = true, cp
	return nil
}
