package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/storage"
)

// Layout is how WAL is arranged at a location.
type Layout string

// The layouts. Auto finds out which one it is.
const (
	Auto    Layout = "auto"
	Plain   Layout = "plain"
	Redoubt Layout = "redoubt"
	Neon    Layout = "neon" // the prefix of Neon's safekeepers
)

// ParseLayout reads a layout's name.
func ParseLayout(s string) (Layout, error) {
	switch l := Layout(s); l {
	case Auto, Plain, Redoubt, Neon:
		return l, nil
	}
	return "", fmt.Errorf("unknown layout %q: want auto, plain, redoubt or neon", s)
}

// Options fills in what a layout does not say.
type Options struct {
	Tenant   string // of a plain archive; default "default"
	Timeline string // of a plain archive; default "main"
	Retry    Retry

	// Of the layout neon alone: where pageservers keep their files, which say of
	// what a timeline is a branch; nil is where the WAL is. Branch, if it is not
	// nil, is asked first; nil is its answer where it does not know.
	Pages  *storage.Store
	Branch func(ctx context.Context, tenant, timeline string) (*Branch, error)
	// Wanted says which tenants are listed; nil is all.
	Wanted func(tenant string) bool
}

// Archive is a location with the WAL of one or many timelines.
type Archive struct {
	store  *storage.Store
	layout Layout
	opt    Options
}

// Open looks at store, which stays the caller's to close. With Auto the layout
// is found out from what is there; nothing recognisable is an error.
func Open(ctx context.Context, store *storage.Store, layout Layout, opt Options) (*Archive, error) {
	if opt.Tenant == "" {
		opt.Tenant = "default"
	}
	if opt.Timeline == "" {
		opt.Timeline = "main"
	}
	for _, id := range []string{opt.Tenant, opt.Timeline} {
		if !storage.ValidName(id) {
			return nil, fmt.Errorf("open archive %s: %q can't be the name of a tenant or timeline: want 1 to 64 of A-Z a-z 0-9 . _ -", store.Location(), id)
		}
	}
	a := &Archive{store: store, layout: layout, opt: opt}
	if layout != Auto {
		_, err := ParseLayout(string(layout))
		return a, err
	}
	err := opt.Retry.Do(ctx, func() (err error) {
		a.layout, err = detect(ctx, store)
		return err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Layout is the layout, never Auto.
func (a *Archive) Layout() Layout { return a.layout }

// Location is where the archive is, without credentials.
func (a *Archive) Location() string { return a.store.Location() }

// Timelines finds the timelines, sorted by tenant and name; strays are the
// keys above them that are no part of the layout.
func (a *Archive) Timelines(ctx context.Context) (found []*Timeline, strays []string, err error) {
	if a.layout == Plain {
		return []*Timeline{newTimeline(a, a.opt.Tenant, a.opt.Timeline, a.store, nil)}, nil, nil
	}
	err = a.opt.Retry.Do(ctx, func() (err error) {
		if a.layout == Neon {
			found, strays, err = a.neonTimelines(ctx)
		} else {
			found, strays, err = a.redoubtTimelines(ctx)
		}
		return err
	})
	return found, strays, err
}

// Timeline finds one timeline by its names; ErrNotExist if there is none.
func (a *Archive) Timeline(ctx context.Context, tenant, timeline string) (*Timeline, error) {
	if a.layout == Neon {
		return a.findNeon(ctx, tenant, timeline)
	}
	all, _, err := a.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.tenant == tenant && t.id == timeline {
			return t, nil
		}
	}
	return nil, fmt.Errorf("open timeline %s/%s at %s: %w", tenant, timeline, a.store.Location(), storage.ErrNotExist)
}

func (a *Archive) redoubtTimelines(ctx context.Context) (found []*Timeline, strays []string, err error) {
	tenants, strays, err := subdirs(ctx, a.store, "")
	if err != nil {
		return nil, nil, err
	}
	for _, tenant := range tenants {
		ids, more, err := subdirs(ctx, a.store, tenant+"/")
		if err != nil {
			return nil, nil, err
		}
		strays = append(strays, more...)
		for _, id := range ids {
			t, more, err := a.redoubtTimeline(ctx, tenant, id)
			if err != nil {
				return nil, nil, err
			}
			strays = append(strays, more...)
			if t != nil {
				found = append(found, t)
			}
		}
	}
	return found, strays, nil
}

// redoubtTimeline looks into one timeline's directory; nil if it has neither
// WAL nor snapshots.
func (a *Archive) redoubtTimeline(ctx context.Context, tenant, id string) (*Timeline, []string, error) {
	prefix := tenant + "/" + id + "/"
	parts, strays, err := subdirs(ctx, a.store, prefix)
	if err != nil {
		return nil, nil, err
	}
	known := false
	for _, p := range parts {
		if p == storage.WALDir || p == storage.SnapshotsDir {
			known = true
		} else {
			strays = append(strays, prefix+p+"/")
		}
	}
	if !known {
		if len(strays) == 0 {
			strays = []string{prefix}
		}
		return nil, strays, nil
	}
	place, err := a.store.Sub(prefix)
	if err != nil {
		return nil, nil, err
	}
	walStore, err := place.Sub(storage.WALDir)
	if err != nil {
		return nil, nil, err
	}
	snapshots, err := place.Sub(storage.SnapshotsDir)
	if err != nil {
		return nil, nil, err
	}
	t := newTimeline(a, tenant, id, walStore, snapshots)
	t.place = place
	return t, slices.DeleteFunc(strays, func(key string) bool { return key == prefix+AncestorKey }), nil
}

// subdirs lists what is directly below prefix: directories with valid names,
// and the keys of everything else.
func subdirs(ctx context.Context, s *storage.Store, prefix string) (dirs, strays []string, err error) {
	for o, err := range s.List(ctx, prefix, storage.ListOptions{Dirs: true}) {
		if err != nil {
			return nil, nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), "/")
		switch {
		case o.Key == prefix: // a marker object
		case o.Dir && storage.ValidName(name):
			dirs = append(dirs, name)
		default:
			strays = append(strays, o.Key)
		}
	}
	return dirs, strays, nil
}

// errNothing says that a location looks like no layout.
var errNothing = errors.New("neither WAL segments nor <tenant>/<timeline>/ with some were found; check the location, or name the layout")
