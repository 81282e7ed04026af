package datadir

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"redoubt/internal/pg"
)

// TwoPhasePath is the path of the state file of a prepared transaction:
// pg_twophase and its id in eight hexadecimal digits, or since 17 in sixteen,
// the epoch first. nextXID is the next full transaction id, not before which
// the epoch is one less.
//
// Source: access/transam/twophase.c, TwoPhaseFilePath and AdjustToFullTransactionId.
func TwoPhasePath(major int, xid pg.XID, nextXID uint64) string {
	if major < 17 {
		return fmt.Sprintf("pg_twophase/%08X", uint32(xid))
	}
	epoch := uint32(nextXID >> 32)
	if uint32(xid) > uint32(nextXID) {
		epoch--
	}
	return fmt.Sprintf("pg_twophase/%08X%08X", epoch, uint32(xid))
}

// TwoPhaseFileContent is the content of a state file: the main data of the
// PREPARE record and its CRC-32C.
//
// Source: access/transam/twophase.c, RecreateTwoPhaseFile.
func TwoPhaseFileContent(state []byte) []byte {
	out := append(make([]byte, 0, len(state)+4), state...)
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(state, castagnoli))
}

// ParseTwoPhaseFile is the inverse of TwoPhaseFileContent; the CRC is checked.
// The result aliases content.
func ParseTwoPhaseFile(content []byte) (state []byte, err error) {
	n := len(content) - 4
	if n < 0 {
		return nil, fmt.Errorf("read state of a prepared transaction: it has %d bytes: it is cut", len(content))
	}
	want, got := binary.LittleEndian.Uint32(content[n:]), crc32.Checksum(content[:n], castagnoli)
	if want != got {
		return nil, fmt.Errorf("read state of a prepared transaction: its CRC is %08X and its content's is %08X: it is damaged", want, got)
	}
	return content[:n], nil
}
