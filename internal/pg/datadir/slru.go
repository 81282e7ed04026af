package datadir

import (
	"fmt"
	"strconv"
	"strings"

	"redoubt/internal/pg"
)

// SLRUSegmentSize is the size of a full SLRU segment in bytes.
const SLRUSegmentSize = pg.SLRUPagesPerSegment * pg.BlockSize

// maxSLRUSegment is the highest segment number of the short names (SlruFileName, access/transam/slru.c).
const maxSLRUSegment = 1<<24 - 1

// ParseSLRUPath reads the path of an SLRU segment: the SLRU's directory and
// four to six upper-case hexadecimal digits without leading zeros beyond the
// fourth digit (SlruFileName, access/transam/slru.c). The names of 15 digits
// that came with 17 are those of pg_notify and pg_serial only, which are not
// durable; the SLRUs here have short names in all of 14 to 18. first is the
// number of the segment's first page.
func ParseSLRUPath(path string) (s pg.SLRU, first uint32, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return 0, 0, false
	}
	dir, name := path[:i], path[i+1:]
	for s = range pg.SLRU(pg.NumSLRUs) {
		if s.String() == dir {
			n, ok := parseSLRUName(name)
			return s, n * pg.SLRUPagesPerSegment, ok
		}
	}
	return 0, 0, false
}

// SLRUPath is the path of the segment that holds a page.
func SLRUPath(p pg.SLRUPage) string {
	return fmt.Sprintf("%s/%04X", p.SLRU, p.Page/pg.SLRUPagesPerSegment)
}

func parseSLRUName(name string) (uint32, bool) {
	if len(name) < 4 || len(name) > 6 || len(name) > 4 && name[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(name, 16, 32)
	return uint32(n), err == nil && n <= maxSLRUSegment
}
