package scanner

import (
	"context"
	"fmt"
	"slices"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// Bounds on what a report names; what is beyond them is counted.
const (
	maxGaps       = 10_000
	maxNames      = 10_000  // segments named in one gap
	maxNamed      = 100_000 // in all gaps; the one that goes beyond it is the last
	maxUnexpected = 1_000
	maxDamaged    = 10_000
	maxReasons    = 100
	maxTLIs       = 10_000 // TLIs looked at
)

// survey is what one listing of a timeline's WAL shows.
type survey struct {
	identity   walfile.Identity
	size       int64 // of a segment
	objects    int64
	present    map[pg.TLI]*runs // complete segments
	histories  map[pg.TLI]wal.History
	listed     map[pg.TLI][]walfile.Entry // history files, read after the listing
	damaged    []finding.Damaged
	hurt       int64 // damaged segments, also those not named
	unexpected []string
	strays     int64 // unexpected objects, also those not named
	reasons    []string
	doubts     int64 // reasons, also those not kept
}

// toldEvery is after how many objects the progress of a listing is told.
const toldEvery = 1000

// look lists everything. It returns false if the listing broke off: then it
// can't be told what is missing.
func (s *survey) look(ctx context.Context, w WAL, told func(objects int64)) bool {
	if told == nil {
		told = func(int64) {}
	}
	defer func() { told(s.objects) }()
	for e, err := range w.List(ctx) {
		if err != nil {
			s.doubt("the listing broke off: %v", err)
			return false
		}
		if s.objects++; s.objects%toldEvery == 0 {
			told(s.objects)
		}
		s.see(e)
		if len(s.present) > maxTLIs || len(s.listed) > maxTLIs {
			s.doubt("there are files of more than %d TLIs; this is not one cluster's archive", maxTLIs)
			return false
		}
	}
	return true
}

func (s *survey) see(e walfile.Entry) {
	switch {
	case e.Irregular:
		s.stray(e.Key + " (a link or device, which is not followed)")
	case e.Kind == wal.SegmentFile:
		s.seeSegment(e)
	case e.Kind == wal.HistoryFile:
		s.listed[e.TLI] = append(s.listed[e.TLI], e)
	case e.Kind == walfile.Unexpected:
		s.stray(e.Key)
	}
}

func (s *survey) seeSegment(e walfile.Entry) {
	if s.present[e.TLI] == nil {
		s.present[e.TLI] = &runs{}
	}
	if !s.present[e.TLI].add(e.Segment) {
		s.stray(fmt.Sprintf("%s (%s is stored more than once)", e.Key, e.Name()))
	}
	switch {
	case e.Size == 0:
		s.damage(e.Name(), "the object is empty")
	case e.Compression == walfile.None && e.Size != s.size:
		s.damage(e.Name(), fmt.Sprintf("it holds %d of %d bytes", e.Size, s.size))
	}
}

func (s *survey) damage(segment, reason string) {
	if s.hurt++; s.hurt <= maxDamaged {
		s.damaged = append(s.damaged, finding.Damaged{Segment: segment, Reason: reason})
	}
}

func (s *survey) stray(what string) {
	if s.strays++; s.strays <= maxUnexpected {
		s.unexpected = append(s.unexpected, what)
	}
}

func (s *survey) doubt(format string, args ...any) {
	if s.doubts++; s.doubts <= maxReasons {
		s.reasons = append(s.reasons, fmt.Sprintf(format, args...))
	}
}

// readHistories reads the history of every TLI above 1 that has segments or a
// history file. A TLI with segments whose history can't be read is a reason
// for doubt: it is not known where its WAL comes from.
func (s *survey) readHistories(ctx context.Context, w WAL) {
	for tli := range s.present {
		if tli > 1 && s.listed[tli] == nil {
			s.doubt("%s is not there: it is not known where TLI %d branched off", wal.HistoryFileName(tli), tli)
		}
	}
	for tli, copies := range s.listed {
		var first error
		for _, e := range copies {
			h, err := w.ReadHistory(ctx, e)
			if err == nil {
				s.histories[tli], first = h, nil
				break
			}
			if first == nil {
				first = err
			}
		}
		if first != nil {
			s.doubt("the history of TLI %d can't be read: %v", tli, first)
		}
	}
	slices.Sort(s.reasons)
}

// history is the history of a TLI as far as it is known.
func (s *survey) history(tli pg.TLI) wal.History {
	if h := s.histories[tli]; h != nil {
		return h
	}
	return wal.NewHistory(tli)
}

// has reports whether a complete segment is there.
func (s *survey) has(tli pg.TLI, n pg.SegmentNo) bool {
	p := s.present[tli]
	return p != nil && p.has(n)
}

// tlis are the TLIs with complete segments, ascending.
func (s *survey) tlis() []pg.TLI {
	var out []pg.TLI
	for tli := range s.present {
		out = append(out, tli)
	}
	slices.Sort(out)
	return out
}

// before finds the TLI whose segment n-1 comes before a TLI's segment n, if it
// is there: the TLI itself, or the one that its history says wrote the end of
// that segment.
func (s *survey) before(tli pg.TLI, n pg.SegmentNo) (pg.TLI, bool) {
	if n == 0 {
		return 0, false
	}
	if s.has(tli, n-1) {
		return tli, true
	}
	t := s.history(tli).TLIAt(n.Start(s.size) - 1)
	return t, t != tli && s.has(t, n-1)
}

// oldest reports whether no segment before n is there, of any TLI.
func (s *survey) oldest(n pg.SegmentNo) bool {
	for _, tli := range s.tlis() {
		for _, r := range s.of(tli) {
			if r.from < n {
				return false
			}
		}
	}
	return true
}

// after finds a segment that goes on where a TLI's segment n ends: of the same
// TLI, else the first of a TLI that branched off there.
func (s *survey) after(tli pg.TLI, n pg.SegmentNo) (pg.TLI, bool) {
	if s.has(tli, n+1) {
		return tli, true
	}
	for _, t := range s.tlis() {
		if t > tli && s.has(t, n+1) {
			if from, ok := s.before(t, n+1); ok && from == tli {
				return t, true
			}
		}
	}
	return 0, false
}
