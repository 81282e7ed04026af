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

// pushOrigin stores, once and before any WAL, where a timeline that recovery
// made leaves its ancestor, with the history file of its TLI: PostgreSQL wrote
// that when archiving was off, and does not archive it later. It does nothing
// in other data directories.
func (p *place) pushOrigin(ctx context.Context, path string) error {
	if p.DataDir == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(p.DataDir, archive.AncestorFile))
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
			if _, err := p.Push(ctx, history); err != nil {
				return err
			}
		}
	}
	key := p.Timeline.Tenant() + "/" + p.Timeline.ID() + "/" + archive.AncestorKey
	return p.Retry.Do(ctx, func() error {
		_, err := p.bucket.Stat(ctx, key)
		if errors.Is(err, storage.ErrNotExist) {
			err = p.bucket.Put(ctx, key, bytes.NewReader(data), storage.PutOptions{})
		}
		return err
	})
}
