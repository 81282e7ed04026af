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
// plain, <tenant>/<timeline>/wal/ is redoubt. Both at once is an error.
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
	found, err := anyRedoubt(ctx, s, dirs)
	if err != nil {
		return "", err
	}
	if !found {
		return "", fmt.Errorf("open archive %s: %w", s.Location(), errNothing)
	}
	return Redoubt, nil
}

// isWAL reports whether a key can be a segment or history file of any segment size.
func isWAL(key string) bool {
	return walfile.SegmentPart(key) != "" || walfile.Parse(key, pg.DefaultSegmentSize).Kind == wal.HistoryFile
}

// plainUnlessBoth looks only at the directories that sort before the first WAL
// file; those of a long plain archive would take a full listing to find.
func plainUnlessBoth(ctx context.Context, s *storage.Store, dirs []string) (Layout, error) {
	both, err := anyRedoubt(ctx, s, dirs)
	if err != nil {
		return "", err
	}
	if both {
		return "", fmt.Errorf("open archive %s: it holds WAL files and timelines in directories; name the layout, plain or redoubt", s.Location())
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
