package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/storage"
)

// Marker is the object that Redoubt puts first where it makes a snapshot. Its
// backup_manifest comes last: as long as there is the one without the other,
// the snapshot is not finished. Backups that other programs made have no
// marker, and may have no manifest.
const Marker = "redoubt-snapshot.json"

// ErrUnfinished says that a snapshot is being made, or that its maker was stopped.
var ErrUnfinished = errors.New("the snapshot is not finished: it is being made, or its maker was stopped; make it again, with the same command")

func isUnfinished(entries []entry) bool {
	return isMarked(entries) && !slices.ContainsFunc(entries, func(e entry) bool { return e.name == datadir.ManifestPath })
}

func isMarked(entries []entry) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.name == Marker })
}

// OpenStore is Open of what lies directly at a store's place.
func OpenStore(ctx context.Context, store *storage.Store, o Options) (*Snapshot, error) {
	s, err := openTree(ctx, &bucketTree{store}, "", store.Location(), &o)
	if err != nil {
		return nil, fmt.Errorf("open backup %s: %w", store.Location(), err)
	}
	return s, nil
}

// Ignore is a visitor that does nothing: a Walk with it checks the files.
type Ignore struct{}

// Blocks fits datadir.Visitor.
func (Ignore) Blocks(datadir.RelFile, pg.BlockNumber, []byte) error { return nil }

// EndRelation fits datadir.Visitor.
func (Ignore) EndRelation(datadir.RelFile, int64) error { return nil }

// File fits datadir.Visitor.
func (Ignore) File(string, []byte) error { return nil }
