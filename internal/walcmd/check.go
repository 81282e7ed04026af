package walcmd

import (
	"errors"
	"fmt"
	"io"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// checkFile looks whether a file is what its name says: of a segment, its
// size, its cluster if that is known, every page header, and the CRC and chain
// of every record that lies in it whole. The answer is what is wrong, empty if
// nothing is. PostgreSQL would take a record that is damaged for the end of
// the WAL, and end recovery there.
func checkFile(name string, f io.ReaderAt, system uint64) string {
	switch walfile.KindOf(name) {
	case wal.SegmentFile:
		return checkSegment(name, f, system)
	case wal.HistoryFile:
		n, _ := wal.ParseFileName(name, pg.DefaultSegmentSize)
		data, err := io.ReadAll(io.NewSectionReader(f, 0, maxSmall+1))
		if err == nil {
			_, err = wal.ParseHistory(n.TLI, data)
		}
		if err != nil {
			return err.Error()
		}
	}
	return ""
}

func checkSegment(name string, f io.ReaderAt, system uint64) string {
	h, err := readFirst(io.NewSectionReader(f, 0, wal.PageSize))
	if err != nil {
		return err.Error()
	}
	size := int64(h.SegmentSize)
	n, err := wal.ParseFileName(name, size)
	switch {
	case err != nil || n.Segment.Start(size) != h.Addr:
		return fmt.Sprintf("its first page is that of %s with segments of %d bytes", h.Addr, size)
	case h.TLI > n.TLI:
		return fmt.Sprintf("its first page is of TLI %d", h.TLI)
	case system != 0 && h.SystemID != system:
		return fmt.Sprintf("it is of another cluster: its system identifier is %d, that of the data directory is %d", h.SystemID, system)
	}
	if reason := checkLength(f, size); reason != "" {
		return reason
	}
	return checkRecords(f, n.Segment, size, h.SystemID)
}

func checkLength(f io.ReaderAt, size int64) string {
	var b [2]byte
	if n, err := f.ReadAt(b[:], size-1); n != 1 || err != io.EOF {
		return fmt.Sprintf("it has not the %d bytes of a segment", size)
	}
	return ""
}

// checkRecords reads a segment's records, up to the one that goes on in the
// segment after it.
func checkRecords(f io.ReaderAt, n pg.SegmentNo, size int64, system uint64) string {
	start, end := n.Start(size), (n + 1).Start(size)
	const chunk = 64 * wal.PageSize
	pages := func(at pg.LSN) ([]byte, error) {
		if at < start || at >= end {
			return nil, &wal.MissingError{Range: pg.Range{From: end, To: end}}
		}
		b := make([]byte, min(int64(chunk), int64(end-at)))
		_, err := f.ReadAt(b, int64(at-start))
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return b, err
	}
	r := wal.NewReader(pages, wal.Config{Start: start, FindFirst: true, SegmentSize: size, SystemID: system})
	var rec wal.Record
	for {
		err := r.Next(&rec)
		var missing *wal.MissingError
		switch {
		case errors.As(err, &missing):
			return ""
		case err != nil:
			return err.Error()
		}
	}
}
