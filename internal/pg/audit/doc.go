// Package audit finds lost writes of the primary in the WAL alone.
//
// A full-page image is assembled under the page's exclusive lock before the
// record's LSN is stored in it. So it carries the page LSN that the primary
// had in memory just before: the end of the last earlier record that set this
// block's LSN. An older one means that the primary read an old version of the
// page back from its disk: a write was lost, whatever checksums say.
//
//	record A sets block 7 ......... page LSN = end(A)
//	(checkpoint: the page is written, the server forgets it)
//	record B carries an image of 7: image LSN must be end(A)
//
// What it cannot see: a lost write of a page that is next logged by a record
// that makes it anew, or never again; changes that leave the LSN alone (bits
// of the visibility map cleared without a block reference, truncated maps, the
// metapage cache of SP-GiST). Neon's WAL has no such images.
//
// Sources: XLogRecordAssemble (access/transam/xloginsert.c), and for the
// records that don't store their LSN the code that writes them.
package audit
