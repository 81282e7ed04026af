package wal_test

import (
	"errors"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// inMemory is a PageFunc over WAL that starts at LSN at; beyond its end the
// next segment is missing. It hands out all that is left of a segment.
func inMemory(at pg.LSN, data []byte) wal.PageFunc {
	return pagesOf(at, data, pg.DefaultSegmentSize, pg.DefaultSegmentSize)
}

// pagesOf is inMemory for a segment size, with at most chunk bytes per call.
func pagesOf(at pg.LSN, data []byte, segmentSize int64, chunk int) wal.PageFunc {
	return func(l pg.LSN) ([]byte, error) {
		if l < at || uint64(l-at) >= uint64(len(data)) {
			n := pg.SegmentOf(l, segmentSize)
			from := n.Start(segmentSize)
			return nil, &wal.MissingError{
				Segment: pg.SegmentName(1, n, segmentSize),
				Range:   pg.Range{From: from, To: from + pg.LSN(segmentSize)},
			}
		}
		b := data[l-at:]
		left := segmentSize - int64(uint64(l)%uint64(segmentSize))
		return b[:min(int64(len(b)), left, int64(chunk))], nil
	}
}

// isEnd reports whether err is an EndError with the reason at the LSN, 0 for any.
func isEnd(err error, reason wal.EndReason, at pg.LSN) bool {
	var end *wal.EndError
	return errors.As(err, &end) && end.Reason == reason && (at == 0 || end.LSN == at)
}
