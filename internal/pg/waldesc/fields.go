package waldesc

import (
	"encoding/binary"
	"strconv"
	"time"

	"redoubt/internal/pg"
)

// fields are the bytes that fields are read from.
type fields []byte

// has says whether n bytes are there at an offset.
func (f fields) has(at, n int) bool { return at >= 0 && n >= 0 && at <= len(f) && n <= len(f)-at }

// uint reads a number of 1, 2, 4 or 8 bytes.
func (f fields) uint(at, size int) (uint64, bool) {
	if !f.has(at, size) {
		return 0, false
	}
	switch b := f[at:]; size {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.LittleEndian.Uint16(b)), true
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), true
	default:
		return binary.LittleEndian.Uint64(b), true
	}
}

// u8, u32 and u64 are 0 where there is nothing.
func (f fields) u8(at int) uint8   { v, _ := f.uint(at, 1); return uint8(v) }
func (f fields) u32(at int) uint32 { v, _ := f.uint(at, 4); return uint32(v) }
func (f fields) u64(at int) uint64 { v, _ := f.uint(at, 8); return v }

// from is what begins at an offset.
func (f fields) from(at int) fields {
	if !f.has(at, 0) {
		return nil
	}
	return f[at:]
}

// items is n, or as many items of size bytes as there are from at on.
func (f fields) items(n uint32, at, size int) int {
	return int(min(uint64(n), uint64(len(f.from(at))/size)))
}

// num appends a number.
func (d *desc) num(v uint64) { d.dst = strconv.AppendUint(d.dst, v, 10) }

// hex appends a number in hexadecimal, in capitals, of at least so many digits.
func (d *desc) hex(v uint64, digits int) {
	const hex = "0123456789ABCDEF"
	for n := 16; n > 0; n-- {
		if n <= digits || v>>(4*(n-1)) != 0 {
			d.dst = append(d.dst, hex[v>>(4*(n-1))&15])
		}
	}
}

func (d *desc) lsn(l uint64) {
	d.hex(l>>32, 1)
	d.text("/")
	d.hex(l&(1<<32-1), 1)
}

// time appends a TimestampTz: microseconds since 2000
// (bin/pg_waldump/compat.c, timestamptz_to_str).
func (d *desc) time(v uint64) {
	const second = int64(time.Second / time.Microsecond)
	epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	t := time.Unix(epoch+int64(v)/second, 0).In(d.loc)
	d.dst = t.AppendFormat(d.dst, "2006-01-02 15:04:05.")
	micros := strconv.FormatInt(int64(v)%second, 10)
	for range 6 - len(micros) {
		d.text("0")
	}
	d.text(micros)
	zone, _ := t.Zone()
	d.text(" " + zone)
}

// rel appends a relation as tablespace/database/number.
func (d *desc) rel(r pg.RelFileLocator) {
	d.num(uint64(r.Spc))
	d.text("/")
	d.num(uint64(r.DB))
	d.text("/")
	d.num(uint64(r.Rel))
}

// locator reads a RelFileNode.
func (f fields) locator(at int) pg.RelFileLocator {
	return pg.RelFileLocator{Spc: pg.OID(f.u32(at)), DB: pg.OID(f.u32(at + 4)), Rel: pg.OID(f.u32(at + 8))}
}

// cString reads up to a zero byte, or to the end.
func (f fields) cString(at int) string {
	b := f.from(at)
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
