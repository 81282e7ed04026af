package initial

import (
	"context"
	"fmt"
	"io"
	"time"

	"redoubt/internal/basebackup"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
)

// Directory is a data directory with its own pg_wal; *snapshot.Snapshot fits it.
type Directory interface {
	Files
	OpenWAL(ctx context.Context, name string) (io.ReadCloser, error)
}

// Segments opens a whole segment of the archive.
type Segments func(ctx context.Context, tli pg.TLI, n pg.SegmentNo) (io.ReadCloser, error)

// First is a data directory as it is kept.
type First struct {
	info snapshot.Info
	from Directory
	tail WAL
}

// Describe settles which WAL a data directory takes along: what a server needs
// to start on it. Its own pg_wal is taken before the archive's segments.
func Describe(info snapshot.Info, from Directory, archive Segments) (*First, error) {
	end := info.EndLSN
	switch {
	case !info.HasControl:
		return nil, fmt.Errorf("keep the data directory: it has no %s", datadir.ControlPath)
	case !info.Online:
		end = wal.RecordEnd(info.Checkpoint, wal.CheckPointLength, info.SegmentSize)
	case end == 0:
		return nil, fmt.Errorf("keep the base backup: it has no backup_manifest that says where it ends; take one with pg_basebackup, or stop the server and keep its data directory")
	}
	f := &First{info: info, from: from}
	f.tail = WAL{TLI: info.StartTLI, Range: pg.Range{From: info.Redo, To: end}, SegmentSize: info.SegmentSize,
		Open: func(ctx context.Context, name string, n pg.SegmentNo) (io.ReadCloser, error) {
			if rc, err := from.OpenWAL(ctx, name); err == nil {
				return rc, nil
			}
			return archive(ctx, info.StartTLI, n)
		}}
	return f, nil
}

// Fill is a basebackup.Fill.
func (f *First) Fill(ctx context.Context, t *basebackup.Tar) (basebackup.Facts, error) {
	t.SetTime(time.Unix(f.info.Control.CheckPoint.Time, 0))
	return basebackup.Facts{
		Major: f.info.Major, SystemID: f.info.SystemIdentifier,
		WAL: []datadir.WALRange{{TLI: f.info.StartTLI, Range: f.tail.Range}},
	}, Copy(ctx, t, f.from, f.tail)
}
