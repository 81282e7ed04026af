package walcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// Pushed is a file that is durable now.
type Pushed struct {
	Tenant, Timeline string
	Name             string // PostgreSQL's
	Kind             wal.FileKind
	TLI              pg.TLI
	Segment          pg.SegmentNo // of segments
	Identity         Identity     // of segments and begun segments
	Placed           storage.Placed
}

// maxSmall bounds history and backup label files, which are a few lines.
const maxSmall = 1 << 20

// ErrRefused says that a file must not be stored here: it is no WAL file, has
// not the size of one, or is of another cluster.
var ErrRefused = errors.New("refused")

func refuse(path, format string, args ...any) error {
	return fmt.Errorf("push %s: %w: %s", path, ErrRefused, fmt.Sprintf(format, args...))
}

// Push stores the file at path under its own name. When it returns nil the
// file is durable, or was already, with the same content.
func (p *Place) Push(ctx context.Context, path string) (Pushed, error) {
	done := Pushed{Tenant: p.Timeline.Tenant(), Timeline: p.Timeline.ID(), Name: filepath.Base(path)}
	done.Kind = walfile.KindOf(done.Name)
	if done.Kind == walfile.Unexpected {
		return done, refuse(path, "%q is no name of a segment, .partial, .backup or .history file", done.Name)
	}
	src, err := storage.FileSource(path)
	if err != nil {
		return done, fmt.Errorf("push %s: %w", path, err)
	}
	if err := p.inspect(ctx, path, src.Size, &done); err != nil {
		return done, err
	}
	err = p.Retry.Do(ctx, func() (err error) {
		done.Placed, err = p.Timeline.PutOnce(ctx, done.Name, src)
		return err
	})
	if err != nil {
		return done, fmt.Errorf("push %s: %w", path, err)
	}
	return done, nil
}

// inspect refuses what is not what its name says.
func (p *Place) inspect(ctx context.Context, path string, size int64, done *Pushed) error {
	if done.Kind != wal.SegmentFile && done.Kind != wal.PartialFile {
		if size > maxSmall {
			return refuse(path, "it has %d bytes, a %s has at most %d", size, filepath.Ext(path), maxSmall)
		}
		return nil
	}
	h, err := firstPage(path)
	if err != nil {
		return refuse(path, "%v", err)
	}
	done.Identity = identityOf(&h)
	f, err := wal.ParseFileName(done.Name, done.Identity.SegmentSize)
	if err != nil || f.Segment.Start(done.Identity.SegmentSize) != h.Addr {
		return refuse(path, "its first page is that of %s, with segments of %d bytes: that is not what its name says", h.Addr, h.SegmentSize)
	}
	done.TLI, done.Segment = f.TLI, f.Segment
	if size > done.Identity.SegmentSize || size < done.Identity.SegmentSize && done.Kind == wal.SegmentFile {
		return refuse(path, "it has %d bytes, a segment of its cluster has %d", size, done.Identity.SegmentSize)
	}
	return p.sameCluster(ctx, path, done.Identity)
}

func firstPage(path string) (wal.PageHeader, error) {
	f, err := os.Open(path)
	if err != nil {
		return wal.PageHeader{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return readFirst(io.Reader(f))
}

// sameCluster refuses WAL of another cluster than the data directory is of, or
// than the WAL that is stored.
func (p *Place) sameCluster(ctx context.Context, path string, id Identity) error {
	if own := p.cluster(); own != 0 && own != id.SystemID {
		return refuse(path, "its system identifier is %d, that of the data directory is %d", id.SystemID, own)
	}
	stored, known, err := p.identity(ctx)
	if err != nil {
		return fmt.Errorf("push %s: %w", path, err)
	}
	if !known {
		p.remember(id)
		return nil
	}
	if stored.SystemID != id.SystemID || stored.SegmentSize != id.SegmentSize {
		return refuse(path, "it is of system identifier %d with segments of %d bytes; what is stored at %s is of %d with %d: give each cluster a timeline of its own",
			id.SystemID, id.SegmentSize, p.Timeline.Location(), stored.SystemID, stored.SegmentSize)
	}
	return nil
}
