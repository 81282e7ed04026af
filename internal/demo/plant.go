package demo

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// PlantLostWrite makes the last snapshot of a timeline, unpacked in the bucket
// dir, look as if the storage had lost the writes of one heap page: the page is
// replaced by its version of the snapshot before, with the valid checksum and
// the older LSN it had then. backup_manifest tells of the page that the backup
// read, so it is made to fit.
func (f *Fixture) PlantLostWrite(dir string) (LostWrite, error) {
	l := f.LostWrite
	if err := plantLostWrite(dir, l); err != nil {
		return l, fmt.Errorf("plant lost write: %w", err)
	}
	return l, nil
}

func plantLostWrite(dir string, l LostWrite) error {
	snapshots := filepath.Join(dir, l.Tenant, l.Timeline, "snapshots")
	old, err := loadBase(filepath.Join(snapshots, l.Previous))
	if err != nil {
		return err
	}
	last, err := loadBase(filepath.Join(snapshots, l.Snapshot))
	if err != nil {
		return err
	}
	from, err := Block(old, l.Path, l.Block)
	if err != nil {
		return err
	}
	to, err := Block(last, l.Path, l.Block)
	if err != nil {
		return err
	}
	if from.LSN() != l.OldLSN || to.LSN() != l.NewLSN {
		return fmt.Errorf("block %d of %s has LSN %s and %s, not %s and %s: the bucket is not as unpacked",
			l.Block, l.Path, from.LSN(), to.LSN(), l.OldLSN, l.NewLSN)
	}
	copy(to, from)
	content, err := File(last, l.Path)
	if err != nil {
		return err
	}
	if err := refitManifest(filepath.Join(snapshots, l.Snapshot, "backup_manifest"), l.Path, content); err != nil {
		return err
	}
	return writeCompressed(filepath.Join(snapshots, l.Snapshot, "base.tar.zst"), bytes.NewReader(last))
}

// RemoveSegment takes one WAL segment of a timeline out of the bucket dir.
func (f *Fixture) RemoveSegment(dir string) (Removed, error) {
	r := f.Removed
	name := filepath.Join(dir, r.Tenant, r.Timeline, "wal", r.Segment)
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Remove(name + ".zst")
	}
	if err != nil {
		return r, fmt.Errorf("remove segment: %w", err)
	}
	return r, nil
}

func loadBase(snapshot string) ([]byte, error) {
	f, err := os.Open(filepath.Join(snapshot, "base.tar.zst"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	dec, err := zstd.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return io.ReadAll(dec)
}

// File is the part of a tar, held in memory, that is the content of one file.
func File(archive []byte, path string) ([]byte, error) {
	b := bytes.NewReader(archive)
	r := tar.NewReader(b)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("find %s in the base backup: not there", path)
		}
		if err != nil {
			return nil, err
		}
		if h.Name != path {
			continue
		}
		at := int64(len(archive)) - int64(b.Len()) // tar.Reader reads headers only, and nothing ahead
		if h.Size > int64(b.Len()) {
			return nil, fmt.Errorf("read %s in the base backup: %w", path, io.ErrUnexpectedEOF)
		}
		return archive[at : at+h.Size : at+h.Size], nil
	}
}

// Block is the part of a tar, held in memory, that is one block of a relation.
func Block(archive []byte, path string, n pg.BlockNumber) (page.Page, error) {
	content, err := File(archive, path)
	if err != nil {
		return nil, err
	}
	at := int64(n) * pg.BlockSize
	if at+pg.BlockSize > int64(len(content)) {
		return nil, fmt.Errorf("read block %d of %s: it has %d", n, path, len(content)/pg.BlockSize)
	}
	return page.Page(content[at : at+pg.BlockSize : at+pg.BlockSize]), nil
}
