package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"redoubt/internal/storage"
)

// bucketTree is a prefix of a bucket.
type bucketTree struct {
	store *storage.Store
}

func openBucket(ctx context.Context, location string) (*bucketTree, error) {
	s, err := storage.Open(ctx, location)
	if err != nil {
		return nil, err
	}
	return &bucketTree{s}, nil
}

func (t *bucketTree) close() error { return t.store.Close() }

func (t *bucketTree) sub(dir string) (tree, error) {
	s, err := t.store.Sub(dir)
	if err != nil {
		return nil, err
	}
	return &bucketTree{s}, nil
}

func (t *bucketTree) list(ctx context.Context, dir string) ([]entry, error) {
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	var out []entry
	for o, err := range t.store.List(ctx, prefix, storage.ListOptions{Dirs: true}) {
		if err != nil {
			return nil, err
		}
		e := entry{name: strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), "/"), size: o.Size}
		switch {
		case o.Key == prefix:
			continue // a marker object for the "directory"
		case storage.ValidateKey(e.name) != nil || o.Irregular:
			e.kind = other
		case o.Dir:
			e.kind = folder
		}
		out = append(out, e)
	}
	return out, nil
}

func (t *bucketTree) open(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	rc, err := t.store.OpenRange(ctx, name, offset, -1)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return rc, err
}
