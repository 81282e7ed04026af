package pg

import (
	"fmt"
	"strconv"
)

// SegmentNo is the number of a WAL segment: LSN / segment size.
type SegmentNo uint64

// Legal segment sizes are powers of two in this range (IsValidWalSegSize).
const (
	MinSegmentSize     = 1 << 20
	MaxSegmentSize     = 1 << 30
	DefaultSegmentSize = 16 << 20
)

// ValidSegmentSize reports whether n is a legal WAL segment size in bytes.
func ValidSegmentSize(n int64) bool {
	return n >= MinSegmentSize && n <= MaxSegmentSize && n&(n-1) == 0
}

// SegmentOf is the number of the segment that holds l.
func SegmentOf(l LSN, segmentSize int64) SegmentNo { return SegmentNo(uint64(l) / uint64(segmentSize)) }

// Start is the LSN of the segment's first byte.
func (n SegmentNo) Start(segmentSize int64) LSN { return LSN(uint64(n) * uint64(segmentSize)) }

// SegmentName is a segment's file name of 24 hexadecimal digits (XLogFileName, xlog_internal.h).
func SegmentName(tli TLI, n SegmentNo, segmentSize int64) string {
	per := uint64(1<<32) / uint64(segmentSize)
	return fmt.Sprintf("%08X%08X%08X", uint32(tli), uint32(uint64(n)/per), uint32(uint64(n)%per))
}

// ParseSegmentName is the inverse of SegmentName. A name that no cluster with
// that segment size can have (its last part too large) is an error, as are
// lower-case digits and suffixes.
func ParseSegmentName(s string, segmentSize int64) (TLI, SegmentNo, error) {
	if !IsSegmentName(s) {
		return 0, 0, fmt.Errorf("parse WAL segment name %q: want 24 upper-case hexadecimal digits", s)
	}
	if !ValidSegmentSize(segmentSize) {
		return 0, 0, fmt.Errorf("parse WAL segment name %q: segment size %d is not a power of two between 1 MiB and 1 GiB", s, segmentSize)
	}
	tli, _ := strconv.ParseUint(s[:8], 16, 32)
	log, _ := strconv.ParseUint(s[8:16], 16, 32)
	seg, _ := strconv.ParseUint(s[16:], 16, 32)
	per := uint64(1<<32) / uint64(segmentSize)
	if seg >= per {
		return 0, 0, fmt.Errorf("parse WAL segment name %q: with segments of %d bytes its last part is below %08X", s, segmentSize, per)
	}
	return TLI(tli), SegmentNo(log*per + seg), nil
}

// IsSegmentName reports whether s has the form of a segment's name.
func IsSegmentName(s string) bool {
	if len(s) != 24 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
