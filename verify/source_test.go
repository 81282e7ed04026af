package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/archive"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
	"redoubt/internal/storage"
	"redoubt/replay"
	"redoubt/verify"
)

// dirWAL reads segments of TLI 1 from a directory, plain or compressed with zstd.
type dirWAL struct {
	dir  string
	size int64
}

func (d dirWAL) SegmentSize() int64 { return d.size }

func (d dirWAL) Open(context.Context, pg.LSN) (replay.WALStream, error) { return &dirStream{d: d}, nil }

type dirStream struct {
	d     dirWAL
	seg   pg.SegmentNo
	f     *os.File
	plain []byte // the segment, unpacked
}

func (s *dirStream) ReadPages(at pg.LSN) ([]byte, error) {
	seg := pg.SegmentOf(at, s.d.size)
	if s.f == nil && s.plain == nil || seg != s.seg {
		_ = s.Close()
		name := pg.SegmentName(1, seg, s.d.size)
		err := s.open(filepath.Join(s.d.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &wal.MissingError{Segment: name, Range: pg.Range{From: seg.Start(s.d.size), To: (seg + 1).Start(s.d.size)}}
		}
		if err != nil {
			return nil, err
		}
		s.seg = seg
	}
	off := int64(at - seg.Start(s.d.size))
	n := min(1<<18, s.d.size-off)
	buf := make([]byte, n)
	if s.plain != nil { // copied, for a record that lives on would keep all of the segment
		copy(buf, s.plain[off:])
		return buf, nil
	}
	_, err := s.f.ReadAt(buf, off)
	return buf, err
}

// open opens a segment, or unpacks what zstd made of it.
func (s *dirStream) open(path string) (err error) {
	if s.f, err = os.Open(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.f = nil
	packed, err := os.ReadFile(path + ".zst")
	if err != nil {
		return err
	}
	d, err := unpacker()
	if err != nil {
		return err
	}
	s.plain, err = d.DecodeAll(packed, make([]byte, 0, s.d.size))
	if err == nil && int64(len(s.plain)) != s.d.size {
		err = fmt.Errorf("unpack %s.zst: %d bytes, want %d", path, len(s.plain), s.d.size)
	}
	return err
}

// unpacker is used for its DecodeAll only, which many may call at once.
var unpacker = sync.OnceValues(func() (*zstd.Decoder, error) { return zstd.NewReader(nil) })

func (s *dirStream) Close() error {
	s.plain = nil
	if s.f == nil {
		return nil
	}
	f := s.f
	s.f = nil
	return f.Close()
}

// dirSnap is a data directory.
type dirSnap struct{ dir string }

func (d dirSnap) Name() string       { return d.dir }
func (d dirSnap) Problems() []string { return nil }

// versionDir is the name of the cluster's directory within a tablespace.
func (d dirSnap) versionDir() string {
	raw, err := os.ReadFile(filepath.Join(d.dir, datadir.ControlPath))
	if err != nil {
		return ""
	}
	c, err := datadir.ParseControl(raw)
	if err != nil {
		return ""
	}
	return datadir.VersionDir(c.Major(), c.CatalogVersion)
}

func (d dirSnap) Meta(context.Context) (verify.Meta, error) {
	raw, err := os.ReadFile(filepath.Join(d.dir, datadir.ControlPath))
	if err != nil {
		return verify.Meta{}, err
	}
	c, err := datadir.ParseControl(raw)
	if err != nil {
		return verify.Meta{}, err
	}
	m := verify.Meta{Major: c.Major(), SystemID: c.SystemIdentifier, Redo: c.CheckPointLSN, TLI: c.CheckPoint.TLI}
	if raw, err = os.ReadFile(filepath.Join(d.dir, datadir.LabelPath)); err == nil {
		l, err := datadir.ParseBackupLabel(raw)
		if err != nil {
			return verify.Meta{}, err
		}
		m.Online, m.Redo = true, l.Start
	}
	return m, nil
}

// Walk walks the directory and what the links in pg_tblspc lead to.
func (d dirSnap) Walk(_ context.Context, v datadir.Visitor) error {
	if err := d.walk(d.dir, ".", v); err != nil {
		return err
	}
	links, err := filepath.Glob(filepath.Join(d.dir, "pg_tblspc", "*"))
	for _, link := range links {
		if st, statErr := os.Lstat(link); statErr == nil && st.IsDir() {
			continue // a tablespace in place has been walked
		}
		to, linkErr := filepath.EvalSymlinks(link)
		if err = errors.Join(linkErr, err); err == nil {
			err = d.walk(to, filepath.Join("pg_tblspc", filepath.Base(link)), v)
		}
	}
	return err
}

// walk walks the directory root, which is at in the data directory.
func (d dirSnap) walk(root, at string, v datadir.Visitor) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.Join(at, rel)
		switch c := datadir.Classify(filepath.ToSlash(rel)); c.Class {
		case datadir.Relation:
			return d.relation(path, c.Rel, v)
		case datadir.ControlFile, datadir.SLRUSegment, datadir.TwoPhaseFile, datadir.RelationMap, datadir.LabelFile:
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return v.File(filepath.ToSlash(rel), raw)
		}
		return nil
	})
}

// OnDemand fits replay.OnDemand: what the program can open is read so.
func (d dirSnap) OnDemand(ctx context.Context, v datadir.Visitor) (replay.BasePages, error) {
	s, err := snapshot.Open(ctx, d.dir, snapshot.Options{})
	if err != nil {
		return nil, nil
	}
	p, err := s.OnDemand(ctx, v)
	if p == nil || err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return opened{p, s}, nil
}

// opened are pages with what they are read from.
type opened struct {
	*snapshot.Pages
	of *snapshot.Snapshot
}

func (o opened) Close() error { return errors.Join(o.Pages.Close(), o.of.Close()) }

// streamed is a side that is read front to back only.
type streamed struct{ verify.Snapshot }

func (d dirSnap) relation(path string, f datadir.RelFile, v datadir.Visitor) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	buf := make([]byte, 1<<20)
	size := int64(0)
	for {
		n, err := io.ReadFull(file, buf)
		if whole := n / pg.BlockSize * pg.BlockSize; whole > 0 {
			first := pg.BlockNumber(int64(f.Segment)*pg.BlocksPerFile + size/pg.BlockSize)
			if err := v.Blocks(f, first, buf[:whole]); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return v.EndRelation(f, size)
		}
		if err != nil {
			return err
		}
	}
}

func (d dirSnap) Fetch(_ context.Context, blocks []pg.Block, fn func(pg.Block, []byte) error) error {
	for _, b := range blocks {
		path := filepath.Join(d.dir, datadir.RelPath(b.RelFork, uint32(b.Number/pg.BlocksPerFile), d.versionDir()))
		raw, err := os.ReadFile(path)
		at := int64(b.Number) % pg.BlocksPerFile * pg.BlockSize
		if err != nil || int64(len(raw)) < at+pg.BlockSize {
			continue
		}
		if err := fn(b, raw[at:at+pg.BlockSize]); err != nil {
			return err
		}
	}
	return nil
}

// openWAL is the archive in a directory along the history of a TLI.
func openWAL(t *testing.T, dir string, tli pg.TLI) *archive.Source {
	t.Helper()
	ctx := context.Background()
	store, err := storage.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	a, err := archive.Open(ctx, store, archive.Plain, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tl, err := a.Timeline(ctx, "default", "main")
	if err != nil {
		t.Fatal(err)
	}
	src, err := tl.Source(ctx, tli)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// realSnap is a data directory or base backup as the program reads it.
type realSnap struct{ *snapshot.Snapshot }

func openSnap(t *testing.T, dir string) realSnap {
	t.Helper()
	s, err := snapshot.Open(context.Background(), dir, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return realSnap{s}
}

func (realSnap) Name() string { return "snapshot" }

func (s realSnap) Problems() (out []string) {
	for _, p := range s.Snapshot.Problems() {
		out = append(out, p.String())
	}
	return out
}

func (s realSnap) Meta(ctx context.Context) (verify.Meta, error) {
	i, err := s.Peek(ctx)
	return verify.Meta{Major: i.Major, SystemID: i.SystemIdentifier, Online: i.Online, FromStandby: i.FromStandby,
		Redo: i.Redo, TLI: i.StartTLI, Consistent: i.Consistent}, err
}
