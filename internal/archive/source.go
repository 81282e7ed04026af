package archive

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/replay"
)

// Source is the WAL along the history of one TLI. Abandoned branches, WAL that
// other TLIs or their ancestors wrote after the history left them, are never
// served. Of a timeline that recovery made it is the WAL of its ancestor, too,
// below where it left that.
type Source struct {
	t         *Timeline
	history   wal.History
	ancestors []ancestry // whose WAL is this timeline's, too
	levels    []level    // of the layout neon: the timeline and those it branched off
}

var _ replay.WALSource = (*Source)(nil)

// Source makes a source of WAL that ends on the target TLI; 0 means the newest
// TLI that has segments, to find which everything is listed.
func (t *Timeline) Source(ctx context.Context, target pg.TLI) (*Source, error) {
	if _, err := t.Identify(ctx); err != nil {
		return nil, err
	}
	if target == 0 && t.archive.layout == Neon {
		target = 1
	}
	if target == 0 {
		err := t.retry.Do(ctx, func() (err error) {
			target, err = t.newestTLI(ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	h, err := t.History(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("read the history of TLI %d: %w", target, err)
	}
	if t.archive.layout == Neon {
		levels, err := t.levels(ctx)
		if err != nil {
			return nil, err
		}
		return &Source{t: t, history: h, levels: levels}, nil
	}
	ancestors, err := t.ancestors(ctx)
	if err != nil {
		return nil, err
	}
	return &Source{t: t, history: h, ancestors: ancestors}, nil
}

func (t *Timeline) newestTLI(ctx context.Context) (pg.TLI, error) {
	newest := pg.TLI(0)
	for e, err := range t.List(ctx) {
		if err != nil {
			return 0, err
		}
		if e.Kind == wal.SegmentFile || e.Kind == wal.PartialFile {
			newest = max(newest, e.TLI)
		}
	}
	return newest, nil
}

// SegmentSize is the size of a segment in bytes.
func (s *Source) SegmentSize() int64 { return s.t.size }

// SystemID is the system identifier of the timeline's cluster.
func (s *Source) SystemID() uint64 { return s.t.sysid }

// History is the history that is followed; its last TLI is the target.
func (s *Source) History() wal.History { return s.history }

// Open starts a stream at the page that holds from. The stream reads ahead in
// the background until it is closed or ctx ends.
func (s *Source) Open(ctx context.Context, from pg.LSN) (replay.WALStream, error) {
	return newStream(ctx, s, from), nil
}

// piece is a stored file that serves a part of the WAL.
type piece struct {
	file *opened
	end  pg.LSN // what is at and after it must not be served from here
	left pg.TLI // the TLI that should have had the segment, if end is before its end
}

// open finds the file for segment n, of which what is before at is not wanted:
// of the TLIs of the history that may hold it the newest, the complete file
// before the .partial one. Where only an older TLI's file is there, it serves
// what comes before the switch.
func (s *Source) open(ctx context.Context, n pg.SegmentNo, at pg.LSN) (*piece, error) {
	if s.levels != nil {
		return s.openNeon(ctx, n, at)
	}
	end := (n + 1).Start(s.t.size)
	tlis := s.history.TLIsFor(n, s.t.size)
	for i, tli := range tlis {
		f, err := s.openAny(ctx, tli, n)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		p := &piece{file: f, end: end, left: tli}
		if i > 0 {
			// The page of the switch holds an abandoned branch behind it.
			p.end, p.left = s.switchPage(tli), tlis[0]
		}
		return p, nil
	}
	if len(tlis) == 0 {
		return nil, fmt.Errorf("read WAL at %s: no TLI of the history holds it", n.Start(s.t.size))
	}
	return nil, s.t.missing(tlis[0], n)
}

// switchPage is the page on which the history leaves a TLI.
func (s *Source) switchPage(tli pg.TLI) pg.LSN {
	for _, h := range s.history {
		if h.TLI == tli {
			return h.Range.To &^ (wal.PageSize - 1)
		}
	}
	return 0
}

// openAny opens the complete segment or, if there is none, the partial one.
func (s *Source) openAny(ctx context.Context, tli pg.TLI, n pg.SegmentNo) (*opened, error) {
	name := pg.SegmentName(tli, n, s.t.size)
	for _, suffix := range []string{"", ".partial"} {
		t, copies, err := s.findAny(ctx, tli, n, name+suffix)
		if err != nil {
			return nil, err
		}
		f, err := t.openFirst(ctx, copies)
		if err != nil || f == nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		if err := s.checkForeign(f.entry, n, f.page); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	return nil, nil
}

// checkForeign refuses the segment of another cluster by name of the object.
// What is wrong with the page otherwise is for the WAL reader to judge.
func (s *Source) checkForeign(e walfile.Entry, n pg.SegmentNo, page []byte) error {
	h, err := wal.ParsePageHeader(page)
	if err != nil || h.Major() == 0 || !h.Long() || h.Addr != n.Start(s.t.size) {
		return nil
	}
	switch {
	case h.SystemID != s.t.sysid && s.t.sysid != 0:
		return damaged(s.t.store, e.Key, "it is of another cluster: its system identifier is %d, want %d", h.SystemID, s.t.sysid)
	case int64(h.SegmentSize) != s.t.size:
		return damaged(s.t.store, e.Key, "its segment size is %d, want %d", h.SegmentSize, s.t.size)
	}
	return nil
}
