package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"redoubt/internal/compress"
	"redoubt/internal/pg/walfile"
)

// Timeline is a handle on the WAL files of one tenant and one timeline, in the
// redoubt layout. It takes PostgreSQL's names for them and nothing else, so it
// can't name a key outside. What it stores it never replaces and it can't
// delete. It is safe for concurrent use.
type Timeline struct {
	store      *Store // <tenant>/<timeline>/wal
	tenant, id string
	opt        TimelineOptions
}

// TimelineOptions says how a timeline's files are stored.
type TimelineOptions struct {
	// Compression is how new files are compressed: one of compress.Written. In
	// which way a file is compressed that is there already doesn't matter.
	Compression walfile.Compression
	// ReadBack is for stores without conditional writes: a file is put without
	// a condition once none was seen, then read back and compared.
	ReadBack bool
}

// Timeline makes a handle on a timeline's WAL. The names of tenant and
// timeline are as ValidName says; else the error is an ErrKey.
func (s *Store) Timeline(tenant, timeline string, opt TimelineOptions) (*Timeline, error) {
	for _, name := range []string{tenant, timeline} {
		if !ValidName(name) {
			return nil, s.fail("open timeline", tenant+"/"+timeline,
				fmt.Errorf("%w: %q can't name a tenant or timeline: use 1 to 64 of A-Z a-z 0-9 . _ -", ErrKey, name))
		}
	}
	if w, err := compress.NewWriter(io.Discard, opt.Compression); err != nil {
		return nil, err
	} else if err := w.Close(); err != nil {
		return nil, err
	}
	place, err := s.Sub(tenant + "/" + timeline + "/" + WALDir)
	if err != nil {
		return nil, err
	}
	return &Timeline{store: place, tenant: tenant, id: timeline, opt: opt}, nil
}

// Tenant is the tenant's name.
func (t *Timeline) Tenant() string { return t.tenant }

// ID is the timeline's name.
func (t *Timeline) ID() string { return t.id }

// Location is where the WAL is, without credentials.
func (t *Timeline) Location() string { return t.store.Location() }

// Wrap is the same handle over a wrapped bucket.
func (t *Timeline) Wrap(wrap func(Bucket) Bucket) *Timeline {
	n := *t
	n.store = t.store.Wrap(wrap)
	return &n
}

// List yields the WAL files that are stored, in the order of their keys,
// streaming; prefix is the beginning of a name, empty for all. What is no WAL
// file is left out: that is the scanner's to report.
func (t *Timeline) List(ctx context.Context, prefix string, segmentSize int64) iter.Seq2[walfile.Entry, error] {
	return func(yield func(walfile.Entry, error) bool) {
		if strings.Contains(prefix, "/") {
			yield(walfile.Entry{}, t.store.fail("list", prefix, ErrKey))
			return
		}
		for o, err := range t.store.List(ctx, prefix, ListOptions{Dirs: true}) {
			if err != nil {
				yield(walfile.Entry{}, err)
				return
			}
			e := walfile.Parse(o.Key, segmentSize)
			if o.Dir || e.Kind == walfile.Unexpected {
				continue
			}
			e.Size, e.ETag, e.ModTime, e.Irregular = o.Size, o.ETag, o.ModTime, o.Irregular
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Find lists the stored copies of a file, in whatever compression; none is no
// error.
func (t *Timeline) Find(ctx context.Context, name string) ([]Object, error) {
	if err := t.check(name); err != nil {
		return nil, err
	}
	if t.store.Caps().CheapStat {
		return t.findByStat(ctx, name)
	}
	var copies []Object
	for o, err := range t.store.List(ctx, name, ListOptions{Dirs: true}) {
		if err != nil {
			return nil, err
		}
		if end, ok := strings.CutPrefix(o.Key, name); ok && !o.Dir && isEnd(end) {
			copies = append(copies, o)
		}
	}
	return copies, nil
}

func isEnd(s string) bool {
	for _, c := range walfile.All() {
		if s == c.Suffix() {
			return true
		}
	}
	return false
}

func (t *Timeline) findByStat(ctx context.Context, name string) ([]Object, error) {
	var copies []Object
	for _, c := range walfile.All() {
		o, err := t.store.Stat(ctx, name+c.Suffix())
		switch {
		case err == nil:
			copies = append(copies, o)
		case errors.Is(err, ErrIrregular):
			copies = append(copies, Object{Key: name + c.Suffix(), Irregular: true})
		case !errors.Is(err, ErrNotExist):
			return nil, err
		}
	}
	return copies, nil
}

// check refuses what is not PostgreSQL's name for a WAL file.
func (t *Timeline) check(name string) error {
	if walfile.KindOf(name) == walfile.Unexpected {
		return t.store.fail("name", name, fmt.Errorf("%w: want the name of a segment, .partial, .backup or .history file", ErrKey))
	}
	return nil
}

// Read opens a stored file by its key, the name with the end of its
// compression, and decompresses it. A *DamageError says that it can't be
// decompressed; any other error, that it can't be read. How much it yields is
// for the caller to bound.
func (t *Timeline) Read(ctx context.Context, key string) (io.ReadCloser, error) {
	c := walfile.CompressionOf(key)
	if err := t.check(strings.TrimSuffix(key, c.Suffix())); err != nil {
		return nil, err
	}
	rc, err := t.store.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	return &unpacked{t: t, key: key, c: c, raw: &failing{r: rc}, rc: rc}, nil
}

// DamageError is about an object that can be read and is not what its name
// says.
type DamageError struct{ Location, Key, Reason string }

func (e *DamageError) Error() string {
	return fmt.Sprintf("WAL file %q at %s is damaged: %s", e.Key, e.Location, e.Reason)
}

// unpacked decompresses as it is read.
type unpacked struct {
	t   *Timeline
	key string
	c   walfile.Compression
	raw *failing
	rc  io.ReadCloser
	dec io.ReadCloser // made at the first read: most read a header then
}

func (u *unpacked) Read(p []byte) (n int, err error) {
	if u.dec == nil {
		if u.dec, err = compress.NewReader(u.raw, u.c); err != nil {
			u.dec = nil
			return 0, u.explain(err)
		}
	}
	n, err = u.dec.Read(p)
	return n, u.explain(err)
}

func (u *unpacked) explain(err error) error {
	switch {
	case err == nil || u.dec != nil && err == io.EOF:
		return err
	case u.raw.err != nil:
		return u.raw.err
	}
	return &DamageError{Location: u.t.Location(), Key: u.key, Reason: "it can't be decompressed: " + err.Error()}
}

func (u *unpacked) Close() error {
	if u.dec != nil {
		_ = u.dec.Close() // its errors came with the reads
	}
	return u.rc.Close()
}
