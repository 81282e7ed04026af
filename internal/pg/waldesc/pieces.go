package waldesc

import (
	"math"
	"strconv"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// catalogVersion of PostgreSQL 15 (catalog/catversion.h) is part of the names of
// its directories in tablespaces.
const catalogVersion = 202209061

// field is text and a field of size bytes of the main data, written by write.
func field(text string, at, size int, write func(d *desc, v uint64)) piece {
	return func(d *desc) {
		d.text(text)
		if v, ok := d.uint(at, size); ok {
			write(d, v)
		} else {
			d.text("?")
		}
	}
}

// Fields by type: unsigned numbers of 1, 2 and 4 bytes, a signed one, a byte as
// 0x1F, an LSN, a transaction id with its epoch, a time, a double.
func u1(text string, at int) piece { return field(text, at, 1, (*desc).num) }
func u2(text string, at int) piece { return field(text, at, 2, (*desc).num) }
func u4(text string, at int) piece { return field(text, at, 4, (*desc).num) }

func i1(text string, at int) piece {
	return field(text, at, 1, func(d *desc, v uint64) { d.signed(int64(int8(v))) })
}

func i4(text string, at int) piece {
	return field(text, at, 4, func(d *desc, v uint64) { d.signed(int64(int32(v))) })
}

func x1(text string, at int) piece {
	return field(text+"0x", at, 1, func(d *desc, v uint64) { d.hex(v, 2) })
}

func lsn(text string, at int) piece   { return field(text, at, 8, (*desc).lsn) }
func stamp(text string, at int) piece { return field(text, at, 8, (*desc).time) }

func fullXID(text string, at int) piece {
	return field(text, at, 8, func(d *desc, v uint64) {
		d.num(v >> 32)
		d.text(":")
		d.num(v & math.MaxUint32)
	})
}

func double(text string, at int) piece {
	return field(text, at, 8, func(d *desc, v uint64) {
		d.dst = strconv.AppendFloat(d.dst, math.Float64frombits(v), 'g', 6, 64)
	})
}

// either writes one of two words: for a byte that is not 0, or has one of the bits of mask.
func either(text string, at int, mask uint8, yes, no string) piece {
	return field(text, at, 1, func(d *desc, v uint64) {
		if uint8(v)&mask != 0 {
			d.text(yes)
		} else {
			d.text(no)
		}
	})
}

func letter(text string, at int) piece { return either(text, at, 0xFF, "T", "F") }

// bit is letter for bits of a byte of flags.
func bit(text string, at int, mask uint8) piece { return either(text, at, mask, "T", "F") }

// when writes its text if a byte is not 0.
func when(at int, text string) piece { return either("", at, 0xFF, text, "") }

// say writes text.
func say(text string) piece { return func(d *desc) { d.text(text) } }

// str is a string that ends at a zero byte.
func str(text string, at int) piece {
	return func(d *desc) { d.text(text + d.cString(at)) }
}

// rel is a relation as tablespace/database/number.
func rel(text string, at int) piece {
	return func(d *desc) {
		d.text(text)
		d.rel(d.locator(at))
	}
}

// path is the name of a relation's first file, of the fork whose number is at fork, -1: main.
func path(at, fork int) piece {
	return func(d *desc) { d.path(d.locator(at), pg.ForkNumber(d.u32(fork))) }
}

// path appends the name of a relation's first file (relpathperm).
func (d *desc) path(r pg.RelFileLocator, fork pg.ForkNumber) {
	d.text(datadir.RelPath(pg.RelFork{RelFileLocator: r, Fork: fork}, 0, datadir.VersionDir(major, catalogVersion)))
}

// bits are the names of the bits of a byte, from the lowest up, each with a blank behind it.
func bits(text string, at int, names ...string) piece {
	return field(text, at, 1, func(d *desc, v uint64) {
		for i, name := range names {
			if v>>i&1 != 0 {
				d.text(name + " ")
			}
		}
	})
}

// infobits are what a record says of a tuple's xmax (XLHL_*, access/heapam_xlog.h).
func infobits(text string, at int) piece {
	return bits(text, at, "IS_MULTI", "LOCK_ONLY", "EXCL_LOCK", "KEYSHR_LOCK", "KEYS_UPDATED")
}

// blockID is a block number of two halves, the high one first (BlockIdData).
func (f fields) blockID(at int) uint64 {
	hi, _ := f.uint(at, 2)
	lo, _ := f.uint(at+2, 2)
	return hi<<16 | lo
}

func blockID(text string, at int) piece {
	return func(d *desc) {
		d.text(text)
		d.num(d.blockID(at))
	}
}

func (d *desc) signed(v int64) { d.dst = strconv.AppendInt(d.dst, v, 10) }

// numbers appends n numbers of 4 bytes, each after a blank.
func (d *desc) numbers(n uint32, at int) {
	for i := range d.items(n, at, 4) {
		d.text(" ")
		d.num(uint64(d.u32(at + 4*i)))
	}
}
