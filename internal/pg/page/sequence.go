package page

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// SequenceMagic is SEQ_MAGIC, the first word of a sequence page's special area.
const SequenceMagic = 0x1717

// SequenceSpecialSize is MAXALIGN(sizeof(sequence_magic)) in bytes.
const SequenceSpecialSize = 8

// SequenceLogValues is SEQ_LOG_VALS: how many values nextval logs ahead.
const SequenceLogValues = 32

// Where the only tuple of a sequence has its columns: three fixed-width,
// not-null attributes behind a header of 24 bytes.
const (
	sequenceHoff     = 24
	sequenceTupleLen = sequenceHoff + 17 // int8, int8, bool
)

// Sequence is the state of a sequence (FormData_pg_sequence_data).
type Sequence struct {
	LastValue int64
	LogCnt    int64 // values that may still be used without a WAL record
	IsCalled  bool
}

// Sequence decodes the tuple of a sequence's page; ok is false if the page is
// not that of a sequence. Source: commands/sequence.c, read_seq_tuple.
func (p Page) Sequence() (s Sequence, ok bool) {
	if p.SpecialSize() != SequenceSpecialSize || p.NumItems() != 1 {
		return s, false
	}
	if binary.LittleEndian.Uint32(p[pg.BlockSize-SequenceSpecialSize:]) != SequenceMagic {
		return s, false
	}
	t, ok := p.HeapTuple(1)
	if !ok || len(t) != sequenceTupleLen || t.Hoff() != sequenceHoff || t.Infomask2()&HeapNattsMask != 3 {
		return s, false
	}
	d := t[sequenceHoff:]
	return Sequence{
		LastValue: int64(binary.LittleEndian.Uint64(d[0:])),
		LogCnt:    int64(binary.LittleEndian.Uint64(d[8:])),
		IsCalled:  d[16] != 0,
	}, true
}

// SequenceValueOffset is where on a sequence's page last_value and log_cnt
// lie, 16 bytes together; ok is false if the page is not that of a sequence.
func (p Page) SequenceValueOffset() (at int, ok bool) {
	if _, ok := p.Sequence(); !ok {
		return 0, false
	}
	return p.ItemID(1).Offset() + sequenceHoff, true
}
