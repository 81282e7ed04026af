package wal

import (
	"encoding/binary"
	"errors"
)

// errShort is what a cursor ends with when its bytes do not suffice.
var errShort = errors.New("bytes end too early")

// cursor reads little-endian values from untrusted bytes. Its error is
// sticky: after the first read beyond the end every read gives zero and err
// stays, so that a decoder checks once, at its end or before it loops by a
// count it read.
type cursor struct {
	buf []byte
	pos int
	bad bool
}

func newCursor(b []byte) cursor { return cursor{buf: b} }

// take advances by n bytes and returns them, nil if there are fewer.
func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.buf)-c.pos {
		c.bad = true
		return nil
	}
	b := c.buf[c.pos : c.pos+n : c.pos+n]
	c.pos += n
	return b
}

func (c *cursor) u8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// bytes returns the next n bytes, which alias the input; nil if there are fewer.
func (c *cursor) bytes(n int) []byte { return c.take(n) }

// skip passes over n bytes.
func (c *cursor) skip(n int) { c.take(n) }

// align advances to the next multiple of n, a power of two, counted from the
// start of the cursor's bytes: PostgreSQL aligns within main data and block
// data, which the reader copies to aligned memory, not within the record.
func (c *cursor) align(n int) { c.take(-c.pos & (n - 1)) }

// remaining is the number of bytes not yet read.
func (c *cursor) remaining() int { return len(c.buf) - c.pos }

// fits reports whether count items of size bytes remain, and makes the error
// stick if not. Ask it before a count from the input sizes anything.
func (c *cursor) fits(count uint32, size int) bool {
	if c.bad || uint64(count)*uint64(size) > uint64(c.remaining()) {
		c.bad = true
	}
	return !c.bad
}

// rest returns all bytes not yet read.
func (c *cursor) rest() []byte { return c.take(c.remaining()) }

// err is nil as long as no read went beyond the end.
func (c *cursor) err() error {
	if c.bad {
		return errShort
	}
	return nil
}
