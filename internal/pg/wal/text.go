package wal

import (
	"fmt"

	"redoubt/internal/pg"
)

// ImageBytes is the number of bytes of the record that are full-page images.
func (r *Record) ImageBytes() int {
	n := 0
	for i := range r.Blocks {
		n += len(r.Blocks[i].Image.Bytes)
	}
	return n
}

// AppendText appends the record as pg_waldump prints it, on one line without
// its end: resource manager, lengths without and with images, transaction,
// LSN, previous record, operation, block references. The operation's own
// fields are not described.
//
// Source: bin/pg_waldump/pg_waldump.c, XLogDumpDisplayRecord.
func (r *Record) AppendText(dst []byte) []byte {
	dst = fmt.Appendf(dst, "rmgr: %-11s len (rec/tot): %6d/%6d, tx: %10d, lsn: %s, prev %s, desc: %s",
		r.Rmgr, int(r.Length)-r.ImageBytes(), r.Length, r.XID, paddedLSN(r.LSN), paddedLSN(r.Prev), OpName(r.Rmgr, r.Info, r.Major))
	for i := range r.Blocks {
		dst = r.Blocks[i].appendText(dst)
	}
	return dst
}

func (b *BlockRef) appendText(dst []byte) []byte {
	dst = fmt.Appendf(dst, ", blkref #%d: rel %s", b.ID, b.RelFileLocator)
	if b.Fork != pg.MainFork {
		dst = fmt.Appendf(dst, " fork %s", b.Fork)
	}
	dst = fmt.Appendf(dst, " blk %d", b.Number)
	switch {
	case !b.HasImage:
	case b.Image.Apply:
		dst = append(dst, " FPW"...)
	default:
		dst = append(dst, " FPW for WAL verification"...)
	}
	return dst
}

// paddedLSN is the form pg_waldump prints: 0/01529F68.
func paddedLSN(l pg.LSN) string { return fmt.Sprintf("%X/%08X", uint32(l>>32), uint32(l)) }
