package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// What a pageserver's prefix holds besides: tenants/<tenant>/timelines/….
const pagesDir = "tenants"

// NeonID reports whether s can be the id of a tenant or timeline of Neon: 32
// hexadecimal digits, lower case.
func NeonID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Branch is where a timeline of Neon's leaves its ancestor: WAL below LSN is
// the ancestor's.
type Branch struct {
	Timeline string // the ancestor, of the same tenant
	LSN      pg.LSN
}

// neonTimelines lists the tenants that are wanted and their timelines.
func (a *Archive) neonTimelines(ctx context.Context) (found []*Timeline, strays []string, err error) {
	tenants, strays, err := neonDirs(ctx, a.store, "")
	if err != nil {
		return nil, nil, err
	}
	strays = slices.DeleteFunc(strays, func(key string) bool { return key == pagesDir+"/" })
	for _, tenant := range tenants {
		if a.opt.Wanted != nil && !a.opt.Wanted(tenant) {
			continue
		}
		ids, more, err := neonDirs(ctx, a.store, tenant+"/")
		if err != nil {
			return nil, nil, err
		}
		strays = append(strays, more...)
		for _, id := range ids {
			t, err := a.neonTimeline(tenant, id)
			if err != nil {
				return nil, nil, err
			}
			found = append(found, t)
		}
	}
	return found, strays, nil
}

// neonDirs lists the ids directly below prefix, and the keys of all else.
func neonDirs(ctx context.Context, s *storage.Store, prefix string) (ids, strays []string, err error) {
	dirs, strays, err := subdirs(ctx, s, prefix)
	for _, d := range dirs {
		if NeonID(d) {
			ids = append(ids, d)
		} else {
			strays = append(strays, prefix+d+"/")
		}
	}
	return ids, strays, err
}

// Named is a handle on a timeline, whether anything of it is stored or not.
// Only the layout neon, whose servers say which timelines there are, has it.
func (a *Archive) Named(tenant, timeline string) (*Timeline, error) {
	if a.layout != Neon || !NeonID(tenant) || !NeonID(timeline) {
		return nil, fmt.Errorf("open timeline %s/%s at %s: it is none of the layout neon", tenant, timeline, a.store.Location())
	}
	return a.neonTimeline(tenant, timeline)
}

func (a *Archive) neonTimeline(tenant, id string) (*Timeline, error) {
	s, err := a.store.Sub(tenant + "/" + id)
	if err != nil {
		return nil, err
	}
	return newTimeline(a, tenant, id, s, nil), nil
}

// findNeon finds one timeline without a listing of all; ErrNotExist if nothing
// of it is stored.
func (a *Archive) findNeon(ctx context.Context, tenant, id string) (*Timeline, error) {
	if !NeonID(tenant) || !NeonID(id) {
		return nil, fmt.Errorf("open timeline %s/%s at %s: %w", tenant, id, a.store.Location(), storage.ErrNotExist)
	}
	t, err := a.neonTimeline(tenant, id)
	if err != nil {
		return nil, err
	}
	stored := false
	err = a.opt.Retry.Do(ctx, func() error {
		for _, err := range t.store.List(ctx, "", storage.ListOptions{Dirs: true}) {
			stored = err == nil
			return err
		}
		return nil
	})
	if err == nil && !stored {
		err = fmt.Errorf("open timeline %s/%s at %s: %w", tenant, id, a.store.Location(), storage.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// anyNeon reports whether one of the directories (ending with a slash) is a
// tenant with a timeline with WAL in the layout neon.
func anyNeon(ctx context.Context, s *storage.Store, dirs []string) (bool, error) {
	for _, dir := range dirs {
		if !NeonID(dir[:len(dir)-1]) {
			continue
		}
		timelines, _, err := neonDirs(ctx, s, dir)
		if err != nil {
			return false, err
		}
		for _, tl := range timelines {
			for o, err := range s.List(ctx, dir+tl+"/", storage.ListOptions{Dirs: true}) {
				if err != nil {
					return false, err
				}
				key := o.Key[len(dir)+len(tl)+1:]
				if _, partial := walfile.ParseNeonPartial(key); partial || walfile.SegmentPart(key) == key && key != "" {
					return true, nil
				}
				break // what is first of a timeline tells
			}
		}
	}
	return false, nil
}

// AssumeSegmentSize says which size segments have by the word of a server.
// Identify, which comes after it, returns that where there is no segment, and
// an error where the WAL says otherwise.
func (t *Timeline) AssumeSegmentSize(size int64) { t.assumed = size }

// assume holds what the WAL says against what servers say.
func (t *Timeline) assume(id Identity, err error) (Identity, error) {
	switch {
	case t.assumed == 0:
	case errors.Is(err, ErrNoWAL):
		return Identity{SegmentSize: t.assumed}, nil
	case err == nil && id.SegmentSize != t.assumed:
		return id, fmt.Errorf("its segments have %d bytes, the server that writes them says %d", id.SegmentSize, t.assumed)
	}
	return id, err
}
