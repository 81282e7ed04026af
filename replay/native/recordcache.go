package native

import (
	"sync"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// slabSize is how much memory records are put into at a time, bytes.
const slabSize = 4 << 20

// recordCache keeps the bytes of the records that one pass reads, up to a
// limit, for the next pass: what came from a bucket need not come from it
// twice, and what was checked and put together once need not be again. A nil
// one keeps nothing.
type recordCache struct {
	limit int64 // bytes
	size  int64 // bytes that the slabs take
	full  bool  // no more are kept
	rest  bool  // there are records from end on that are not kept
	slabs []*slab
	first pg.LSN // where the first record of the pass started
	last  pg.LSN // where the last one that is kept started
	end   pg.LSN // and ended
	major int
}

// slab is memory with records in it, one after another.
type slab struct {
	mem    []byte // all of it
	buf    []byte // what is used of it and not read again
	frames []frame
}

// frame is what a record's bytes do not say of it.
type frame struct {
	lsn, end pg.LSN
	length   uint32
	tli      pg.TLI
}

const frameSize = 24 // bytes of memory

// fill forgets what is kept and begins anew.
func (c *recordCache) fill() *recordCache {
	*c = recordCache{limit: c.limit, rest: true}
	return c
}

// complete says that the pass has come to its end.
func (c *recordCache) complete() {
	if c != nil {
		c.rest = c.full
	}
}

// room is where to put the next record if it is to be kept, nil if not.
func (c *recordCache) room() []byte {
	if c == nil || c.full {
		return nil
	}
	if n := len(c.slabs); n > 0 {
		if s := c.slabs[n-1]; cap(s.buf)-len(s.buf) >= roomBytes {
			return s.buf[len(s.buf):cap(s.buf)]
		}
	}
	if c.size+slabSize > c.limit {
		c.full = true
		return nil
	}
	c.size += slabSize
	s := &slab{mem: freshMemory(slabSize)}
	if len(c.slabs) > 0 {
		populate(s.mem)
	}
	s.buf = s.mem[:0]
	if n := len(c.slabs); n > 0 {
		s.frames = make([]frame, 0, len(c.slabs[n-1].frames)*9/8)
	}
	c.slabs = append(c.slabs, s)
	return s.buf[:cap(s.buf)]
}

// keep keeps a record for which there was room, be it that it lies there or
// elsewhere because the room was too small.
func (c *recordCache) keep(r *wal.Record, raw []byte, inRoom bool) {
	if c.first == 0 {
		c.first, c.major = r.LSN, r.Major
	}
	s := c.slabs[len(c.slabs)-1]
	if inRoom {
		s.buf = s.buf[:len(s.buf)+len(raw)]
	} else {
		s = &slab{buf: raw}
		c.slabs = append(c.slabs, s)
		c.size += int64(len(raw))
	}
	s.frames = append(s.frames, frame{lsn: r.LSN, end: r.End, length: r.Length, tli: r.TLI})
	c.size += frameSize
	c.last, c.end = r.LSN, r.End
}

// serves reports whether the cache has the records from an LSN on: of the
// first page, which may be like no other, all or none.
func (c *recordCache) serves(from pg.LSN) bool {
	const page = ^pg.LSN(wal.PageSize - 1)
	return c != nil && len(c.slabs) > 0 && c.first >= from && (!c.rest || c.end&page > c.first&page)
}

// take removes and returns the first slab, nil if there is none.
func (c *recordCache) take() *slab {
	if len(c.slabs) == 0 {
		return nil
	}
	s := c.slabs[0]
	c.slabs[0] = nil
	c.slabs = c.slabs[1:]
	return s
}

// spare is memory that held records and may hold pages now: new memory costs
// as much time as filling it.
type spare struct {
	mu  sync.Mutex
	mem [][]byte
}

func (s *spare) put(mem [][]byte) {
	if s == nil || len(mem) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mem = append(s.mem, mem...)
}

// take is some memory, nil if there is none.
func (s *spare) take() []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.mem)
	if n == 0 {
		return nil
	}
	mem := s.mem[n-1]
	s.mem = s.mem[:n-1]
	return mem
}

// decode is the record of the slab's first frame, which is removed.
func (s *slab) decode(r *wal.Record, major int, dialect wal.Dialect) error {
	f := s.frames[0]
	r.LSN, r.End, r.TLI, r.Major, r.Dialect = f.lsn, f.end, f.tli, major, dialect
	raw := s.buf[:f.length:f.length]
	s.buf, s.frames = s.buf[f.length:], s.frames[1:]
	return r.Decode(raw)
}
