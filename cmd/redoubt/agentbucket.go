package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"redoubt/internal/config"
	"redoubt/internal/pg"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/walbackup"
	walnames "redoubt/walbackup/names"
)

// agentBucket fits the bucket of a configuration to walbackup.Bucket.
type agentBucket struct {
	store *storage.Store
	cfg   *config.Config
}

var _ walbackup.Bucket = (*agentBucket)(nil)

// markerKey is the object that says whose the bucket is.
const markerKey = "redoubt-walbackup.json"

type marker struct {
	Etcd string    `json:"etcd"` // its identity
	Host string    `json:"host"` // who marked the bucket
	At   time.Time `json:"at"`
}

var errOtherEtcd = errors.New("agents of another etcd use this bucket")

// claim marks the bucket as that of the agents of one etcd, and refuses one
// that is marked for another: two that elect uploaders apart from each other
// would each keep a WAL backup LSN, and local WAL be removed on the word of the
// wrong one.
func (b *agentBucket) claim(ctx context.Context, identity string) error {
	host, _ := os.Hostname()
	data, err := json.Marshal(marker{Etcd: identity, Host: host, At: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	was, err := b.marked(ctx)
	if errors.Is(err, storage.ErrNotExist) {
		err = b.store.Put(ctx, markerKey, bytes.NewReader(data), storage.PutOptions{CreateOnly: b.cfg.WALBackup.Storage.ConditionalWrites})
		if errors.Is(err, storage.ErrUnsupported) {
			err = b.store.Put(ctx, markerKey, bytes.NewReader(data), storage.PutOptions{})
		}
		if err == nil || errors.Is(err, storage.ErrExist) {
			was, err = b.marked(ctx)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("mark the bucket: %w", err)
	case was.Etcd != identity:
		return fmt.Errorf("%w: %s was marked by %s at %s, see its object %s. Name that etcd's members in walbackup.agent.etcd.endpoints, or give this agent another bucket or prefix; if that etcd is gone for good, delete the object",
			errOtherEtcd, b.store.Location(), was.Host, was.At.Format(time.RFC3339), markerKey)
	}
	return nil
}

func (b *agentBucket) marked(ctx context.Context) (m marker, err error) {
	rc, err := b.store.Open(ctx, markerKey)
	if err != nil {
		return m, err
	}
	defer func() { _ = rc.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(rc, 1<<16))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%w: its object %s can't be read (%w)", errOtherEtcd, markerKey, err)
	}
	return m, nil
}

// Timeline fits walbackup.Bucket.
func (b *agentBucket) Timeline(id walnames.ID) (walbackup.Objects, error) {
	src := b.source(id)
	t, err := backupTimeline(b.store, b.cfg, src)
	if err != nil {
		return nil, err
	}
	src.Compression = walfile.None.String()
	plain, err := backupTimeline(b.store, b.cfg, src)
	if err != nil {
		return nil, err
	}
	return &agentObjects{timeline: t, plain: plain, bucket: b.store}, nil
}

// source is what is configured for a timeline; of those in a tree, nothing is.
func (b *agentBucket) source(id walnames.ID) config.WALSource {
	for _, s := range b.cfg.WALBackup.Sources {
		if s.Tenant == id.Tenant && s.Timeline == id.Timeline {
			return s
		}
	}
	return config.WALSource{Tenant: id.Tenant, Timeline: id.Timeline}
}

// agentObjects fits one timeline's handle to walbackup.Objects.
type agentObjects struct {
	timeline *storage.Timeline
	plain    *storage.Timeline // the same, for begun segments, which are not compressed
	bucket   *storage.Store
	rooted   atomic.Bool // where the timeline comes from is stored
}

// PutOnce fits walbackup.Objects.
func (o *agentObjects) PutOnce(ctx context.Context, name string, src walbackup.Source) (walbackup.Placed, error) {
	if err := o.root(ctx, src.Path); err != nil {
		return walbackup.Placed{}, err
	}
	s, err := fileSource(src)
	if err != nil {
		return walbackup.Placed{}, err
	}
	p, err := o.timeline.PutOnce(ctx, name, s)
	return walbackup.Placed{Uploaded: p.Outcome == storage.Uploaded, Stored: p.Stored}, agentError(err)
}

// root stores where the timeline comes from, before the first of its files: the
// data directory is the one that pg_wal lies in.
func (o *agentObjects) root(ctx context.Context, path string) error {
	if o.rooted.Load() {
		return nil
	}
	from := origin{
		dataDir: filepath.Dir(filepath.Dir(path)), key: ancestorKey(o.timeline.Tenant(), o.timeline.ID()),
		push: func(ctx context.Context, history string) error {
			s, err := storage.FileSource(history)
			if err == nil {
				_, err = o.timeline.PutOnce(ctx, filepath.Base(history), s)
			}
			return agentError(err)
		},
		put: func(ctx context.Context, key string, content []byte) error {
			return putUnlessThere(ctx, o.bucket, key, content)
		},
	}
	err := from.store(ctx, path)
	o.rooted.Store(err == nil)
	return err
}

// Compare fits walbackup.Objects.
func (o *agentObjects) Compare(ctx context.Context, name string, src walbackup.Source) error {
	s, err := fileSource(src)
	if err != nil {
		return err
	}
	return agentError(o.timeline.Compare(ctx, name, s))
}

// fileSource is a local file, which must still have the size it was found with.
func fileSource(src walbackup.Source) (storage.Source, error) {
	s, err := storage.FileSource(src.Path)
	if err == nil && s.Size != src.Size {
		err = fmt.Errorf("read %s: it has %d bytes now, and had %d when it was complete", src.Path, s.Size, src.Size)
	}
	return s, agentError(err)
}

// Stored fits walbackup.Objects. A segment that can't be whole is another
// content.
func (o *agentObjects) Stored(ctx context.Context, name string) (int64, error) {
	copies, err := o.timeline.Find(ctx, name)
	if err != nil {
		return 0, agentError(err)
	}
	if len(copies) == 0 {
		return 0, fmt.Errorf("%s: %w", name, walbackup.ErrAbsent)
	}
	c := copies[0]
	plain := walfile.CompressionOf(c.Key) == walfile.None
	if c.Irregular || c.Size == 0 || plain && pg.IsSegmentName(name) && !pg.ValidSegmentSize(c.Size) {
		return 0, fmt.Errorf("%s: %w: it has %d bytes", c.Key, walbackup.ErrConflict, c.Size)
	}
	return c.Size, nil
}

// Replace fits walbackup.Objects. The file may grow meanwhile; what is stored
// is as long as it was found.
func (o *agentObjects) Replace(ctx context.Context, name string, src walbackup.Source) error {
	_, err := o.plain.Replace(ctx, name, storage.Source{Size: src.Size, Open: func() (io.ReadCloser, error) {
		f, err := os.Open(src.Path)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(f, src.Size), f}, nil
	}})
	return agentError(err)
}

// agentError says of an error of the store what it means to the agent.
func agentError(err error) error {
	var source *storage.SourceError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &source) && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", walbackup.ErrFileGone, err)
	case errors.As(err, &source):
		return err
	case errors.Is(err, storage.ErrConflict):
		return fmt.Errorf("%w: %w", walbackup.ErrConflict, err)
	case errors.Is(err, storage.ErrNotExist):
		return fmt.Errorf("%w: %w", walbackup.ErrAbsent, err)
	case errors.Is(err, storage.ErrKey):
		return fmt.Errorf("%w: %w", walbackup.ErrRefused, err)
	}
	return err
}
