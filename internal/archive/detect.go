package archive

import (
	"context"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// detect finds out the layout of what is there: WAL files directly in it are
// plain, <tenant>/<timeline>/wal/ is redoubt, segments in <tenant>/<timeline>/,
// both of them ids of Neon's, are neon. Two at once are an error.
func detect(ctx context.Context, s *storage.Store) (Layout, error) {
	var dirs []string
	for o, err := range s.List(ctx, "", storage.ListOptions{Dirs: true}) {
		if err != nil {
			return "", err
		}
		if o.Dir {
			dirs = append(dirs, o.Key)
			continue
		}
		if isWAL(o.Key) {
			return plainUnlessBoth(ctx, s, dirs)
		}
	}
	found, err := inDirs(ctx, s, dirs)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", fmt.Errorf("open archive %s: %w", s.Location(), errNothing)
	case len(found) > 1:
		return "", fmt.Errorf("open archive %s: it holds timelines in the layout redoubt and in the layout neon; name the layout", s.Location())
	}
	return found[0], nil
}

// mixed is how many directories are looked at for a second layout: a bucket of
// Neon's has a directory for each of thousands of tenants.
const mixed = 16

// inDirs are the layouts that keep timelines in directories of which there are some.
func inDirs(ctx context.Context, s *storage.Store, dirs []string) ([]Layout, error) {
	var redoubt, neon bool
	for i := range dirs {
		if i >= mixed && (redoubt || neon) {
			break
		}
		for _, l := range []struct {
			found *bool
			any   func(context.Context, *storage.Store, []string) (bool, error)
		}{{&redoubt, anyRedoubt}, {&neon, anyNeon}} {
			if *l.found {
				continue
			}
			var err error
			if *l.found, err = l.any(ctx, s, dirs[i:i+1]); err != nil {
				return nil, err
			}
		}
	}
	var out []Layout
	if redoubt {
		out = append(out, Redoubt)
	}
	if neon {
		out = append(out, Neon)
	}
	return out, nil
}

// isWAL reports whether a key can be a segment or history file of any segment size.
func isWAL(key string) bool {
	return walfile.SegmentPart(key) != "" || walfile.Parse(key, pg.DefaultSegmentSize).Kind == wal.HistoryFile
}

// plainUnlessBoth looks only at the directories that sort before the first WAL
// file; those of a long plain archive would take a full listing to find.
func plainUnlessBoth(ctx context.Context, s *storage.Store, dirs []string) (Layout, error) {
	both, err := inDirs(ctx, s, dirs)
	if err != nil {
		return "", err
	}
	if len(both) > 0 {
		return "", fmt.Errorf("open archive %s: it holds WAL files and timelines in directories; name the layout, plain or %s", s.Location(), both[0])
	}
	return Plain, nil
}

// anyRedoubt reports whether one of the directories (ending with a slash)
// holds a timeline with WAL.
func anyRedoubt(ctx context.Context, s *storage.Store, dirs []string) (bool, error) {
	for _, dir := range dirs {
		if !storage.ValidName(dir[:len(dir)-1]) {
			continue
		}
		timelines, _, err := subdirs(ctx, s, dir)
		if err != nil {
			return false, err
		}
		for _, tl := range timelines {
			for _, err := range s.List(ctx, dir+tl+"/"+storage.WALDir+"/", storage.ListOptions{Dirs: true}) {
				return err == nil, err // one entry is enough
			}
		}
	}
	return false, nil
}
