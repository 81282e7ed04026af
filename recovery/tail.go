package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// tail writes the WAL that is left to PostgreSQL: from the segment that holds
// the redo pointer up to the last record, and zeros behind it, so that there
// is nothing that a server could go on with. History files go with it.
func (r *run) tail(ctx context.Context) error {
	for _, h := range r.Histories {
		if h.TLI == r.target.TLI {
			continue // as findHistory took it
		}
		if err := r.sink.put(path.Join("pg_wal", wal.HistoryFileName(h.TLI)), h.Content); err != nil {
			return err
		}
	}
	if r.target.TLI > 1 {
		if err := r.sink.put(path.Join("pg_wal", wal.HistoryFileName(r.target.TLI)), r.historyFile); err != nil {
			return err
		}
	}
	size := r.WAL.SegmentSize()
	first, last := pg.SegmentOf(r.target.Redo, size), pg.SegmentOf(r.target.End-1, size)
	edits, err := r.edits(ctx)
	if err != nil {
		return err
	}
	s, err := r.WAL.Open(ctx, first.Start(size))
	if err != nil {
		return fmt.Errorf("open WAL at %s: %w", first.Start(size), err)
	}
	for n := first; n <= last && err == nil; n++ {
		r.out.Segments++
		err = r.segment(s, n, edits)
	}
	return errors.Join(err, s.Close())
}

// segment copies one segment.
func (r *run) segment(s replay.WALStream, n pg.SegmentNo, edits []edit) error {
	size := r.WAL.SegmentSize()
	at, end := n.Start(size), (n + 1).Start(size)
	stop := min(end, r.target.End)
	name := pg.SegmentName(r.history.TLIAt(stop-1), n, size)
	w, err := r.sink.File(path.Join("pg_wal", name), size)
	if err != nil {
		return err
	}
	for at < stop && err == nil {
		var chunk []byte
		if chunk, err = s.ReadPages(at); err != nil {
			var missing *wal.MissingError
			if errors.As(err, &missing) {
				err = &WALError{Reached: missing.Range.From, Want: fmt.Sprintf("and %s is to be reached", r.target.End), Err: err}
			}
			break
		}
		chunk = chunk[:min(uint64(len(chunk)), uint64(stop-at))]
		for _, e := range edits {
			e.apply(at, chunk)
		}
		_, err = w.Write(chunk)
		at += pg.LSN(len(chunk))
	}
	if err == nil {
		_, err = io.CopyN(w, zeros{}, int64(end-at))
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// edit is some bytes of the WAL to be replaced.
type edit struct {
	at    pg.LSN
	bytes []byte
}

func (e *edit) apply(at pg.LSN, chunk []byte) {
	for i, b := range e.bytes {
		if p := e.at + pg.LSN(i); p >= at && p < at+pg.LSN(len(chunk)) {
			chunk[p-at] = b
		}
	}
}

// edits empty the paths in records of the tail that make tablespaces, see wal.HidePath.
func (r *run) edits(ctx context.Context) ([]edit, error) {
	var out []edit
	for _, s := range r.target.spaces {
		if s.Drop || s.Path == 0 || s.At < r.target.Redo {
			continue
		}
		e, err := r.hidePath(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("hide the path of tablespace %d in the record at %s: %w", s.OID, s.At, err)
		}
		out = append(out, e...)
	}
	return out, nil
}

// hidePath is the edits for one record.
func (r *run) hidePath(ctx context.Context, s space) ([]edit, error) {
	rec, where, err := r.rawRecord(ctx, s.At, s.Length)
	if err != nil {
		return nil, err
	}
	before := bytes.Clone(rec)
	if err := wal.HidePath(rec, s.Path); err != nil {
		return nil, err
	}
	var out []edit
	for i := range rec {
		if rec[i] != before[i] {
			out = append(out, edit{where[i], rec[i : i+1]})
		}
	}
	return out, nil
}

// rawRecord reads the bytes of a record around the headers of pages, and where
// each of them is.
func (r *run) rawRecord(ctx context.Context, at pg.LSN, length int) (rec []byte, where []pg.LSN, err error) {
	s, err := r.WAL.Open(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for len(rec) < length {
		page := at &^ (wal.PageSize - 1)
		chunk, err := s.ReadPages(page)
		if err != nil {
			return nil, nil, err
		}
		for _, b := range chunk[at-page : wal.PageSize] {
			if len(rec) == length {
				break
			}
			rec, where, at = append(rec, b), append(where, at), at+1
		}
		at = wal.NextRecord(at, r.WAL.SegmentSize())
	}
	return rec, where, nil
}
