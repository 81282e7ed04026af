package pg

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the WAL (XLogRecPtr, access/xlogdefs.h).
// Ranges of LSNs are half open: the end is exclusive. Zero is invalid.
type LSN uint64

// InvalidLSN is PostgreSQL's InvalidXLogRecPtr.
const InvalidLSN LSN = 0

// ParseLSN reads the form PostgreSQL prints, "16/B374D848": two hexadecimal
// numbers of one to eight digits. Anything else is an error: signs, spaces,
// prefixes and trailing bytes included.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok || !isHex(hi) || !isHex(lo) {
		return 0, fmt.Errorf("parse LSN %q: want two hexadecimal numbers of at most 8 digits, such as 16/B374D848", s)
	}
	h, _ := strconv.ParseUint(hi, 16, 32) // isHex bounds both to 32 bits
	l, _ := strconv.ParseUint(lo, 16, 32)
	return LSN(h<<32 | l), nil
}

func isHex(s string) bool {
	if len(s) < 1 || len(s) > 8 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// String prints the LSN as PostgreSQL's %X/%X.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// MarshalText makes LSNs strings in JSON.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is ParseLSN.
func (l *LSN) UnmarshalText(b []byte) error {
	v, err := ParseLSN(string(b))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// Range is a half-open range of the WAL: From is in it, To is not.
type Range struct {
	From LSN `json:"from"`
	To   LSN `json:"to"`
}

// Bytes is the length of the range in bytes, 0 when it is empty or reversed.
func (r Range) Bytes() uint64 {
	if r.To <= r.From {
		return 0
	}
	return uint64(r.To - r.From)
}

// Contains reports whether l is in the range.
func (r Range) Contains(l LSN) bool { return l >= r.From && l < r.To }

func (r Range) String() string { return "[" + r.From.String() + ", " + r.To.String() + ")" }
