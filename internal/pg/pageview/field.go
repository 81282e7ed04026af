package pageview

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// Field is a named part of a page.
type Field struct {
	Name     string // as PostgreSQL's source has it: pd_lsn, t_xmin, btpo_next
	Value    string
	From, To int // the bytes of the page, half open
}

// spec says where a field lies, counted from the start of what it is part of,
// and how its value is written; size is 1, 2, 4, 6 or 8 bytes.
type spec struct {
	name     string
	at, size int
	form     func(v uint64) string
}

// fields reads a table of fields that starts at byte base and ends before
// byte end; those that do not fit are left out.
func fields(p page.Page, base, end int, table []spec) []Field {
	var out []Field
	for _, s := range table {
		from, to := base+s.at, base+s.at+s.size
		if base < 0 || to > end || to > len(p) {
			continue
		}
		out = append(out, Field{s.name, s.form(number(p[from:to])), from, to})
	}
	return out
}

// number reads little-endian bytes, at most 8.
func number(b []byte) uint64 {
	var buf [8]byte
	copy(buf[:], b)
	return binary.LittleEndian.Uint64(buf[:])
}

func decimal(v uint64) string { return strconv.FormatUint(v, 10) }
func hex16(v uint64) string   { return fmt.Sprintf("0x%04x", v) }
func hex32(v uint64) string   { return fmt.Sprintf("0x%08x", v) }

// lsn reads PageXLogRecPtr: the high half first.
func lsn(v uint64) string { return pg.LSN(v<<32 | v>>32).String() }

// block is a block number; InvalidBlockNumber is none.
func block(v uint64) string {
	if pg.BlockNumber(v) == pg.InvalidBlock {
		return "none"
	}
	return decimal(v)
}

// sibling is a block number of which 0 means that there is none (P_NONE).
func sibling(v uint64) string {
	if v == 0 {
		return "none"
	}
	return block(v)
}

// tid is an ItemPointerData: the block's high half, its low half, the offset number.
func tid(v uint64) string {
	return fmt.Sprintf("(%d,%d)", v&0xFFFF<<16|v>>16&0xFFFF, v>>32)
}

func boolean(v uint64) string {
	if v == 0 {
		return "no"
	}
	return "yes"
}

// flag is a bit, or a few, and its name.
type flag struct {
	bits uint64
	name string
}

// flags writes a flag word by names, what has none in hexadecimal, and "none"
// if no bit is set. The first name whose bits are all set takes them.
func flags(names []flag) func(uint64) string {
	return func(v uint64) string {
		var parts []string
		for _, f := range names {
			if v&f.bits == f.bits {
				parts = append(parts, f.name)
				v &^= f.bits
			}
		}
		if v != 0 {
			parts = append(parts, fmt.Sprintf("0x%x", v))
		}
		if len(parts) == 0 {
			return "none"
		}
		return strings.Join(parts, ", ")
	}
}
