package wal

import (
	"encoding/binary"
	"errors"

	"redoubt/internal/pg"
)

// Operations of Neon's resource manager, pg.RmgrNeon, since 16; HeapInitPage
// goes with them (access/neon_xlog.h of Neon's PostgreSQL, XLOG_NEON_HEAP_*).
const (
	OpNeonInsert      = 0x00
	OpNeonDelete      = 0x10
	OpNeonUpdate      = 0x20
	OpNeonHotUpdate   = 0x30
	OpNeonLock        = 0x40
	OpNeonMultiInsert = 0x50
)

// HeapChange is a change of heap tuples, whichever resource manager and
// operation logs it: those for which Neon has records of its own.
type HeapChange uint8

// The changes.
const (
	NoHeapChange HeapChange = iota // none of these
	HeapInserts
	HeapDeletes
	HeapUpdates
	HeapHotUpdates
	HeapLocks
	HeapMultiInserts
)

var (
	heapChanges = [8]HeapChange{OpHeapInsert >> 4: HeapInserts, OpHeapDelete >> 4: HeapDeletes, OpHeapUpdate >> 4: HeapUpdates,
		OpHeapHotUpdate >> 4: HeapHotUpdates, OpHeapLock >> 4: HeapLocks}
	neonChanges = [8]HeapChange{OpNeonInsert >> 4: HeapInserts, OpNeonDelete >> 4: HeapDeletes, OpNeonUpdate >> 4: HeapUpdates,
		OpNeonHotUpdate >> 4: HeapHotUpdates, OpNeonLock >> 4: HeapLocks, OpNeonMultiInsert >> 4: HeapMultiInserts}
)

// IsNeon reports whether the record is of Neon's own resource manager. Up to
// 15 its id is any extension's.
func (r *Record) IsNeon() bool { return r.Rmgr == pg.RmgrNeon && r.Major >= 16 }

// HeapChange says which change of heap tuples the record logs.
func (r *Record) HeapChange() HeapChange {
	op := r.HeapOp()
	switch {
	case r.Rmgr == pg.RmgrHeap:
		return heapChanges[op>>4]
	case r.Rmgr == pg.RmgrHeap2 && op == OpHeap2MultiInsert:
		return HeapMultiInserts
	case r.IsNeon():
		return neonChanges[op>>4]
	}
	return NoHeapChange
}

// fieldsAt says where fields lie in main data, in bytes.
type fieldsAt struct {
	size            int // of the fixed part, behind which there may be an old tuple
	offset          int // offset number of the tuple; of an update, of the old one
	infobits, flags int
	cid             int // 0: there is none
	newXMax, newOff int // of an update
}

// heapLayout is the format of the records of heap changes.
type heapLayout struct {
	del, lock, update fieldsAt
	multi             int   // main data of MULTI_INSERT before the offset numbers
	multiCID          int   // where in it the command id is; 0: there is none
	header            int   // xl_heap_header
	tupleHeader       int   // xl_multi_insert_tuple
	tupleCID          int   // where in that the command id is; 0: there is none
	infobits          uint8 // those that are known
}

// The layouts: stock PostgreSQL's, that of Neon's 14 and 15, and that of its
// own resource manager.
//
// Sources: access/heapam_xlog.h of PostgreSQL and of Neon's PostgreSQL 14 and
// 15, access/neon_xlog.h of Neon's since 16. In Neon's 14 and 15 the command id
// is aligned to 4 bytes and the padding before it holds anything.
var (
	stockLayout = heapLayout{
		del: fieldsAt{size: 8, offset: 4, infobits: 6, flags: 7}, lock: fieldsAt{size: 8, offset: 4, infobits: 6, flags: 7},
		update: fieldsAt{size: 14, offset: 4, infobits: 6, flags: 7, newXMax: 8, newOff: 12},
		multi:  4, header: 5, tupleHeader: 7, infobits: 0x1F,
	}
	neon15Layout = heapLayout{
		del: fieldsAt{size: 14, offset: 4, infobits: 12, flags: 13, cid: 8}, lock: fieldsAt{size: 14, offset: 4, infobits: 12, flags: 13, cid: 8},
		update: fieldsAt{size: 18, offset: 4, infobits: 6, flags: 7, cid: 8, newXMax: 12, newOff: 16},
		multi:  4, header: 9, tupleHeader: 13, tupleCID: 8, infobits: 0x3F,
	}
	neonLayout = heapLayout{
		del: fieldsAt{size: 12, offset: 4, infobits: 6, flags: 7, cid: 8}, lock: fieldsAt{size: 12, offset: 8, infobits: 10, flags: 11, cid: 4},
		update: fieldsAt{size: 18, offset: 4, infobits: 6, flags: 7, cid: 8, newXMax: 12, newOff: 16},
		multi:  8, multiCID: 4, header: 9, tupleHeader: 7, infobits: 0x3F,
	}
)

// layout is the format of the record, by its resource manager since 16, by
// the dialect before.
func (r *Record) layout() *heapLayout { return r.layoutIn(r.Dialect) }

func (r *Record) layoutIn(d Dialect) *heapLayout {
	switch {
	case r.IsNeon():
		return &neonLayout
	case d == Neon && r.Major < 16:
		return &neon15Layout
	}
	return &stockLayout
}

// fields is where the fields of a record lie that changes tuples which are there.
func (l *heapLayout) fields(c HeapChange) *fieldsAt {
	switch c {
	case HeapDeletes:
		return &l.del
	case HeapLocks:
		return &l.lock
	}
	return &l.update
}

// Dialects are the dialects in which the record can be: none if it fits no
// server's format. What a server writes always fits its own format, so that a
// record which fits one only rules the others out; no record says which it is
// by itself if it fits several. Only the command ids of heap changes and the
// image of an all-zero page tell, for only they differ.
func (r *Record) Dialects() Dialects { return r.dialects(r.HeapChange()) }

func (r *Record) dialects(change HeapChange) Dialects {
	s := AnyDialect
	for i := range r.Blocks {
		if r.Blocks[i].HasImage && r.Blocks[i].Image.zero() {
			s = OnlyNeon
		}
	}
	switch {
	case r.IsNeon():
		s &= r.fits(OnlyNeon, change)
	case change != NoHeapChange && r.Major >= 16: // Neon's are in its own resource manager
		s &= r.fits(OnlyPostgres, change)
	case r.Rmgr == pg.RmgrHeap, r.Rmgr == pg.RmgrHeap2:
		s &= r.fits(OnlyPostgres, change) | r.fits(OnlyNeon, change)
	}
	return s
}

// Tells is what a record of the WAL's dialect says of the dialect.
type Tells uint8

// What it says.
const (
	SaysNothing  Tells = iota // its redo is the same in all dialects
	FitsSeveral               // it fits several, and its redo is not the same
	TellsDialect              // no other dialect has it
)

// CheckDialect says whether the record can be of the dialect that it is read
// in, all of it, and what it tells of that. The error is a *DialectError; its
// Fits is the set of those that the record can be of. It notes in the record
// that it can be: nobody else may read the record meanwhile, nor change it after.
func (r *Record) CheckDialect() (Tells, error) {
	change := r.HeapChange()
	s := r.dialects(change)
	if !s.Has(r.Dialect) {
		return SaysNothing, r.otherDialect(s)
	}
	r.sound = r.Rmgr == pg.RmgrHeap || r.Rmgr == pg.RmgrHeap2 || r.IsNeon()
	if _, one := s.One(); one {
		return TellsDialect, nil
	}
	if change != NoHeapChange && !r.imageOnly() {
		return FitsSeveral, nil
	}
	return SaysNothing, nil
}

// imageOnly says that the record inserts tuples into a page of which it has
// the image and, but for flags, nothing else.
func (r *Record) imageOnly() bool {
	ref := r.Block(0)
	c := r.HeapChange()
	return (c == HeapInserts || c == HeapMultiInserts) && ref != nil && ref.HasImage && !ref.HasData
}

// otherDialect says why the record, which can be of the dialects s, is not of its own.
func (r *Record) otherDialect(s Dialects) error {
	err := CheckHeap(r)
	if err == nil {
		err = r.checkTuples(r.HeapChange())
	}
	if err == nil {
		err = r.dialect("servers of that kind don't write it")
	}
	var d *DialectError
	if errors.As(err, &d) {
		d.Fits = s
	}
	return err
}

// fits is the set if the heap record is whole in its dialect, tuples in block
// data included, else the empty one.
func (r *Record) fits(only Dialects, change HeapChange) Dialects {
	d, _ := only.One()
	if !r.mayFit(r.layoutIn(d), change) {
		return 0
	}
	if d != r.Dialect {
		r = r.in(d)
	}
	if r.checkHeap(change) != nil || r.checkTuples(change) != nil {
		return 0
	}
	return only
}

// in is the record read in another dialect.
func (r *Record) in(d Dialect) *Record {
	other := *r
	other.Dialect, other.sound = d, false
	return &other
}

// mayFit rules out by a few bytes most records that are of another dialect:
// an error with words would cost more than the record.
func (r *Record) mayFit(l *heapLayout, change HeapChange) bool {
	header, size := 0, l.header
	switch change {
	case HeapMultiInserts:
		header, size = 2, l.tupleHeader // behind the tuple's length
	case HeapInserts:
	case NoHeapChange:
		return true
	default:
		f := l.fields(change)
		return len(r.Main) == f.size || len(r.Main) > f.size && r.Main[f.flags]&oldTuple(change) != 0
	}
	ref := r.Block(0)
	if ref == nil || len(ref.Data) < size {
		return true
	}
	d := ref.Data[header:]
	h := TupleHeader{Infomask2: binary.LittleEndian.Uint16(d), Infomask: binary.LittleEndian.Uint16(d[2:])}
	return int(ref.Data[size-1]) == h.hoff()
}

// checkTuples says whether the new tuples in block data are whole, in a record
// that CheckHeap has passed.
func (r *Record) checkTuples(change HeapChange) error {
	ref := r.Block(0)
	if ref == nil || ref.HasImage && !ref.HasData {
		return nil
	}
	switch change {
	case HeapInserts:
		_, _, err := DecodeHeapTuple(r, ref)
		return err
	case HeapUpdates, HeapHotUpdates:
		_, err := DecodeHeapUpdateTuple(r, ref, r.u8(r.layout().update.flags))
		return err
	case HeapMultiInserts:
		m, err := DecodeHeapMultiInsert(r)
		if err != nil {
			return err
		}
		tuples := DecodeMultiInsertTuples(r, ref)
		for range m.Count {
			if _, _, err := tuples.Next(); err != nil {
				return err
			}
		}
		return tuples.End()
	}
	return nil
}
