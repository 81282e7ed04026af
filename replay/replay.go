// Package replay turns a base and a range of WAL into pages. It declares what
// an engine needs from the outside; replay/redo applies one record to one
// page, replay/native is the embedded engine.
package replay

import (
	"context"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
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

// BasePages is a base whose pages can be read in any order, by several
// goroutines at once. Page and SLRUPage return false for a page that the base
// has not; p is one page long.
type BasePages interface {
	Page(f pg.RelFork, n pg.BlockNumber, p []byte) (bool, error)
	SLRUPage(s pg.SLRUPage, p []byte) (bool, error)
	Close() error
}

// OnDemand is a base that may have BasePages.
type OnDemand interface {
	// OnDemand shows v the base without its pages: the ends of relations and the
	// small files. It returns nil, and v has seen nothing, if the base cannot be
	// read in any order, or only at a price: then it is to be streamed.
	OnDemand(ctx context.Context, v datadir.Visitor) (BasePages, error)
}

// Reuser is a WALStream that may fill its memory again.
type Reuser interface {
	// Reuse says that from now on what ReadPages returns is wanted only until
	// its next call.
	Reuse()
}
