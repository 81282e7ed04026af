package walfile

import (
	"fmt"
	"strconv"
	"strings"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// NeonPartial is the name of a segment that a safekeeper of Neon had not
// filled when it stored it:
//
//	000000010000000000000002_2_0000000002534868_0000000002534410_sk1.partial
//
// Source: safekeeper/src/wal_backup_partial.rs of Neon.
type NeonPartial struct {
	Segment    string // PostgreSQL's name
	Term       uint64 // of the last record
	Flush      pg.LSN // up to where this safekeeper had it on disk: the object ends there
	Commit     pg.LSN // up to where it was certain; WAL behind may have been replaced since
	Safekeeper uint64
}

// ParseNeonPartial reads a name, in exactly the form in which it is written.
func ParseNeonPartial(key string) (p NeonPartial, ok bool) {
	body, ok := strings.CutSuffix(key, ".partial")
	parts := strings.Split(body, "_")
	if !ok || len(parts) != 5 || !pg.IsSegmentName(parts[0]) || parts[0][:8] != "00000001" {
		return NeonPartial{}, false
	}
	id, isID := strings.CutPrefix(parts[4], "sk")
	if !isID || len(parts[2]) != 16 || len(parts[3]) != 16 {
		return NeonPartial{}, false
	}
	term, err1 := strconv.ParseUint(parts[1], 10, 64)
	flush, err2 := strconv.ParseUint(parts[2], 16, 64)
	commit, err3 := strconv.ParseUint(parts[3], 16, 64)
	sk, err4 := strconv.ParseUint(id, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return NeonPartial{}, false
	}
	p = NeonPartial{parts[0], term, pg.LSN(flush), pg.LSN(commit), sk}
	return p, p.String() == key
}

func (p NeonPartial) String() string {
	return fmt.Sprintf("%s_%d_%016X_%016X_sk%d.partial", p.Segment, p.Term, uint64(p.Flush), uint64(p.Commit), p.Safekeeper)
}

// Usable is up to where its WAL may be used: what is behind was not committed.
func (p NeonPartial) Usable() pg.LSN { return min(p.Flush, p.Commit) }

// SegmentSize is the size of the segments, told by a partial one's name and
// its own size: they end at the same LSN. 0 where they don't tell, as those of
// the first segment of 4 GiB, or where they contradict each other.
func (p NeonPartial) SegmentSize(size int64) int64 {
	log, err1 := strconv.ParseUint(p.Segment[8:16], 16, 32)
	seg, err2 := strconv.ParseUint(p.Segment[16:], 16, 32)
	end := uint64(uint32(p.Flush))
	if err1 != nil || err2 != nil || log != uint64(p.Flush)>>32 || seg == 0 || size < 0 || end < uint64(size) {
		return 0
	}
	n := (end - uint64(size)) / seg
	if !pg.ValidSegmentSize(int64(n)) || n*seg+uint64(size) != end || uint64(size) >= n {
		return 0
	}
	return int64(n)
}

// ParseNeon makes out what a key of a safekeeper's names: segments of TLI 1,
// not compressed, and partial ones of size bytes, which must end where their
// name says. Anything else is Unexpected.
func ParseNeon(key string, size, segmentSize int64) Entry {
	e := Entry{Key: key}
	name, kind := key, wal.SegmentFile
	if p, ok := ParseNeonPartial(key); ok {
		if int64(uint64(p.Flush)%uint64(segmentSize)) != size {
			return e
		}
		name, kind = p.Segment, wal.PartialFile
		if pg.SegmentName(1, pg.SegmentOf(p.Flush, segmentSize), segmentSize) != name {
			return e
		}
	}
	tli, n, err := pg.ParseSegmentName(name, segmentSize)
	if err != nil || tli != 1 {
		return e
	}
	e.FileName = wal.FileName{Kind: kind, TLI: tli, Segment: n}
	return e
}
