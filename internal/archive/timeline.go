package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// Timeline is the WAL of one cluster.
type Timeline struct {
	tenant, id string
	store      *storage.Store // where its WAL files are
	snapshots  *storage.Store // nil if the layout has none
	archive    *Archive
	place      *storage.Store // what the two are below; nil if the layout has none
	retry      Retry
	size       int64 // segment size, 0 until Identify found it
	sysid      uint64
	assumed    int64 // segment size by the word of a server, 0: nobody said

	mu       sync.Mutex
	identity *Identity
}

func newTimeline(a *Archive, tenant, id string, walStore, snapshots *storage.Store) *Timeline {
	return &Timeline{tenant: tenant, id: id, store: walStore, snapshots: snapshots, archive: a, retry: a.opt.Retry}
}

// Tenant is the tenant's name.
func (t *Timeline) Tenant() string { return t.tenant }

// Layout is its archive's.
func (t *Timeline) Layout() Layout { return t.archive.layout }

// ID is the timeline's name.
func (t *Timeline) ID() string { return t.id }

// Location is where the WAL is, without credentials.
func (t *Timeline) Location() string { return t.store.Location() }

// Skew says by how much the store's clock is ahead of this machine's, if the
// store tells when it is asked for the file stored under key.
func (t *Timeline) Skew(ctx context.Context, key string) (ahead time.Duration, known bool, err error) {
	return t.store.Skew(ctx, key)
}

// identifyTries is how many segments are opened to find one that can be read.
const identifyTries = 16

// Identify reads the identity from the first stored segment whose first page
// is valid; it must succeed before anything but Location is asked of the
// timeline. Without any segment the error is ErrNoWAL; if the first 16 can't
// be read, it is the first one's.
func (t *Timeline) Identify(ctx context.Context) (Identity, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.identity != nil {
		return *t.identity, nil
	}
	var id Identity
	err := t.retry.Do(ctx, func() (err error) {
		id, err = t.assume(t.identify(ctx))
		return err
	})
	if err != nil {
		return Identity{}, fmt.Errorf("learn the segment size of %s/%s: %w", t.tenant, t.id, err)
	}
	t.identity, t.size, t.sysid = &id, id.SegmentSize, id.SystemID
	return id, nil
}

func (t *Timeline) identify(ctx context.Context) (Identity, error) {
	var first error
	var late *Identity // if no segment says more
	tries := 0
	for o, err := range t.store.List(ctx, "", storage.ListOptions{Dirs: true}) {
		if err != nil {
			return Identity{}, err
		}
		// Names are read as those of 1 MiB segments, which any segment's name can be.
		e := t.nameless(o)
		if o.Dir || e.Kind != wal.SegmentFile && e.Kind != wal.PartialFile {
			continue
		}
		id, err := t.identifyBy(ctx, e)
		if err == nil && id.SystemID != 0 {
			return id, nil
		}
		if err == nil && late == nil { // a header that was made up without it
			late = &id
		}
		if err := ctx.Err(); err != nil {
			return Identity{}, err
		}
		if first == nil && err != nil {
			first = err
			if id, err := t.identifyLate(ctx, e); err == nil {
				late = &id
			}
		}
		if tries++; tries == identifyTries {
			break
		}
	}
	switch {
	case late != nil:
		return *late, nil
	case first == nil:
		first = ErrNoWAL
	}
	return Identity{}, first
}

// nameless is what an object is, of whatever size segments may be.
func (t *Timeline) nameless(o storage.Object) walfile.Entry {
	if t.archive.layout != Neon {
		return t.entry(o, pg.MinSegmentSize)
	}
	e := walfile.Entry{Key: o.Key, Size: o.Size, ETag: o.ETag, ModTime: o.ModTime, Irregular: o.Irregular}
	if _, ok := walfile.ParseNeonPartial(o.Key); ok {
		e.Kind = wal.PartialFile
	} else if pg.IsSegmentName(o.Key) && o.Key[:8] == "00000001" {
		e.Kind = wal.SegmentFile
	}
	return e
}

// identifyBy reads the long header on the first page of one object.
func (t *Timeline) identifyBy(ctx context.Context, e walfile.Entry) (Identity, error) {
	rc, err := t.openEntry(ctx, e, pg.MaxSegmentSize)
	if err != nil {
		return Identity{}, err
	}
	defer func() { _ = rc.Close() }() // it was only read
	page := make([]byte, wal.PageSize)
	if _, err := io.ReadFull(rc, page); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = damaged(t.store, e.Key, "it holds not even one page")
		}
		return Identity{}, err
	}
	h, err := wal.ParsePageHeader(page)
	size := int64(h.SegmentSize)
	if err != nil || h.Major() == 0 || !h.Long() || !pg.ValidSegmentSize(size) {
		return Identity{}, damaged(t.store, e.Key, "its first page is no first page of a WAL segment of PostgreSQL %d to %d", pg.MinMajor, pg.MaxMajor)
	}
	if named := t.entry(storage.Object{Key: e.Key, Size: e.Size}, size); named.Kind != e.Kind || named.Segment.Start(size) != h.Addr {
		return Identity{}, damaged(t.store, e.Key, "its first page is that of %s", h.Addr)
	}
	return Identity{SegmentSize: size, SystemID: h.SystemID, Major: h.Major()}, nil
}

// List yields what is stored, in the order of the keys, streaming. Of the
// redoubt layout that is what is below wal/; directories come as Unexpected.
// A listing that breaks off is taken up again behind the last key; if that
// fails too, what was yielded is not everything.
func (t *Timeline) List(ctx context.Context) iter.Seq2[walfile.Entry, error] {
	return func(yield func(walfile.Entry, error) bool) {
		if t.size == 0 {
			yield(walfile.Entry{}, fmt.Errorf("list %s/%s: its segment size is not known yet", t.tenant, t.id))
			return
		}
		last, enough := "", false
		err := t.retry.Do(ctx, func() error {
			for o, err := range t.store.List(ctx, "", storage.ListOptions{Dirs: true}) {
				if err != nil {
					return err
				}
				if o.Key <= last {
					continue
				}
				last = o.Key
				if enough = !yield(t.entry(o, t.size), nil); enough {
					return nil
				}
			}
			return nil
		})
		if err != nil && !enough {
			yield(walfile.Entry{}, err)
		}
	}
}

// History reads the history of a TLI: of TLI 1, and of one without a history
// file, that is the TLI alone.
func (t *Timeline) History(ctx context.Context, tli pg.TLI) (wal.History, error) {
	if tli <= 1 {
		return wal.NewHistory(tli), nil
	}
	copies, err := t.find(ctx, wal.HistoryFileName(tli))
	if err != nil {
		return nil, err
	}
	var first error
	for _, e := range copies {
		h, err := t.ReadHistory(ctx, e)
		if err == nil {
			return h, nil
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		return nil, first
	}
	return wal.NewHistory(tli), nil
}

// ReadHistory reads one stored history file.
func (t *Timeline) ReadHistory(ctx context.Context, e walfile.Entry) (wal.History, error) {
	data, err := t.readSmall(ctx, e)
	if err != nil {
		return nil, err
	}
	h, err := wal.ParseHistory(e.TLI, data)
	if err != nil {
		return nil, damaged(t.store, e.Key, "%v", err)
	}
	return h, nil
}

func (t *Timeline) readSmall(ctx context.Context, e walfile.Entry) ([]byte, error) {
	rc, err := t.OpenEntry(ctx, e)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rc.Close() }() // it was only read
	return io.ReadAll(rc)
}

// Snapshots lists the names of the base backups that the layout keeps beside
// the WAL, sorted; Snapshot opens one.
func (t *Timeline) Snapshots(ctx context.Context) ([]string, error) {
	if t.snapshots == nil {
		return nil, nil
	}
	var names []string
	err := t.retry.Do(ctx, func() (err error) {
		names, _, err = subdirs(ctx, t.snapshots, "")
		return err
	})
	return names, err
}

// Snapshot is a handle on one base backup's files.
func (t *Timeline) Snapshot(name string) (*storage.Store, error) {
	if t.snapshots == nil || !storage.ValidName(name) {
		return nil, fmt.Errorf("open snapshot %q of %s/%s: %w", name, t.tenant, t.id, storage.ErrNotExist)
	}
	return t.snapshots.Sub(name)
}
