package native

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/audit"
)

// block is one page of the overlay. It belongs to one worker.
type block struct {
	page    []byte // nil while it is in the scratch file, or all zero
	slot    int64  // in the scratch file, with onDisk
	last    RecordRef
	taint   pg.RmgrID // with tainted: the resource manager whose redo is not known
	at      int       // in its store's resident, with page
	onDisk  bool
	recent  bool // CLOCK's reference bit
	tainted bool
	broken  bool   // redo failed and no image has made the page whole since
	whole   bool   // an image or WILL_INIT replaced the page in this span
	touched bool   // a record of the span referenced it
	inBase  bool   // the base had it
	cutMap  bool   // of a visibility map: its last image had its bits cut out as a hole, as those of CREATE DATABASE have
	proved  bool   // the span's WAL has shown all of the page: it was whole, or an image agreed with it
	invalid pg.LSN // a record needed the block when it was missing or zero
	failed  error  // redo of a record failed on it
	future  pg.LSN // a clean base's page was newer than the record at this LSN
	// hints, if there are any: the page's LSN before the first, and the ends of
	// the last few records since that may have set it on the primary.
	hints []pg.LSN
	audit audit.Block // the page LSN that the primary had
}

// Pages of memory that a store with many makes room for at a time, and that it
// then asks the system for at a time: 32 MiB and 2 MiB.
const (
	slabPages  = 4096
	freshPages = hugePage / pg.BlockSize
)

// maxHints bounds block.hints.
const maxHints = 8

// addHint notes a record that may have set the LSN of the page, which was
// before until then.
func (b *block) addHint(before, end pg.LSN) {
	switch len(b.hints) {
	case 0:
		b.hints = append(b.hints, before)
	case maxHints:
		copy(b.hints[1:], b.hints[2:])
		b.hints = b.hints[:maxHints-1]
	}
	b.hints = append(b.hints, end)
}

// store is one worker's pages: at most budget of them in memory, the least
// recently used ones in a scratch file.
type store struct {
	budget   int      // pages in memory
	resident []*block // those with a page
	hand     int
	held     int // pages allocated: resident or in pool
	pool     [][]byte
	fresh    []byte // memory for pages, not used yet
	slab     []byte // more of it, which the system was not asked for yet
	zero     bool   // fresh is all zeros
	spare    *spare // where more may be
	scratch  scratch
	evicted  int64
}

// load brings b's page into memory; a block without one gets a zero page.
func (s *store) load(b *block) ([]byte, error) { return s.page(b, false) }

// page is load, but for a page that will be overwritten: what is in that may
// be anything.
func (s *store) page(b *block, overwritten bool) ([]byte, error) {
	b.recent = true
	if b.page != nil {
		return b.page, nil
	}
	p, zero, err := s.room()
	if err != nil {
		return nil, err
	}
	switch {
	case overwritten && b.onDisk:
		s.scratch.release(b.slot)
		b.onDisk = false
	case overwritten:
	case b.onDisk:
		if err := s.scratch.get(b.slot, p); err != nil {
			s.pool = append(s.pool, p)
			return nil, err
		}
		s.scratch.release(b.slot)
		b.onDisk = false
	case !zero:
		clear(p)
	}
	b.page, b.at = p, len(s.resident)
	s.resident = append(s.resident, b)
	return p, nil
}

// room finds memory for one page, evicting another if it must (CLOCK), and
// says whether it is all zeros.
func (s *store) room() (p []byte, zero bool, err error) {
	if n := len(s.pool); n > 0 {
		p := s.pool[n-1]
		s.pool = s.pool[:n-1]
		return p, false, nil
	}
	for s.held >= s.budget && len(s.resident) > 0 {
		if s.hand >= len(s.resident) {
			s.hand = 0
		}
		b := s.resident[s.hand]
		if !b.recent {
			p, err := s.evict(b)
			return p, false, err
		}
		b.recent = false
		s.hand++
	}
	if len(s.fresh) == 0 {
		s.refill()
	}
	p, s.fresh = s.fresh[:pg.BlockSize:pg.BlockSize], s.fresh[pg.BlockSize:]
	s.held++
	return p, s.zero, nil
}

// refill finds fresh memory.
func (s *store) refill() {
	if s.fresh, s.zero = s.spare.take(), false; s.fresh != nil {
		return
	}
	if len(s.slab) == 0 {
		n := min(max(s.held, freshPages), slabPages, max(s.budget-s.held, 1)) // as much again
		s.slab = freshMemory(n * pg.BlockSize)
	}
	n := min(len(s.slab), freshPages*pg.BlockSize)
	s.fresh, s.slab, s.zero = s.slab[:n:n], s.slab[n:], true
	if s.held > 0 {
		populate(s.fresh)
	}
}

// evict moves b's page to the scratch file and returns its memory.
func (s *store) evict(b *block) ([]byte, error) {
	slot, err := s.scratch.put(b.page)
	if err != nil {
		return nil, err
	}
	b.slot, b.onDisk = slot, true
	s.evicted++
	return s.take(b), nil
}

// take takes b's memory from it. The last resident block moves to b's place,
// so that dropped blocks leave nothing behind.
func (s *store) take(b *block) []byte {
	last := len(s.resident) - 1
	moved := s.resident[last]
	s.resident[b.at], moved.at = moved, b.at
	s.resident[last] = nil
	s.resident = s.resident[:last]
	p := b.page
	b.page = nil
	return p
}

// drop forgets b's page.
func (s *store) drop(b *block) {
	if b.onDisk {
		s.scratch.release(b.slot)
		b.onDisk = false
	}
	if b.page != nil {
		s.pool = append(s.pool, s.take(b))
	}
}

// peek reads b's page for comparing: without moving it, safe for concurrent
// callers once the workers have stopped. buf is used if the page is not in memory.
func (s *store) peek(b *block, buf []byte) ([]byte, error) {
	switch {
	case b.page != nil:
		return b.page, nil
	case b.onDisk:
		return buf, s.scratch.get(b.slot, buf)
	}
	clear(buf)
	return buf, nil
}
