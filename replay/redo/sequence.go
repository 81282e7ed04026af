package redo

import "encoding/binary"

const (
	seqLog           = 0x00   // XLOG_SEQ_LOG
	seqMagic         = 0x1717 // SEQ_MAGIC, in the special area
	seqSpecialSize   = 4      // sizeof(sequence_magic), rounded up by PageInit
	seqTupleOffset   = 12     // xl_seq_rec: a RelFileLocator, then the tuple
	firstOffsetOnRel = 1      // FirstOffsetNumber
)

// redoSequence rebuilds the one page of a sequence from the tuple in the
// record's main data. The logged tuple is the state after the pre-fetch, so a
// replayed sequence is ahead of the page on disk.
//
// Source: commands/sequence.c, seq_redo.
func redoSequence(c *call) error {
	if c.rec.Op() != seqLog {
		return c.errorf("unknown operation 0x%02X", c.rec.Op())
	}
	if len(c.rec.Main) <= seqTupleOffset {
		return c.errorf("main data has %d bytes, want a locator and a tuple", len(c.rec.Main))
	}
	pageInit(c.page, seqSpecialSize)
	binary.LittleEndian.PutUint32(c.page[c.page.Special():], seqMagic)
	off, err := pageAddItem(c.page, c.rec.Main[seqTupleOffset:], firstOffsetOnRel, false, false)
	if err != nil || off != firstOffsetOnRel {
		return c.errorf("add the sequence's tuple of %d bytes: %v", len(c.rec.Main)-seqTupleOffset, err)
	}
	return nil
}
