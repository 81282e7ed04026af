package datadir

import "encoding/binary"

// cursor reads the fields of a C struct in order, as a compiler for a 64-bit
// little-endian machine lays it out: each field at a multiple of its size.
// Reading past the end sets short and yields zeros from then on.
type cursor struct {
	data  []byte
	pos   int
	short bool
}

func (c *cursor) take(n int) []byte {
	var zero [8]byte
	c.pos = (c.pos + n - 1) / n * n
	if c.short || len(c.data)-c.pos < n {
		c.short = true
		return zero[:n]
	}
	b := c.data[c.pos : c.pos+n]
	c.pos += n
	return b
}

func (c *cursor) bool() bool  { return c.take(1)[0] != 0 }
func (c *cursor) u32() uint32 { return binary.LittleEndian.Uint32(c.take(4)) }
func (c *cursor) u64() uint64 { return binary.LittleEndian.Uint64(c.take(8)) }

// align moves to a multiple of n, where a nested struct begins or ends.
func (c *cursor) align(n int) { c.pos = (c.pos + n - 1) / n * n }

// bytes reads n bytes without alignment into dst.
func (c *cursor) bytes(dst []byte) {
	if c.short || len(c.data)-c.pos < len(dst) {
		c.short = true
		return
	}
	c.pos += copy(dst, c.data[c.pos:])
}
