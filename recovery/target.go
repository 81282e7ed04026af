package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// Wanted says what a recovery is to reach.
type Wanted struct {
	Meta                     // of the base
	To          pg.LSN       // see Config
	ToTime      time.Time    // see Config
	LastSegment pg.SegmentNo // see Config
	Plain       bool         // see Config
	Every       uint64       // bytes of WAL from one durable point to the next, 0: none are wanted
	Progress    func(pg.LSN) // may be nil

	after *point // the durable point that is the base, nil: none
}

// Target is where a recovery stops, and which part of the way is whose.
type Target struct {
	Start pg.LSN // of the base
	To    pg.LSN // recovery ends before the first record that starts here or later
	Last  pg.LSN // where the last record starts that is recovered
	End   pg.LSN // its end
	TLI   pg.TLI // at Last
	// Checkpoint is where the record of C starts, 0 if there is none that fits.
	Checkpoint pg.LSN
	Redo       pg.LSN         // up to here the native engine replays; without C, Start
	CheckPoint wal.CheckPoint // the body of C
	Consistent pg.LSN         // from where on the base is consistent
	LastCommit time.Time      // of the last commit or abort before the target, zero if there is none
	WALEnd     string         // why the WAL ends, where the target is its end
	Major      int            // of the WAL
	SystemID   uint64         // of the WAL, 0 if it did not say

	changes
	stops []stop // on the way to Redo, where durable points are to be
}

// changes are what WAL says that matters to a recovery as a whole, in its order.
type changes struct {
	forks    []fork
	settings []setting
	spaces   []space
}

// fork is a change of timeline.
type fork struct {
	Parent pg.TLI
	At     pg.LSN // of the first record that is not Parent's
}

// setting is a change of what recovery depends on.
type setting struct {
	At pg.LSN
	wal.ParameterChange
}

// space is a record that makes or drops a tablespace.
type space struct {
	At     pg.LSN
	Length int // of the record
	OID    pg.OID
	Path   int // where in the record the primary's path is, 0 if there is none
	Drop   bool
}

// stop is a checkpoint that a durable point can be of.
type stop struct {
	Checkpoint pg.LSN // where its record starts
	CheckPoint wal.CheckPoint
}

// Native reports whether the native engine has something to do.
func (t *Target) Native() bool { return t.Checkpoint != 0 }

// AtCheckpoint is the target that ends with the record of t's checkpoint: what
// FindTarget finds if the end of that record is wanted. There must be one.
func (t Target) AtCheckpoint(segmentSize int64) Target {
	end := wal.RecordEnd(t.Checkpoint, wal.CheckPointLength, segmentSize)
	t.To, t.Last, t.End, t.TLI = end, t.Checkpoint, end, t.CheckPoint.TLI
	t.LastCommit, t.WALEnd = time.Time{}, "" // not known; not ended by it
	t.changes = t.until(end)
	return t
}

// until is those of the changes that records before an LSN made.
func (c changes) until(at pg.LSN) changes {
	return changes{
		before(c.forks, func(f fork) bool { return f.At < at }),
		before(c.settings, func(s setting) bool { return s.At < at }),
		before(c.spaces, func(s space) bool { return s.At < at }),
	}
}

func before[T any](all []T, is func(T) bool) (out []T) {
	for _, x := range all {
		if is(x) {
			out = append(out, x)
		}
	}
	return out
}

// FindTarget reads the WAL from the base's start and finds where recovery
// stops and which checkpoint is the last one before.
func FindTarget(ctx context.Context, src replay.WALSource, w Wanted) (Target, error) {
	s, err := src.Open(ctx, w.Redo)
	if err != nil {
		return Target{}, fmt.Errorf("open WAL at %s: %w", w.Redo, err)
	}
	f := &finder{Wanted: w, src: src, t: Target{Start: w.Redo, TLI: w.TLI, Redo: w.Redo, End: w.Redo, Consistent: w.Consistent}}
	if !w.Online {
		f.t.Consistent = w.Redo
	}
	if w.after != nil {
		f.t.changes = w.after.changes()
	}
	pages := func(at pg.LSN) ([]byte, error) {
		if w.Progress != nil {
			w.Progress(at)
		}
		return s.ReadPages(at)
	}
	f.reader = wal.NewReader(pages, wal.Config{Start: w.Redo, SegmentSize: src.SegmentSize()})
	err = errors.Join(f.run(), s.Close())
	if err == nil {
		err = f.settle()
	}
	return f.t, err
}

// finder is a pass over the WAL up to the target.
type finder struct {
	Wanted
	src    replay.WALSource
	reader *wal.Reader
	t      Target
	met    bool // the record of the checkpoint that the durable point is of
}

// run reads until the target is reached.
func (f *finder) run() error {
	if f.To != 0 && f.To < f.Redo {
		return inputErrorf("the base starts at %s, after the target %s: take an older base, or a later target", f.Redo, f.To)
	}
	var rec wal.Record
	for f.t.Last == 0 || f.To == 0 || wal.NextRecord(f.t.End, f.src.SegmentSize()) < f.To {
		if err := f.reader.Next(&rec); err != nil {
			return f.ended(err)
		}
		past, err := f.past(&rec)
		if err != nil {
			return err
		}
		if past {
			f.t.To = rec.LSN
			break
		}
		f.t.Last, f.t.End = rec.LSN, rec.End
		if err := f.look(&rec); err != nil {
			return fmt.Errorf("read %s record at %s: %w", rec.Rmgr, rec.LSN, err)
		}
	}
	if f.To != 0 {
		f.t.To = f.To
	}
	return f.consistent()
}

// past reports whether a record is the first one that is not recovered. The
// record of a shutdown that the base begins with is of the base: it is there
// whatever the target is.
func (f *finder) past(r *wal.Record) (bool, error) {
	if f.To != 0 {
		return r.LSN >= f.To && r.LSN != f.Wanted.Checkpoint, nil
	}
	if r.Rmgr != pg.RmgrTransaction {
		return false, nil
	}
	x, ok, err := wal.DecodeXact(r)
	if err != nil || !ok {
		return false, err
	}
	at := x.Time.Time()
	if !f.ToTime.IsZero() && at.After(f.ToTime) {
		return true, nil
	}
	f.t.LastCommit = at
	return false, nil
}

// ended judges the end of the WAL before the target was reached.
func (f *finder) ended(err error) error {
	var end *wal.EndError
	var missing *wal.MissingError
	at := f.reader.End()
	switch {
	case errors.As(err, &missing):
		at = max(at, missing.Range.From)
	case errors.As(err, &end):
		at = max(at, end.LSN)
	default:
		return err
	}
	want := "and the target is the end of the WAL, of which later segments are there"
	switch {
	case f.To != 0:
		want = fmt.Sprintf("and %s is the target", f.To)
	case !f.ToTime.IsZero():
		want = fmt.Sprintf("and has no commit after %s (the last one before is of %s); without --to-time recovery goes to the end of the WAL",
			f.ToTime.Format(time.RFC3339Nano), f.t.LastCommit.Format(time.RFC3339Nano))
	case f.t.Last == 0:
		want = "and not even the base's first record is there"
	case pg.SegmentOf(at, f.src.SegmentSize()) >= f.LastSegment:
		f.t.To, f.t.WALEnd = f.t.End, err.Error()
		return f.consistent()
	}
	return &WALError{Reached: f.t.End, Want: want, Err: err}
}

// consistent refuses a target at which the base is not consistent yet, and
// reads on to tell from where on it is.
func (f *finder) consistent() error {
	if f.t.Consistent != 0 && f.t.End >= f.t.Consistent {
		if f.t.Last < f.Wanted.Checkpoint || f.t.Last == 0 {
			return inputErrorf("%s is no target for this base: no server starts on it without the record of its checkpoint at %s; take an older base, or a later target",
				f.t.To, f.Wanted.Checkpoint)
		}
		return nil
	}
	var rec wal.Record
	at, probe := f.t.Consistent, *f // what is read from here on is none of the target
	for at == 0 {
		if err := f.reader.Next(&rec); err != nil {
			return inputErrorf("%s is no target for this base: its backup, which starts at %s, had not ended by then, nor has it by the WAL's end (%w); take an older base",
				f.t.To, f.Redo, err)
		}
		if err := probe.look(&rec); err != nil {
			return err
		}
		at = probe.t.Consistent
	}
	return inputErrorf("%s is no target for this base: it starts at %s and is consistent from %s on only; take an older base, or a target of at least %s",
		f.t.To, f.Redo, at, at)
}

// look notes what a record says that matters to a recovery.
func (f *finder) look(r *wal.Record) error {
	if _, err := r.CheckDialect(); err != nil {
		var other *wal.DialectError
		if errors.As(err, &other) && other.Fits.Has(wal.Neon) {
			err = fmt.Errorf("%w (%w)", ErrDialect, err)
		}
		return &InputError{err}
	}
	switch r.Rmgr {
	case pg.RmgrXLOG:
		return f.xlog(r)
	case pg.RmgrTablespace:
		return f.tablespace(r)
	}
	return nil
}

func (f *finder) xlog(r *wal.Record) error {
	tli, err := wal.TLIAfter(r, f.t.TLI)
	if err != nil {
		return err
	}
	f.switchTo(tli, r.LSN)
	if c, ok, err := wal.DecodeCheckPoint(r); err != nil {
		return err
	} else if ok {
		f.checkpoint(r, c)
		return nil
	}
	if start, ok, err := wal.DecodeBackupEnd(r); err != nil {
		return err
	} else if ok {
		if f.Online && f.t.Consistent == 0 && start == f.Redo {
			f.t.Consistent = r.End
		}
		return nil
	}
	p, ok, err := wal.DecodeParameterChange(r)
	if ok {
		f.t.settings = append(f.t.settings, setting{r.LSN, p})
	}
	return err
}

func (f *finder) switchTo(tli pg.TLI, at pg.LSN) {
	if tli != f.t.TLI {
		f.t.forks = append(f.t.forks, fork{f.t.TLI, at})
		f.t.TLI = tli
	}
}

// checkpoint takes a checkpoint that a recovery can start from: one that ends
// within the target, and whose redo pointer is where the base is consistent.
// From a base that is not, pages may be missing whose drop is still to come.
func (f *finder) checkpoint(r *wal.Record, c wal.CheckPoint) {
	if f.after != nil && r.LSN == f.after.Checkpoint && c == f.after.CheckPoint {
		f.met = true
	}
	within := f.To == 0 || r.End <= f.To
	if f.Plain || !within || f.t.Consistent == 0 || c.Redo < f.t.Consistent || c.Redo <= f.Redo {
		return
	}
	f.t.Checkpoint, f.t.Redo, f.t.CheckPoint = r.LSN, c.Redo, c
	if f.Every > 0 && uint64(c.Redo-f.stopped()) >= f.Every {
		f.t.stops = append(f.t.stops, stop{r.LSN, c})
	}
}

// stopped is where the last durable point is so far.
func (f *finder) stopped() pg.LSN {
	if n := len(f.t.stops); n > 0 {
		return f.t.stops[n-1].CheckPoint.Redo
	}
	return f.Redo
}

func (f *finder) tablespace(r *wal.Record) error {
	if c, ok, err := wal.DecodeTablespaceCreate(r); err != nil {
		return err
	} else if ok {
		s := space{At: r.LSN, Length: int(r.Length), OID: c.Spc}
		if c.Path != "" {
			const oidSize = 4 // xl_tblspc_create_rec: the OID, then the path
			s.Path = int(r.Length) - len(r.Main) + oidSize
		}
		f.t.spaces = append(f.t.spaces, s)
		return nil
	}
	spc, ok, err := wal.DecodeTablespaceDrop(r)
	if ok {
		f.t.spaces = append(f.t.spaces, space{At: r.LSN, OID: spc, Drop: true})
	}
	return err
}

// settle notes what only the whole pass knows.
func (f *finder) settle() error {
	f.t.Major, f.t.SystemID = f.reader.Major(), f.reader.SystemID()
	if f.t.Checkpoint != 0 && f.t.CheckPoint.Redo > f.t.Checkpoint {
		return inputErrorf("the checkpoint at %s starts redo at %s, behind itself: the WAL is damaged", f.t.Checkpoint, f.t.Redo)
	}
	if f.after != nil && !f.met {
		return inputErrorf("the WAL does not have the checkpoint at %s that the durable point at %s is of: they are of different histories", f.after.Checkpoint, f.Redo)
	}
	// A stretch that is left over at the end is not worth a durable point.
	if n := len(f.t.stops); n > 0 && (f.stopped() == f.t.Redo || uint64(f.t.Redo-f.stopped()) < f.Every/2) {
		f.t.stops = f.t.stops[:n-1]
	}
	return nil
}
