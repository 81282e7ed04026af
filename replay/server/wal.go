package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// walWriter copies the WAL of a span to a server's pg_wal: whole segments
// from the one that holds its start, up to the end of the last record that
// starts before the span's end, and zeros behind it.
//
// A segment is named by the timeline that is current at its end, as
// PostgreSQL looks for it; a history file says where timelines change.
type walWriter struct {
	dir        *scratch
	src        replay.WALSource
	span       pg.Range
	checkpoint pg.LSN // its record is needed even where it is the span's end
	size       int64  // of a segment
	tli        pg.TLI // first the base's, then that of the last record

	file     *os.File     // the segment being written
	seg      pg.SegmentNo // its number
	next     pg.LSN       // of the first page not written yet
	segments []pg.SegmentNo
	tlis     map[pg.SegmentNo]pg.TLI // after the last record that starts there
	forks    []fork

	last, end pg.LSN // start and end of the last record
	redone    pg.LSN // start of the last record that a server redoes, 0: none
	settings  []wal.ParameterChange
	spaces    []space
}

// fork is a change of timeline.
type fork struct {
	parent pg.TLI
	at     pg.LSN // of the first record that is not parent's
}

// space is a record that makes a tablespace at a path of the primary.
type space struct {
	lsn    pg.LSN
	length int // of the record
	path   int // where in the record the path is
}

func (w *walWriter) run(ctx context.Context) (err error) {
	start := pg.SegmentOf(w.span.From, w.size).Start(w.size)
	s, err := w.src.Open(ctx, start)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	w.next, w.tlis = start, make(map[pg.SegmentNo]pg.TLI)
	copyPages := func(at pg.LSN, limit int) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		chunk, err := s.ReadPages(at)
		if err != nil {
			return nil, err
		}
		chunk = chunk[:min(len(chunk), limit)]
		return chunk, w.write(at, chunk)
	}
	for first := w.span.From &^ (wal.PageSize - 1); w.next < first; {
		if _, err := copyPages(w.next, int(first-w.next)); err != nil {
			return err
		}
	}
	pages := func(at pg.LSN) ([]byte, error) { return copyPages(at, int(w.size)) }
	err = w.records(wal.NewReader(pages, wal.Config{Start: w.span.From, SegmentSize: w.size}))
	if cerr := w.closeFile(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return w.finish()
}

// records reads on until a record starts at or after the span's end.
func (w *walWriter) records(r *wal.Reader) error {
	var rec wal.Record
	w.end = w.span.From
	for wal.NextRecord(w.end, w.size) < w.span.To || w.last < w.checkpoint {
		if err := r.Next(&rec); err != nil {
			return err
		}
		if rec.LSN >= w.span.To && rec.LSN > w.checkpoint {
			break
		}
		w.last, w.end = rec.LSN, rec.End
		if rec.LSN != w.checkpoint || w.span.From != w.checkpoint { // the record at a shutdown is where redo starts behind
			w.redone = rec.LSN
		}
		if err := w.look(&rec); err != nil {
			return err
		}
		w.tlis[pg.SegmentOf(rec.LSN, w.size)] = w.tli
	}
	return nil
}

// look notes what a server must be told before it starts.
func (w *walWriter) look(r *wal.Record) error {
	tli, err := wal.TLIAfter(r, w.tli)
	if err != nil {
		return err
	}
	if tli != w.tli {
		w.forks = append(w.forks, fork{w.tli, r.LSN})
		w.tli = tli
	}
	if c, ok, err := wal.DecodeParameterChange(r); err != nil {
		return err
	} else if ok {
		w.settings = append(w.settings, c)
	}
	if t, ok, err := wal.DecodeTablespaceCreate(r); err != nil {
		return err
	} else if ok && t.Path != "" {
		w.spaces = append(w.spaces, space{r.LSN, int(r.Length), int(r.Length) - len(r.Main) + 4})
	}
	return nil
}

// write puts pages into their segment. The rest of a segment that a SWITCH
// record ended is never read, and stays zero.
func (w *walWriter) write(at pg.LSN, chunk []byte) error {
	if seg := pg.SegmentOf(at, w.size); w.file == nil || seg != w.seg {
		if err := w.begin(seg); err != nil {
			return err
		}
	}
	_, err := w.file.WriteAt(chunk, int64(at-w.seg.Start(w.size)))
	w.next = at + pg.LSN(len(chunk))
	return diskFull(w.dir, err)
}

// begin makes the file of the next segment.
func (w *walWriter) begin(seg pg.SegmentNo) error {
	if err := w.closeFile(); err != nil {
		return err
	}
	if err := w.dir.room(w.size); err != nil {
		return err
	}
	f, err := w.dir.create(w.copied(seg))
	if err != nil {
		return err
	}
	w.file, w.seg = f, seg
	w.segments = append(w.segments, seg)
	return diskFull(w.dir, f.Truncate(w.size))
}

func (w *walWriter) closeFile() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// copied is the name of a segment while its timeline is not known yet.
func (w *walWriter) copied(seg pg.SegmentNo) string {
	return path.Join(dataDir, "pg_wal", fmt.Sprintf("copied.%d", seg))
}

// finish cuts the WAL, hides what the server must not see, and gives segments
// their names.
func (w *walWriter) finish() error {
	for _, s := range w.spaces {
		if err := w.hidePath(s); err != nil {
			return err
		}
	}
	tli := pg.TLI(0)
	for i, seg := range w.segments {
		name := w.copied(seg)
		if i > 0 && seg.Start(w.size) >= w.end {
			if err := w.dir.root.Remove(name); err != nil {
				return err
			}
			continue
		}
		if err := w.cut(seg); err != nil {
			return err
		}
		if t := w.tlis[seg]; t != 0 {
			tli = t
		}
		if tli == 0 {
			tli = w.tli
		}
		if err := w.dir.root.Rename(name, path.Join(dataDir, "pg_wal", pg.SegmentName(tli, seg, w.size))); err != nil {
			return err
		}
	}
	if w.tli == 1 {
		return nil
	}
	return w.dir.put(path.Join(dataDir, "pg_wal", wal.HistoryFileName(w.tli)), w.history())
}

// cut zeroes what follows the last record.
func (w *walWriter) cut(seg pg.SegmentNo) error {
	at := int64(w.end - seg.Start(w.size))
	if at >= w.size {
		return nil
	}
	f, err := w.dir.root.OpenFile(w.copied(seg), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(at), f.Truncate(w.size), f.Close())
}

// history is the history file of the last timeline (writeTimeLineHistory,
// access/transam/timeline.c), from the base on: a server asks for no more.
func (w *walWriter) history() []byte {
	var out []byte
	for _, f := range w.forks {
		out = fmt.Appendf(out, "%d\t%s\tas the WAL says\n", f.parent, f.at)
	}
	return out
}
