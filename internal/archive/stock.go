package archive

import (
	"context"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// Stock is what a recovery wants to know of everything that is stored.
type Stock struct {
	// Last is the newest segment, complete or partial, that belongs to the
	// source's history; 0 if there is none.
	Last pg.SegmentNo
	// Histories are the contents of all history files by their TLI, those of
	// other branches included.
	Histories map[pg.TLI][]byte
}

// Stock lists all that is stored.
func (s *Source) Stock(ctx context.Context) (Stock, error) {
	out := Stock{Histories: make(map[pg.TLI][]byte)}
	for e, err := range s.t.List(ctx) {
		if err != nil {
			return out, err
		}
		switch e.Kind {
		case wal.SegmentFile, wal.PartialFile:
			if slices.Contains(s.history.TLIsFor(e.Segment, s.t.size), e.TLI) {
				out.Last = max(out.Last, e.Segment)
			}
		case wal.HistoryFile:
			if out.Histories[e.TLI] != nil {
				continue // in another compression
			}
			content, err := s.t.readSmall(ctx, e)
			if err != nil {
				return out, err
			}
			out.Histories[e.TLI] = content
		}
	}
	return out, nil
}
