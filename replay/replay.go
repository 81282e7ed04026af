// Package replay turns a base and a range of WAL into pages. It declares what
// an engine needs from the outside; replay/redo applies one record to one
// page, replay/native is the embedded engine.
package replay

import (
	"context"

	"redoubt/internal/pg"
)

// WALSource opens streams of WAL pages; internal/archive fits it.
type WALSource interface {
	// SegmentSize is the size of a segment in bytes, read from the WAL itself.
	SegmentSize() int64
	// Open starts a stream at the page that holds from. Streams are independent of each other.
	Open(ctx context.Context, from pg.LSN) (WALStream, error)
}

// WALStream yields WAL pages in order.
type WALStream interface {
	// ReadPages returns one or more whole WAL pages that start at LSN at,
	// which is a multiple of 8 KiB, not crossing a segment's end. The memory
	// belongs to the caller. Where a segment is not there the error is a
	// *wal.MissingError.
	ReadPages(at pg.LSN) ([]byte, error)
	Close() error
}

// Reuser is a WALStream that may fill its memory again.
type Reuser interface {
	// Reuse says that from now on what ReadPages returns is wanted only until
	// its next call.
	Reuse()
}
