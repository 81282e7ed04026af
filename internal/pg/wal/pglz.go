package wal

import "errors"

var errPGLZ = errors.New("pglz data are corrupt")

// pglzDecompress fills dst exactly from all of src. The format is a control
// byte, whose bits from the lowest say of each of the next eight items whether
// it is a literal byte (0) or a reference (1):
//
//	oooo llll | oooooooo [| extra]   offset 12 bits back, length l+3, l=15: +extra
//
// References may overlap what they produce. PostgreSQL clips a reference that
// runs over the end; its compressor never writes one, so here it is corrupt.
//
// Source: common/pg_lzcompress.c, pglz_decompress with check_complete.
func pglzDecompress(dst, src []byte) error {
	d, s := 0, 0
	for s < len(src) && d < len(dst) {
		control := src[s]
		s++
		for bit := 0; bit < 8 && s < len(src) && d < len(dst); bit++ {
			if control>>bit&1 == 0 {
				dst[d] = src[s]
				d++
				s++
				continue
			}
			offset, length, next := pglzReference(src, s)
			if offset == 0 || offset > d || length > len(dst)-d {
				return errPGLZ
			}
			pglzCopy(dst, d, offset, length)
			d += length
			s = next
		}
	}
	if d != len(dst) || s != len(src) {
		return errPGLZ
	}
	return nil
}

// pglzReference reads the reference at s; offset 0 means it is cut off.
func pglzReference(src []byte, s int) (offset, length, next int) {
	if len(src)-s < 2 {
		return 0, 0, s
	}
	offset = int(src[s]&0xF0)<<4 | int(src[s+1])
	length = int(src[s]&0x0F) + 3
	s += 2
	if length == 18 {
		if s >= len(src) {
			return 0, 0, s
		}
		length += int(src[s])
		s++
	}
	return offset, length, s
}

// pglzCopy repeats length bytes from offset back at d; the caller has checked
// that source and target lie within dst.
func pglzCopy(dst []byte, d, offset, length int) {
	if offset >= length {
		copy(dst[d:d+length], dst[d-offset:])
		return
	}
	for i := d; i < d+length; i++ {
		dst[i] = dst[i-offset]
	}
}
