package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/storage"
)

// Backup is one backup below a location.
type Backup struct {
	Location string // for Open
	Name     string // of the directory or tar; empty for the location itself
	Info     Info   // what Peek said
	Err      error  // why it can't be read; Info is not to be used then
}

// List finds the backups below a location: the location itself if it is one,
// else each directory and tar directly in it. Directories that don't look
// like backups are passed over, and so are snapshots that are not finished;
// backups that can't be read come with their error. Sorted by where replay starts, those with an error last.
func List(ctx context.Context, loc string, o Options) (found []Backup, err error) {
	t, name, err := openLocation(ctx, loc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if name != "" {
		return []Backup{peekIn(ctx, t, name, loc, "", &o)}, ctx.Err()
	}
	return listIn(ctx, t, loc, o)
}

// ListStore is List of what is directly below a store's place.
func ListStore(ctx context.Context, store *storage.Store, o Options) ([]Backup, error) {
	return listIn(ctx, &bucketTree{store}, store.Location(), o)
}

func listIn(ctx context.Context, t tree, loc string, o Options) (found []Backup, err error) {
	entries, err := t.list(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list backups at %s: %w", redacted(loc), err)
	}
	if isUnfinished(entries) {
		return nil, fmt.Errorf("list backups at %s: %w", redacted(loc), ErrUnfinished)
	}
	if isBackup(entries) {
		return []Backup{peekIn(ctx, t, "", loc, "", &o)}, ctx.Err()
	}
	for _, e := range entries {
		b, ok := candidate(ctx, t, e, loc, &o)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if ok {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, compare)
	return found, nil
}

func compare(a, b Backup) int {
	switch {
	case (a.Err == nil) != (b.Err == nil):
		if a.Err == nil {
			return -1
		}
		return 1
	case a.Err != nil:
		return strings.Compare(a.Name, b.Name)
	}
	return cmp.Or(cmp.Compare(a.Info.Redo, b.Info.Redo), cmp.Compare(a.Info.StartTLI, b.Info.StartTLI), strings.Compare(a.Name, b.Name))
}

func isBackup(entries []entry) bool {
	for _, e := range entries {
		if stem, _, ok := tarName(e.name); ok && stem == "base" && e.kind == file {
			return true
		}
	}
	return looksLike(entries)
}

// candidate looks at one entry of a directory of backups.
func candidate(ctx context.Context, t tree, e entry, loc string, o *Options) (Backup, bool) {
	at := below(loc, e.name)
	switch e.kind {
	case file:
		if _, _, ok := tarName(e.name); ok {
			return peekIn(ctx, t, e.name, at, e.name, o), true
		}
	case folder:
		sub, err := t.sub(e.name)
		if err != nil {
			return Backup{Location: at, Name: e.name, Err: err}, true
		}
		defer func() { _ = sub.close() }() // only read from
		entries, err := sub.list(ctx, "")
		if err != nil {
			return Backup{Location: at, Name: e.name, Err: err}, true
		}
		if isBackup(entries) && !isUnfinished(entries) {
			return peekIn(ctx, sub, "", at, e.name, o), true
		}
	}
	return Backup{}, false
}

// peekIn peeks at a backup in a tree that stays open.
func peekIn(ctx context.Context, t tree, tar, at, name string, o *Options) Backup {
	b := Backup{Location: at, Name: name}
	s, err := openTree(ctx, t, tar, redacted(at), o)
	if err != nil {
		b.Err = fmt.Errorf("open backup %s: %w", redacted(at), err)
		return b
	}
	b.Info, b.Err = s.Peek(ctx)
	return b
}
