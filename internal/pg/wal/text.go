package wal

import (
	"strconv"

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
// LSN, previous record, operation, block references. What is to be said of the
// operation's own fields describe appends, if it is not nil.
//
// Source: bin/pg_waldump/pg_waldump.c, XLogDumpDisplayRecord.
func (r *Record) AppendText(dst []byte, describe func([]byte, *Record) []byte) []byte {
	dst = append(dst, "rmgr: "...)
	at := len(dst)
	dst = pad(append(dst, r.Rmgr.String()...), at, 11)
	dst = number(append(dst, " len (rec/tot): "...), uint64(max(int(r.Length)-r.ImageBytes(), 0)), 6)
	dst = number(append(dst, '/'), uint64(r.Length), 6)
	dst = number(append(dst, ", tx: "...), uint64(r.XID), 10)
	dst = paddedLSN(append(dst, ", lsn: "...), r.LSN)
	dst = paddedLSN(append(dst, ", prev "...), r.Prev)
	dst = append(append(dst, ", desc: "...), OpName(r.Rmgr, r.Info, r.Major)...)
	if describe != nil {
		dst = describe(dst, r)
	}
	for i := range r.Blocks {
		dst = r.Blocks[i].appendText(dst)
	}
	return dst
}

func (b *BlockRef) appendText(dst []byte) []byte {
	dst = number(append(dst, ", blkref #"...), uint64(b.ID), 0)
	dst = number(append(dst, ": rel "...), uint64(b.Spc), 0)
	dst = number(append(dst, '/'), uint64(b.DB), 0)
	dst = number(append(dst, '/'), uint64(b.Rel), 0)
	if b.Fork != pg.MainFork {
		dst = append(append(dst, " fork "...), b.Fork.String()...)
	}
	dst = number(append(dst, " blk "...), uint64(b.Number), 0)
	switch {
	case !b.HasImage:
	case b.Image.Apply:
		dst = append(dst, " FPW"...)
	default:
		dst = append(dst, " FPW for WAL verification"...)
	}
	return dst
}

// pad fills what follows at up with blanks to the width.
func pad(dst []byte, at, width int) []byte {
	for len(dst)-at < width {
		dst = append(dst, ' ')
	}
	return dst
}

// number appends n, right-justified. Package fmt takes five times as long.
func number(dst []byte, n uint64, width int) []byte {
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], n, 10)
	for i := len(d); i < width; i++ {
		dst = append(dst, ' ')
	}
	return append(dst, d...)
}

// paddedLSN appends the form that pg_waldump prints: 0/01529F68.
func paddedLSN(dst []byte, l pg.LSN) []byte {
	const hex = "0123456789ABCDEF"
	started := false
	for shift := 60; shift >= 32; shift -= 4 {
		digit := l >> shift & 15
		if started = started || digit != 0 || shift == 32; started {
			dst = append(dst, hex[digit])
		}
	}
	dst = append(dst, '/')
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hex[l>>shift&15])
	}
	return dst
}
