package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"redoubt/internal/archive"
	"redoubt/internal/storage"
)

// historyName is how long the part of a WAL file's name is that names its TLI.
const historyName = 8

// origin is where a timeline that recovery made leaves its ancestor, as its
// data directory says, on the way into the bucket.
type origin struct {
	dataDir string // empty: none
	key     string // in the bucket
	push    func(ctx context.Context, history string) error
	put     func(ctx context.Context, key string, content []byte) error // unless it is there
}

// store stores it, once and before any WAL, with the history file of its TLI:
// PostgreSQL may have written that when archiving was off, and does not archive
// it later. It does nothing in other data directories.
func (o *origin) store(ctx context.Context, path string) error {
	if o.dataDir == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(o.dataDir, archive.AncestorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read where the timeline comes from: %w", err)
	}
	if _, err := archive.ParseAncestor(data); err != nil {
		return fmt.Errorf("read where the timeline comes from: %s: %w", archive.AncestorFile, err)
	}
	if name := filepath.Base(path); len(name) > historyName {
		history := filepath.Join(filepath.Dir(path), name[:historyName]+".history")
		if _, err := os.Stat(history); err == nil && history != path {
			if err := o.push(ctx, history); err != nil {
				return err
			}
		}
	}
	return o.put(ctx, o.key, data)
}

func ancestorKey(tenant, timeline string) string {
	return tenant + "/" + timeline + "/" + archive.AncestorKey
}

// putUnlessThere stores a small object unless something is there.
func putUnlessThere(ctx context.Context, bucket *storage.Store, key string, content []byte) error {
	_, err := bucket.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotExist) {
		err = bucket.Put(ctx, key, bytes.NewReader(content), storage.PutOptions{})
	}
	return err
}

// pushOrigin is what archive-push does of it.
func (p *place) pushOrigin(ctx context.Context, path string) error {
	o := origin{
		dataDir: p.DataDir, key: ancestorKey(p.Timeline.Tenant(), p.Timeline.ID()),
		push: func(ctx context.Context, history string) error {
			_, err := p.Push(ctx, history)
			return err
		},
		put: func(ctx context.Context, key string, content []byte) error {
			return p.Retry.Do(ctx, func() error { return putUnlessThere(ctx, p.bucket, key, content) })
		},
	}
	return o.store(ctx, path)
}
