package mask_test

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// tolerance is the rules once more, written as a map instead of a rewriting:
// which single bits of a page may flip. It is the tests' oracle, reads raw
// bytes, and shares no code with the package.
type tolerance [pg.BlockSize]byte

func (t *tolerance) bytes(from, to int) {
	for i := from; i < to; i++ {
		t[i] = 0xFF
	}
}

func (t *tolerance) bits16(at int, mask uint16) {
	t[at] |= byte(mask)
	t[at+1] |= byte(mask >> 8)
}

// pointers lets pd_lower and pd_upper differ as far as they stay in order.
func (t *tolerance) pointers(lower, upper, special int) {
	for bit := range 16 {
		if l := lower ^ 1<<bit; l >= 24 && l <= upper {
			t.bits16(12, 1<<bit)
		}
		if u := upper ^ 1<<bit; u >= lower && u <= special {
			t.bits16(14, 1<<bit)
		}
	}
}

func (t *tolerance) has(bit int) bool { return t[bit/8]&(1<<(bit%8)) != 0 }

func (t *tolerance) count() (n int) {
	for bit := range pg.BlockSize * 8 {
		if t.has(bit) {
			n++
		}
	}
	return n
}

func u16(p []byte, at int) int { return int(binary.LittleEndian.Uint16(p[at:])) }

func lpAt(p []byte, n int) (off, flags, length int) {
	v := binary.LittleEndian.Uint32(p[24+4*(n-1):])
	return int(v & 0x7FFF), int(v >> 15 & 3), int(v >> 17)
}

// tolerated lists the bits that the rules name, for pages of any content.
func tolerated(p []byte, kind page.Kind) *tolerance {
	t := &tolerance{}
	t.bytes(8, 10)
	lower, upper, special := u16(p, 12), u16(p, 14), u16(p, 16)
	if u16(p, 10) > 7 || lower < 24 || lower > upper || upper > special || special > 8192 || special%8 != 0 || u16(p, 18) != 0x2004 {
		return t
	}
	items := (lower - 24) / 4
	revive := func() {
		for n := 1; n <= items; n++ {
			if _, flags, length := lpAt(p, n); length > 0 && (flags == 1 || flags == 3) {
				t[24+4*(n-1)+2] |= 1 // bit 16: NORMAL is 01, DEAD is 11
			}
		}
	}
	switch kind {
	case page.KindHeap:
		if special == 8192 {
			tolerateHeap(t, p, items)
		}
	case page.KindSequence:
		t.bytes(lower, upper)
	case page.KindBtree:
		if special != 8176 {
			break
		}
		t.bytes(lower, upper)
		if f := u16(p, 8188); f&1 != 0 && f&(4|8) == 0 {
			revive()
		}
		t.bits16(8188, 0x20|0x40)
		t.bytes(8190, 8192)
	case page.KindHash:
		if special != 8176 {
			break
		}
		t.bytes(lower, upper)
		if f := u16(p, 8188); f&15 == 1 || f&15 == 2 {
			revive()
			t.bits16(8188, 0x80)
		} else if f&15 == 0 {
			t.bytes(24, 8188)
			t.pointers(lower, upper, special)
		}
	case page.KindGist:
		if special != 8176 {
			break
		}
		t.bytes(lower, upper)
		if f := u16(p, 8188); f&1 != 0 && f&2 == 0 {
			revive()
		}
		t.bits16(8188, 0x10|0x04)
	case page.KindGin:
		if special == 8184 && u16(p, 8190)&4 != 0 {
			t.bytes(24, 8190)
			t.pointers(lower, upper, special)
		} else if special == 8184 && lower > 24 {
			t.bytes(lower, upper)
		}
	case page.KindSPGist:
		if special == 8184 && u16(p, 8184)&1 == 0 {
			t.bytes(lower, upper)
		} else if special == 8184 && (lower == 24 || lower == 92) && upper >= 92 {
			t.bytes(28, upper)
		}
	case page.KindBRIN:
		if special != 8184 {
			break
		}
		if typ := u16(p, 8190); typ == 0xF093 || typ == 0xF091 && lower > 24 {
			t.bytes(lower, upper)
		}
		t.bits16(8188, 1)
	}
	return t
}

func tolerateHeap(t *tolerance, p []byte, items int) {
	lower, upper := u16(p, 12), u16(p, 14)
	var owner [8192]bool
	for n := 1; n <= items; n++ {
		off, flags, length := lpAt(p, n)
		if length == 0 {
			continue
		}
		end := (off + length + 7) / 8 * 8
		if off%8 != 0 || off < upper || end > 8192 || flags == 1 && length < 23 {
			return
		}
		for i := off; i < end; i++ {
			if owner[i] {
				return
			}
			owner[i] = true
		}
	}
	t.bits16(10, 1|2)
	t.bytes(20, 24)
	t.bytes(lower, upper)
	for n := 1; n <= items; n++ {
		if off, flags, length := lpAt(p, n); flags == 1 && length > 0 {
			t.bytes(off+length, (off+length+7)/8*8)
			tolerateTuple(t, p, off)
		}
	}
}

func tolerateTuple(t *tolerance, p []byte, off int) {
	mask := u16(p, off+20)
	if mask&0xC000 == 0 {
		t.bytes(off+8, off+12)
	}
	t.bits16(off+20, 0x0020|0x0400|0x0800)
	spec := u16(p, off+16) == 0xFFFE && binary.LittleEndian.Uint32(p[off+4:]) == 0 && mask&0x0100 == 0
	if spec {
		t.bytes(off+12, off+16)
	}
	// A bit of xmin's two may flip if that neither makes nor unmakes "frozen".
	if mask&0x0200 == 0 && !spec {
		t.bits16(off+20, 0x0100)
	}
	if mask&0x0100 == 0 {
		t.bits16(off+20, 0x0200)
	}
}
