package wal

import "redoubt/internal/pg"

// RecordEnd is where a record of length bytes (xl_tot_len) that starts at start
// ends, headers of the pages that it crosses included.
func RecordEnd(start pg.LSN, length uint32, segmentSize int64) pg.LSN {
	left := uint64(length)
	for room := PageSize - uint64(start)%PageSize; left > room; room = PageSize - uint64(start)%PageSize {
		left -= room
		start += pg.LSN(room) + ShortHeaderSize
		if uint64(start-ShortHeaderSize)%uint64(segmentSize) == 0 {
			start += LongHeaderSize - ShortHeaderSize
		}
	}
	return start + pg.LSN(maxAlign(left))
}

// CheckPointLength is xl_tot_len of a checkpoint record, in all majors: its
// header, two bytes that say how much data there is, and struct CheckPoint.
const CheckPointLength = 24 + 2 + 88
