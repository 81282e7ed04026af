package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"redoubt/internal/compress"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// maxSmallFile bounds history and backup history files, which are a few lines.
const maxSmallFile = 1 << 20

// OpenEntry opens one stored file, decompressed. A segment is exactly a
// segment's size, a partial one at most that, any other file at most 1 MiB:
// more or less is a *DamagedError at the end, as is what can't be
// decompressed. Reads that fail for a reason of the moment are repeated.
func (t *Timeline) OpenEntry(ctx context.Context, e walfile.Entry) (io.ReadCloser, error) {
	return t.openEntry(ctx, e, t.size)
}

func (t *Timeline) openEntry(ctx context.Context, e walfile.Entry, segmentSize int64) (io.ReadCloser, error) {
	if e.Irregular {
		return nil, fmt.Errorf("open %q at %s: %w", e.Key, t.store.Location(), storage.ErrIrregular)
	}
	f := &file{t: t, entry: e, raw: newObjectReader(ctx, t.store, e, 0, t.retry), most: segmentSize}
	switch e.Kind {
	case wal.SegmentFile:
		f.least = segmentSize
	case wal.PartialFile:
	default:
		f.most = maxSmallFile
	}
	return f, nil
}

// file is an open stored file. The decompressor is made at the first read, as
// most of them read a header then.
type file struct {
	t           *Timeline
	entry       walfile.Entry
	raw         *objectReader
	dec         io.ReadCloser
	least, most int64 // bytes that it must and may hold
	got         int64
	err         error
}

func (f *file) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.read(p)
	f.got += int64(n)
	switch {
	case f.got > f.most:
		n = max(n-int(f.got-f.most), 0)
		f.err = damaged(f.t.store, f.entry.Key, "it holds more than %d bytes", f.most)
	case err != nil:
		f.err = f.explain(err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, f.err
}

func (f *file) read(p []byte) (int, error) {
	if f.dec == nil {
		d, err := compress.NewReader(f.raw, f.entry.Compression)
		if err != nil {
			return 0, err
		}
		f.dec = d
	}
	return f.dec.Read(p)
}

// explain tells apart whose fault an error is: that of reading, or that of
// what was read. A decompressor may hide the error of its source.
func (f *file) explain(err error) error {
	if src := f.raw.err; src != nil && src != io.EOF {
		return src
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged(f.t.store, f.entry.Key, "it can't be decompressed: the compressed data ends early")
	}
	if err != io.EOF {
		return damaged(f.t.store, f.entry.Key, "it can't be decompressed: %v", err)
	}
	if f.dec == nil {
		return damaged(f.t.store, f.entry.Key, "it can't be decompressed: it is empty")
	}
	if f.got < f.least {
		return damaged(f.t.store, f.entry.Key, "it holds %d of %d bytes", f.got, f.least)
	}
	return io.EOF
}

func (f *file) Close() error {
	if f.dec != nil {
		_ = f.dec.Close() // a decompressor's errors came with the reads
	}
	if f.err == nil {
		f.err = io.ErrClosedPipe
	}
	return f.raw.Close()
}

// OpenSegment opens the segment of a TLI by its number, decompressed and
// bounded as OpenEntry says. Of several copies in different compressions the
// first whose first page can be read is taken, in the order of walfile.All. A
// segment that is not there is a *wal.MissingError.
func (t *Timeline) OpenSegment(ctx context.Context, tli pg.TLI, n pg.SegmentNo) (io.ReadCloser, error) {
	copies, err := t.Find(ctx, tli, n)
	if err != nil {
		return nil, err
	}
	o, err := t.openFirst(ctx, copies)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, t.missing(tli, n)
	}
	return o, nil
}

func (t *Timeline) missing(tli pg.TLI, n pg.SegmentNo) error {
	return &wal.MissingError{Segment: pg.SegmentName(tli, n, t.size),
		Range: pg.Range{From: n.Start(t.size), To: (n + 1).Start(t.size)}}
}

// opened is a file whose first page was read already.
type opened struct {
	io.Closer
	entry walfile.Entry
	page  []byte // what is left of the first page
	body  io.Reader
}

func (o *opened) Read(p []byte) (int, error) {
	if len(o.page) > 0 {
		n := copy(p, o.page)
		o.page = o.page[n:]
		return n, nil
	}
	return o.body.Read(p)
}

// openFirst opens the first of the copies that yields a first page; nil if
// there are none. If all are damaged the first one's error is returned.
func (t *Timeline) openFirst(ctx context.Context, copies []walfile.Entry) (*opened, error) {
	var first error
	for _, e := range copies {
		rc, err := t.OpenEntry(ctx, e)
		if err == nil {
			page := make([]byte, wal.PageSize)
			if _, err = io.ReadFull(rc, page); err == nil {
				return &opened{Closer: rc, entry: e, page: page, body: rc}, nil
			}
			_ = rc.Close() // it was only read
		}
		var d *DamagedError
		switch {
		case errors.Is(err, storage.ErrNotExist):
			continue // it vanished since it was found
		case err == io.ErrUnexpectedEOF, err == io.EOF:
			err = damaged(t.store, e.Key, "it holds not even one page")
		case !errors.As(err, &d) && !errors.Is(err, storage.ErrIrregular):
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// Find lists the stored copies of a segment, in the order in which they are to
// be tried.
func (t *Timeline) Find(ctx context.Context, tli pg.TLI, n pg.SegmentNo) ([]walfile.Entry, error) {
	if t.archive.layout == Neon {
		if tli != 1 {
			return nil, nil
		}
		whole, _, err := t.findNeon(ctx, n)
		return whole, err
	}
	return t.find(ctx, pg.SegmentName(tli, n, t.size))
}

// find lists the stored copies of a file by PostgreSQL's name for it, in the
// order in which they are to be tried.
func (t *Timeline) find(ctx context.Context, name string) ([]walfile.Entry, error) {
	if t.store.Caps().CheapStat {
		return t.findByStat(ctx, name)
	}
	var copies []walfile.Entry
	err := t.retry.Do(ctx, func() error {
		copies = nil
		found := map[walfile.Compression]walfile.Entry{}
		for o, err := range t.store.List(ctx, name, storage.ListOptions{Dirs: true}) {
			if err != nil {
				return err
			}
			if e := t.entry(o, t.size); e.Kind != walfile.Unexpected && e.Name() == name {
				found[e.Compression] = e
			}
		}
		for _, c := range walfile.All() {
			if e, ok := found[c]; ok {
				copies = append(copies, e)
			}
		}
		return nil
	})
	return copies, err
}

func (t *Timeline) findByStat(ctx context.Context, name string) ([]walfile.Entry, error) {
	var copies []walfile.Entry
	for _, c := range walfile.All() {
		var o storage.Object
		err := t.retry.Do(ctx, func() (err error) {
			o, err = t.store.Stat(ctx, name+c.Suffix())
			return err
		})
		switch {
		case err == nil:
			copies = append(copies, t.entry(o, t.size))
		case errors.Is(err, storage.ErrIrregular):
			copies = append(copies, t.entry(storage.Object{Key: name + c.Suffix(), Irregular: true}, t.size))
		case !errors.Is(err, storage.ErrNotExist):
			return nil, err
		}
	}
	return copies, nil
}

// entry is what a listed object is to the archive.
func (t *Timeline) entry(o storage.Object, segmentSize int64) walfile.Entry {
	e := walfile.Parse(o.Key, segmentSize)
	if t.archive.layout == Neon {
		e = walfile.ParseNeon(o.Key, o.Size, segmentSize)
	}
	e.Size, e.ETag, e.ModTime, e.Irregular = o.Size, o.ETag, o.ModTime, o.Irregular
	return e
}
