package wal

import "redoubt/internal/pg"

// RecordEnd is where a record of length bytes (xl_tot_len) that starts at start
// ends, headers of the pages that it crosses included.
func RecordEnd(start pg.LSN, length uint32, segmentSize int64) pg.LSN {
	left := uint64(length)
	for room := PageSize - uint64(start)%PageSize; left > room; room = PageSize - uint64(start)%PageSize {
		left -= room
		start = NextRecord(start+pg.LSN(room), segmentSize)
	}
	return start + pg.LSN(maxAlign(left))
}

// CheckPointLength is xl_tot_len of a checkpoint record, in all majors: its
// header, two bytes that say how much data there is, and struct CheckPoint.
const CheckPointLength = 24 + 2 + 88

// NextRecord is where the record behind one that ends at end starts: there, or
// behind the header of the page that begins there.
func NextRecord(end pg.LSN, segmentSize int64) pg.LSN {
	switch {
	case end%PageSize != 0:
		return end
	case uint64(end)%uint64(segmentSize) == 0:
		return end + LongHeaderSize
	}
	return end + ShortHeaderSize
}
