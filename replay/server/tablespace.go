package server

import (
	"errors"
	"fmt"
	"io"
	"os"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// hidePath empties the path in a record that makes a tablespace, see wal.HidePath.
func (w *walWriter) hidePath(s space) error {
	rec := make([]byte, s.length)
	if err := w.record(s.lsn, rec, (*os.File).ReadAt); err != nil {
		return fmt.Errorf("read record at %s: %w", s.lsn, err)
	}
	if err := wal.HidePath(rec, s.path); err != nil {
		return fmt.Errorf("record at %s: %w", s.lsn, err)
	}
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
