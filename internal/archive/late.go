package archive

import (
	"bytes"
	"context"
	"errors"
	"io"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// identifyLate identifies the first segment of a timeline of Neon's, which has
// zeros where its first page should be: the segment size is its length, the
// major version that of its first page with a header. Nothing in it says which
// system it is of: that is left 0.
func (t *Timeline) identifyLate(ctx context.Context, e walfile.Entry) (Identity, error) {
	short := e
	short.Kind = wal.PartialFile // its length is to be found out
	rc, err := t.openEntry(ctx, short, pg.MaxSegmentSize)
	if err != nil {
		return Identity{}, err
	}
	defer func() { _ = rc.Close() }() // it was only read
	var id Identity
	var found wal.PageHeader
	begun := false // behind the zeros
	at := int64(0)
	page := make([]byte, wal.PageSize)
	for ; ; id.SegmentSize += wal.PageSize {
		if _, err := io.ReadFull(rc, page); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && e.Kind == wal.PartialFile {
			break
		} else if err != nil {
			return Identity{}, err
		}
		if found.Magic != 0 {
			continue
		}
		h, err := wal.ParsePageHeader(page)
		switch {
		case err == nil && h.Major() != 0 && !h.Long() && id.SegmentSize > 0:
			found, at = h, id.SegmentSize
		case begun || id.SegmentSize == 0 && !bytes.Equal(page[:wal.LongHeaderSize], make([]byte, wal.LongHeaderSize)):
			return Identity{}, errNotLate // only the page with the first record may lack its header
		default:
			begun = !bytes.Equal(page, make([]byte, wal.PageSize))
		}
	}
	if p, ok := walfile.ParseNeonPartial(e.Key); ok && t.archive.layout == Neon {
		id.SegmentSize = p.SegmentSize(e.Size)
	}
	if found.Magic == 0 || !pg.ValidSegmentSize(id.SegmentSize) {
		return Identity{}, errNotLate
	}
	if named := t.entry(storage.Object{Key: e.Key, Size: e.Size}, id.SegmentSize); named.Segment.Start(id.SegmentSize)+pg.LSN(at) != found.Addr {
		return Identity{}, errNotLate
	}
	id.Major = found.Major()
	return id, nil
}

var errNotLate = errors.New("it is not the first segment of a timeline that begins in the middle of one")
