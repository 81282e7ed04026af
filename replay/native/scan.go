package native

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// Scanned is what the first pass over a span's WAL learns.
type Scanned struct {
	WAL      Stats
	Major    int    // from the page magic
	SystemID uint64 // from the long page headers, 0 if none was read
	End      pg.LSN // of the last record read
	// BackupEnds are the BACKUP_END records of the span: an online backup that
	// started at Start is consistent at End.
	BackupEnds []BackupEnd

	// Dialect is what the WAL was read as. DialectEvidence records are of no
	// other dialect; DialectUndecided could be, and would then do something else.
	Dialect                           wal.Dialect
	DialectEvidence, DialectUndecided int64
}

// BackupEnd is a BACKUP_END record.
type BackupEnd struct {
	Start pg.LSN // of the backup: its redo pointer
	End   pg.LSN // of the record
}

// Stats counts WAL.
type Stats struct {
	Segments       int64
	Bytes          int64
	Records        int64
	FullPageImages int64 // those that redo applies
}

// Scan reads the span's WAL once and learns which blocks it touches. It
// returns what it learned even with an error; the errors are those of the
// WAL's end: *wal.EndError, *wal.MissingError, wal.ErrDialect, or what reading met.
func (e *Engine) Scan(ctx context.Context) (*Scanned, error) {
	out, err := e.scanAs(ctx)
	if errors.Is(err, errOtherDialect) {
		// Nothing before told the dialect, so what it was read as may have been wrong.
		other := wal.Neon
		if out.Dialect == wal.Neon {
			other = wal.Postgres
		}
		e.dialect, e.cfg.DetectDialect = other, false
		e.forgetTouched()
		out, err = e.scanAs(ctx)
	}
	return out, err
}

// forgetTouched lets Scan begin with nothing learned.
func (e *Engine) forgetTouched() {
	e.touched, e.recentTouched = make(map[pg.RelFork]*touch), recent[touch]{}
	e.keepDB, e.named = make(map[dbKey]bool), make(map[pg.RelFork]bool)
}

// scanAs is Scan in the engine's dialect.
func (e *Engine) scanAs(ctx context.Context) (*Scanned, error) {
	out := &Scanned{Dialect: e.dialect}
	st := &stream{src: e.src, span: e.span.Range, dialect: e.dialect, seen: e.cfg.Progress, fill: e.records.fill()}
	err := e.scan(ctx, st.each, out)
	e.describe(out, st)
	return out, err
}

// describe notes what a pass over the span knows besides its records.
func (e *Engine) describe(out *Scanned, st *stream) {
	if st.reader != nil { // the source was opened
		out.Major, out.SystemID = st.reader.Major(), st.reader.SystemID()
	}
	seg := e.src.SegmentSize()
	if out.End > e.span.From {
		out.WAL.Segments = int64(pg.SegmentOf(out.End-1, seg)-pg.SegmentOf(e.span.From, seg)) + 1
		out.WAL.Bytes = int64(out.End - e.span.From)
	}
}

// scan is Scan of what read hands it.
func (e *Engine) scan(ctx context.Context, read feed, out *Scanned) error {
	s := scanning{Engine: e, out: out}
	return read(ctx, func(b *batch) error {
		for i := range b.recs {
			if err := s.record(&b.recs[i]); err != nil {
				return fmt.Errorf("read %s record at %s: %w", b.recs[i].Rmgr, b.recs[i].LSN, err)
			}
		}
		return nil
	})
}

// scanning is a first pass under way.
type scanning struct {
	*Engine
	out    *Scanned
	clears []redo.VMClear
	slru   []redo.SLRUOp
}

func (s *scanning) record(r *wal.Record) (err error) {
	if err := s.out.tell(r, s.cfg.DetectDialect); err != nil {
		return err
	}
	s.out.count(r)
	s.touchRefs(r)
	if s.clears, err = redo.VMClears(r, s.clears[:0]); err != nil {
		return err
	}
	for _, c := range s.clears {
		s.touch(c.Page.RelFork, c.Page.Number, true)
	}
	if s.slru, err = redo.SLRUOps(r, true, s.slru[:0]); err != nil {
		return err
	}
	for i := range s.slru {
		s.touch(slruFork(s.slru[i].Page.SLRU), pg.BlockNumber(s.slru[i].Page.Page), true)
	}
	return s.touchOthers(r, s.out)
}

func (s *Scanned) count(r *wal.Record) {
	s.WAL.Records++
	s.End = r.End
	for i := range r.Blocks {
		if r.Blocks[i].HasImage && r.Blocks[i].Image.Apply {
			s.WAL.FullPageImages++
		}
	}
}

// touchRefs notes the blocks a record references.
func (e *Engine) touchRefs(r *wal.Record) {
	for i := range r.Blocks {
		ref := &r.Blocks[i]
		e.touch(ref.RelFork, ref.Number, !ref.WillInit && (!ref.HasImage || !ref.Image.Apply))
	}
}

// touch notes one block; build says that redo builds on the page before.
func (e *Engine) touch(f pg.RelFork, b pg.BlockNumber, build bool) {
	if f.Fork == pg.FSMFork || !e.wanted(f, b) {
		return
	}
	c := e.recentTouched.slot(f)
	if c.v == nil || c.fork != f {
		c.fork, c.v = f, e.touched[f]
		if c.v == nil {
			c.v = &touch{}
			e.touched[f] = c.v
		}
	}
	t := c.v
	if t.all.add(b) && build {
		t.need.add(b)
	}
}

// wanted is the filter. SLRU pages are always wanted, and so are the blocks of
// a database that the span copies: its copy is built from all of them.
func (e *Engine) wanted(f pg.RelFork, b pg.BlockNumber) bool {
	return e.cfg.Filter == nil || f.Spc == 0 || e.cfg.Filter(f, b) || e.keepDB[dbKey{f.Spc, f.DB}]
}

// touchOthers notes what records do beside their block references.
func (e *Engine) touchOthers(r *wal.Record, out *Scanned) error {
	if err := e.nameForks(r); err != nil {
		return err
	}
	switch r.Rmgr {
	case pg.RmgrStorage:
		t, ok, err := wal.DecodeSmgrTruncate(r)
		if err != nil || !ok {
			return err
		}
		// The last kept page of the visibility map loses its tail bits.
		vm := pg.RelFork{RelFileLocator: t.Rel, Fork: pg.VMFork}
		if last, cut := redo.VMTruncation(t.Block); cut {
			e.touch(vm, last, true)
		}
	case pg.RmgrDatabase:
		c, ok, err := wal.DecodeDatabaseCopy(r)
		if err != nil || !ok {
			return err
		}
		e.keepDB[dbKey{c.SrcSpc, c.SrcDB}] = true
	}
	return out.backupEnd(r)
}

// backupEnd notes a record that ends an online backup.
func (s *Scanned) backupEnd(r *wal.Record) error {
	if r.Rmgr != pg.RmgrXLOG {
		return nil
	}
	start, ok, err := wal.DecodeBackupEnd(r)
	if ok {
		s.BackupEnds = append(s.BackupEnds, BackupEnd{Start: start, End: r.End})
	}
	return err
}

// nameForks notes the relations that a record makes, drops or cuts.
func (e *Engine) nameForks(r *wal.Record) error {
	if !e.cfg.NameForks {
		return nil
	}
	switch r.Rmgr {
	case pg.RmgrTransaction:
		x, ok, err := wal.DecodeXact(r)
		if err != nil || !ok {
			return err
		}
		for _, rel := range x.DroppedRels {
			e.nameAll(rel)
		}
	case pg.RmgrStorage:
		if t, ok, err := wal.DecodeSmgrTruncate(r); err != nil || ok {
			e.nameAll(t.Rel)
			return err
		}
		f, ok, err := wal.DecodeSmgrCreate(r)
		if err != nil || !ok {
			return err
		}
		e.nameAll(f.RelFileLocator)
	}
	return nil
}

// nameAll notes the forks that are compared.
func (e *Engine) nameAll(rel pg.RelFileLocator) {
	for _, fork := range []pg.ForkNumber{pg.MainFork, pg.VMFork, pg.InitFork} {
		e.named[pg.RelFork{RelFileLocator: rel, Fork: fork}] = true
	}
}

// FindBackupEnd looks for the record that ends the online backup that started at
// start and returns the record's end; *wal.EndError or *wal.MissingError say why there is none.
func (e *Engine) FindBackupEnd(ctx context.Context, start pg.LSN) (pg.LSN, error) {
	var found pg.LSN
	st := &stream{src: e.src, span: pg.Range{From: start, To: ^pg.LSN(0)}}
	err := st.each(ctx, func(b *batch) error {
		for i := range b.recs {
			if b.recs[i].Rmgr != pg.RmgrXLOG {
				continue
			}
			at, ok, err := wal.DecodeBackupEnd(&b.recs[i])
			if err != nil {
				return err
			}
			if ok && at == start {
				found = b.recs[i].End
				return errStop
			}
		}
		return nil
	})
	if err == nil && found == 0 {
		err = errors.New("no BACKUP_END record")
	}
	return found, err
}
