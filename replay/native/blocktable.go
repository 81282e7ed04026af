package native

import "redoubt/internal/pg"

const tableChunk = 64

// blockTable finds blocks by number. It is sparse by chunk, so that a far
// block number costs half a kilobyte.
type blockTable struct {
	chunks map[pg.BlockNumber]*[tableChunk]*block
	last   *[tableChunk]*block // the chunk made or found last by make
	lastN  pg.BlockNumber      // its number
}

// get finds a block, nil if there is none. It may be called concurrently as
// long as nothing is made or deleted.
func (t *blockTable) get(n pg.BlockNumber) *block {
	c := t.chunks[n/tableChunk]
	if c == nil {
		return nil
	}
	return c[n%tableChunk]
}

// make finds a block or adds an empty one.
func (t *blockTable) make(n pg.BlockNumber) *block {
	if t.last == nil || t.lastN != n/tableChunk {
		t.turnTo(n / tableChunk)
	}
	b := t.last[n%tableChunk]
	if b == nil {
		b = &block{recent: true} // written at once: memory that is read first takes two page faults
		t.last[n%tableChunk] = b
	}
	return b
}

func (t *blockTable) turnTo(chunk pg.BlockNumber) {
	if t.chunks == nil {
		t.chunks = make(map[pg.BlockNumber]*[tableChunk]*block)
	}
	c := t.chunks[chunk]
	if c == nil {
		c = new([tableChunk]*block)
		t.chunks[chunk] = c
	}
	t.last, t.lastN = c, chunk
}

// cut removes the blocks from n on and hands each to fn.
func (t *blockTable) cut(n pg.BlockNumber, fn func(*block)) {
	for at, c := range t.chunks {
		for i, b := range c {
			if b != nil && at*tableChunk+pg.BlockNumber(i) >= n {
				fn(b)
				c[i] = nil
			}
		}
		if at*tableChunk >= n {
			delete(t.chunks, at)
		}
	}
	t.last = nil
}

// each calls fn for every block, in no order.
func (t *blockTable) each(fn func(pg.BlockNumber, *block)) {
	for at, c := range t.chunks {
		for i, b := range c {
			if b != nil {
				fn(at*tableChunk+pg.BlockNumber(i), b)
			}
		}
	}
}
