package snapshot

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"redoubt/internal/pg/datadir"
)

// Stored is one file or directory of a snapshot, as it is stored.
type Stored struct {
	Path string // relative to the data directory, slashes
	Dir  bool
	Size int64 // bytes, of a file
	// Open reads the file, exactly Size bytes. It is called at most once, before the next one comes.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Each calls fn for every file and directory of the snapshot, also for those
// that hold no pages, in the order in which they are stored; WAL is left out.
// Links are as for Walk; what else is neither file nor directory is left out
// where no pages can be.
func (s *Snapshot) Each(ctx context.Context, fn func(Stored) error) error {
	src := s.src
	if d, ok := src.(*dirSource); ok {
		whole := *d
		whole.all = true
		src = &whole
	}
	var caller error
	err := src.each(ctx, func(m *member) error {
		if m.kind != file && m.kind != folder {
			if matters(m.path) && !(m.kind == link && datadir.Classify(m.path).Class == datadir.TablespaceFolder) {
				return fmt.Errorf("refuse %s: it is neither a file nor a directory", m.path)
			}
			return nil
		}
		if strings.HasPrefix(m.path, "pg_wal/") {
			return nil
		}
		caller = fn(Stored{Path: m.path, Dir: m.kind == folder, Size: m.size, Open: func(ctx context.Context) (io.ReadCloser, error) {
			rc, err := m.open(ctx)
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{&exactly{ctx: ctx, r: rc, left: m.size, path: m.path}, rc}, nil
		}})
		return caller
	})
	switch {
	case caller != nil:
		return caller
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return s.fail(err)
	}
	if err := s.unchanged(ctx); err != nil {
		return s.fail(err)
	}
	return nil
}

// OpenWAL opens a segment in the pg_wal of a snapshot that is a directory; for
// others, and if it is not there, the error wraps fs.ErrNotExist.
func (s *Snapshot) OpenWAL(ctx context.Context, name string) (io.ReadCloser, error) {
	d, ok := s.src.(*dirSource)
	if !ok {
		return nil, fmt.Errorf("open %s: a tar's WAL is not read: %w", name, fs.ErrNotExist)
	}
	entries, err := d.t.list(ctx, "pg_wal")
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(entries, func(e entry) bool { return e.name == name && e.kind == file }) {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return d.t.open(ctx, "pg_wal/"+name, 0)
}

// Size is about how many bytes the files have, as the manifest says; 0 without one.
func (s *Snapshot) Size() (sum int64) {
	if s.manifest != nil {
		for _, f := range s.manifest.Files {
			sum += f.Size
		}
	}
	return sum
}
