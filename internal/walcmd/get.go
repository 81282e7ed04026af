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

// ErrAbsent says that a file is proven not to be there.
var ErrAbsent = errors.New("it is not in the archive")

// firstHistory is a file that PostgreSQL asks for when it makes the history of
// TLI 2, and that no cluster has (writeTimeLineHistory, access/transam/timeline.c).
const firstHistory = "00000001.history"

// Get writes the file of PostgreSQL's name to dest, whole and checked, or not
// at all. It comes out of the spool if it was fetched ahead.
func (p *Place) Get(ctx context.Context, name, dest string) error {
	if name == firstHistory {
		return p.absent(ctx, name)
	}
	kind := walfile.KindOf(name)
	if kind == walfile.Unexpected {
		return fmt.Errorf("get %q: it is no name of a segment, .partial, .backup or .history file", name)
	}
	if kind == wal.SegmentFile && p.State != "" {
		if ok, err := p.fromSpool(ctx, name, dest); ok || err != nil {
			return err
		}
	}
	return p.fetch(ctx, name, dest)
}

// fetch brings a file from the store.
func (p *Place) fetch(ctx context.Context, name, dest string) error {
	var copies []storage.Object
	err := p.Retry.Do(ctx, func() (err error) {
		copies, err = p.Timeline.Find(ctx, name)
		return err
	})
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	if len(copies) == 0 {
		return p.absent(ctx, name)
	}
	var first error
	for _, o := range copies {
		err := p.Retry.Do(ctx, func() error { return p.download(ctx, name, o.Key, dest) })
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("get %s: %w", name, first)
}

// absent proves that a file is not there: the timeline is known to the store,
// for other WAL of it is there.
func (p *Place) absent(ctx context.Context, name string) error {
	known := false
	err := p.Retry.Do(ctx, func() error {
		for _, err := range p.Timeline.List(ctx, "", pg.MinSegmentSize) {
			known = err == nil
			return err
		}
		return ctx.Err()
	})
	switch {
	case err != nil:
		return fmt.Errorf("get %s: %w", name, err)
	case !known:
		return fmt.Errorf("get %s: there is no WAL at all at %s: check the bucket and the names of tenant and timeline", name, p.Timeline.Location())
	}
	return fmt.Errorf("get %s: %w at %s", name, ErrAbsent, p.Timeline.Location())
}

// download writes one stored copy to dest.
func (p *Place) download(ctx context.Context, name, key, dest string) error {
	return writeWhole(dest, func(f *os.File) error {
		if err := p.fill(ctx, f, key); err != nil {
			return err
		}
		return p.check(name, key, f)
	})
}

// writeWhole makes a file that is there, durably, when write has succeeded, and
// not at all before: it comes into being beside it.
func writeWhole(dest string, write func(*os.File) error) error {
	temp := dest + tempEnd
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cl := f.Close(); err == nil {
		err = cl
	}
	if err == nil {
		err = os.Rename(temp, dest)
	}
	if err != nil {
		_ = os.Remove(temp) // the first error is what counts
	}
	return err
}

// tempEnd is the end of the names of files that are being written.
const tempEnd = ".redoubt-tmp"

func (p *Place) fill(ctx context.Context, f *os.File, key string) error {
	rc, err := p.Timeline.Read(ctx, key)
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }() // it was only read
	n, err := io.Copy(f, io.LimitReader(rc, pg.MaxSegmentSize+1))
	if err != nil {
		return err
	}
	if n > pg.MaxSegmentSize {
		return &storage.DamageError{Location: p.Timeline.Location(), Key: key, Reason: "it is longer than any segment"}
	}
	return nil
}

// check looks whether a file is what its name says, and of our cluster.
func (p *Place) check(name, key string, f io.ReaderAt) error {
	if p.Unchecked {
		return nil
	}
	if reason := checkFile(name, f, p.cluster()); reason != "" {
		return &storage.DamageError{Location: p.Timeline.Location(), Key: key, Reason: reason}
	}
	return nil
}

// move hands a file of the spool out: by its name if that can be, else by a
// copy, where the spool is on another disk.
func move(from, dest string) error {
	if err := os.Rename(from, dest); err == nil {
		return nil
	}
	if err := copyFile(from, dest); err != nil {
		return err
	}
	return os.Remove(from)
}

func copyFile(from, dest string) error {
	in, err := os.Open(filepath.Clean(from))
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	return writeWhole(dest, func(f *os.File) error {
		_, err := io.Copy(f, in)
		return err
	})
}
