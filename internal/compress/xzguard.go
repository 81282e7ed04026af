package compress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxXZDict is the largest dictionary an xz block may ask for: that of `xz -9`.
const maxXZDict = 64 << 20

var errXZ = errors.New("xz: invalid format")

// xzGuard passes an xz file on as it is, until a block header asks for a
// dictionary above maxXZDict: the decoder behind it would allocate up to
// 4 GiB because 20 bytes say so. To find the block headers it walks over the
// LZMA2 chunks, whose headers tell their lengths.
//
//	stream: header(12) block* index footer(12)
//	block:  size/4-1 | flags | [compressed size] | [size] | filter 0x21 | 1 | dictionary | … | CRC32
//	        LZMA2 chunks, 0x00, padding to 4, check
//
// Source: the .xz file format, version 1.2.1, sections 2 to 5.
type xzGuard struct {
	src  *bufio.Reader
	out  []byte // bytes looked at, to be passed on
	raw  int64  // bytes of the source to be passed on unseen
	next func() error

	check int64 // bytes of a block's check
	block int64 // bytes of the current block's chunks so far
}

func newXZGuard(r io.Reader) *xzGuard {
	g := &xzGuard{src: bufio.NewReaderSize(r, 64<<10)}
	g.next = g.stream
	return g
}

func (g *xzGuard) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(g.out) > 0:
			n := copy(p, g.out)
			g.out = g.out[n:]
			return n, nil
		case g.raw > 0:
			n, err := g.src.Read(p[:min(int64(len(p)), g.raw)])
			g.raw -= int64(n)
			if n > 0 {
				return n, nil
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
}

// take moves n bytes of the source to out and returns them. Ending in the
// middle is left for the decoder to complain about.
func (g *xzGuard) take(n int) ([]byte, error) {
	at := len(g.out)
	g.out = append(g.out, make([]byte, n)...)
	k, err := io.ReadFull(g.src, g.out[at:])
	g.out = g.out[:at+k]
	return g.out[at:], err
}

func (g *xzGuard) stream() error {
	h, err := g.take(4)
	if err != nil {
		return err
	}
	if [4]byte(h) == [4]byte{} {
		return nil // padding between streams
	}
	h, err = g.take(8)
	if err != nil {
		return err
	}
	sizes := [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}
	g.check = sizes[h[3]&0x0f]
	g.next = g.blockOrIndex
	return nil
}

func (g *xzGuard) blockOrIndex() error {
	h, err := g.take(1)
	if err != nil {
		return err
	}
	if h[0] == 0 {
		g.next = g.index
		return nil
	}
	if h, err = g.take(int(h[0])*4 + 3); err != nil {
		return err
	}
	g.block, g.next = 0, g.chunk
	return checkXZBlock(h)
}

// checkXZBlock looks at a block header without its first byte.
func checkXZBlock(h []byte) error {
	flags, h := h[0], h[1:]
	if flags&0x03 != 0 {
		return fmt.Errorf("xz: filters other than LZMA2 are not supported")
	}
	fields := 2 // filter id, size of properties
	if flags&0x40 != 0 {
		fields++
	}
	if flags&0x80 != 0 {
		fields++
	}
	var v uint64
	var ok bool
	for i := range fields {
		if v, h, ok = cutVarint(h); !ok || i == fields-2 && v != 0x21 || i == fields-1 && v != 1 {
			return errXZ
		}
	}
	if len(h) == 0 || h[0] > 40 {
		return errXZ
	}
	if dict := uint64(2|h[0]&1) << (h[0]/2 + 11); h[0] == 40 || dict > maxXZDict {
		return fmt.Errorf("xz: a block asks for a dictionary above %d bytes", maxXZDict)
	}
	return nil
}

func cutVarint(b []byte) (v uint64, rest []byte, ok bool) {
	for i := 0; i < len(b) && i < 9; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

func (g *xzGuard) chunk() error {
	c, err := g.take(1)
	if err != nil {
		return err
	}
	control := c[0]
	g.block++
	switch {
	case control == 0:
		g.raw = (4-g.block%4)%4 + g.check
		g.next = g.blockOrIndex
		return nil
	case control <= 2:
		h, err := g.take(2)
		if err != nil {
			return err
		}
		g.raw = int64(h[0])<<8 + int64(h[1]) + 1
		g.block += 2 + g.raw
		return nil
	case control < 0x80:
		return errXZ
	}
	n := 4
	if control >= 0xC0 {
		n++
	}
	h, err := g.take(n)
	if err != nil {
		return err
	}
	g.raw = int64(h[2])<<8 + int64(h[3]) + 1
	g.block += int64(n) + g.raw
	return nil
}

// index passes the index and the stream's footer on; the index's first byte
// was taken already.
func (g *xzGuard) index() error {
	size := int64(1)
	records, n, err := g.takeVarint()
	if err != nil {
		return err
	}
	size += n
	for range min(records, 1<<20) { // more is left for the decoder to refuse
		for range 2 {
			if _, n, err = g.takeVarint(); err != nil {
				return err
			}
			size += n
		}
	}
	g.raw = (4-size%4)%4 + 4 + 12
	g.next = g.stream
	return nil
}

func (g *xzGuard) takeVarint() (v uint64, n int64, err error) {
	for n < 9 {
		b, err := g.take(1)
		if err != nil {
			return 0, n, err
		}
		v |= uint64(b[0]&0x7f) << (7 * n)
		n++
		if b[0]&0x80 == 0 {
			return v, n, nil
		}
	}
	return 0, n, errXZ
}
