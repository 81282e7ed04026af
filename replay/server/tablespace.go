package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// Layout of a record's header (XLogRecord, access/xlogrecord.h): the CRC is
// its last field, over the rest of the record and then the header before it.
const (
	recordHeader = 24
	recordCRC    = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hidePath empties the path in a record that makes a tablespace. It is the
// primary's, and absolute: a server that redoes the record enters it, and on
// the primary's own host that would be production's directory. With an empty
// path the server makes a directory within its own (an in-place tablespace,
// create_tablespace_directories, commands/tablespace.c). No page depends on it.
func (w *walWriter) hidePath(s space) error {
	if s.length < recordHeader || s.path >= s.length {
		return fmt.Errorf("record at %s: no path in %d bytes", s.lsn, s.length)
	}
	rec := make([]byte, s.length)
	if err := w.record(s.lsn, rec, (*os.File).ReadAt); err != nil {
		return fmt.Errorf("read record at %s: %w", s.lsn, err)
	}
	sum := func() uint32 {
		return crc32.Update(crc32.Checksum(rec[recordHeader:], castagnoli), castagnoli, rec[:recordCRC])
	}
	if binary.LittleEndian.Uint32(rec[recordCRC:]) != sum() {
		return fmt.Errorf("record at %s: its CRC does not fit", s.lsn)
	}
	rec[s.path] = 0
	binary.LittleEndian.PutUint32(rec[recordCRC:], sum())
	if err := w.record(s.lsn, rec, (*os.File).WriteAt); err != nil {
		return fmt.Errorf("write record at %s: %w", s.lsn, err)
	}
	return nil
}

// record reads or writes the bytes of a record in the copied segments, around
// the headers of pages.
func (w *walWriter) record(at pg.LSN, rec []byte, io func(*os.File, []byte, int64) (int, error)) error {
	for len(rec) > 0 {
		n := min(len(rec), int(wal.PageSize-at%wal.PageSize))
		if err := w.piece(at, rec[:n], io); err != nil {
			return err
		}
		rec = rec[n:]
		at = wal.NextRecord(at+pg.LSN(n), w.size)
	}
	return nil
}

func (w *walWriter) piece(at pg.LSN, b []byte, do func(*os.File, []byte, int64) (int, error)) error {
	seg := pg.SegmentOf(at, w.size)
	f, err := w.dir.root.OpenFile(w.copied(seg), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err = do(f, b, int64(at-seg.Start(w.size))); errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, f.Close())
}
