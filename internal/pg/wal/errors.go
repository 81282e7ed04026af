package wal

import (
	"fmt"

	"redoubt/internal/pg"
)

// EndReason says why a stream of records ended. Only the caller knows whether
// an end is fine (past everything asked for) or a finding.
type EndReason uint8

// The reasons.
const (
	EndZeroPage         EndReason = iota + 1 // the page is all zeros: never written
	EndZeroLength                            // xl_tot_len is 0: nothing was written after the last record
	EndBadPage                               // magic, address, TLI or flags of the page header are wrong
	EndForeignSystem                         // the long header names another system identifier or segment size
	EndBadRecordHeader                       // a record header that no PostgreSQL writes
	EndBadCRC                                // the record's CRC-32C does not fit its bytes
	EndBadPrev                               // xl_prev is not the record before
	EndBadRecordContent                      // CRC right, block references do not add up
	EndTorn                                  // the record goes on where no continuation is
)

var endReasons = [...]string{"", "zero page", "end of written WAL", "invalid page header", "foreign WAL",
	"invalid record header", "record CRC", "broken xl_prev chain", "invalid record", "torn record"}

func (r EndReason) String() string {
	if int(r) < len(endReasons) {
		return endReasons[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// EndError ends a stream of records at LSN.
type EndError struct {
	LSN    pg.LSN // of the record, or of the page if a page is at fault
	Reason EndReason
	Detail string
}

func (e *EndError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s at %s", e.Reason, e.LSN)
	}
	return fmt.Sprintf("%s at %s: %s", e.Reason, e.LSN, e.Detail)
}

// MissingError is what a page source returns where a segment is not there.
type MissingError struct {
	Segment string   // file name of the first missing segment
	Range   pg.Range // its LSNs
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("WAL segment %s %s is missing", e.Segment, e.Range)
}
