package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// HidePath empties the path in a record that makes a tablespace, whose bytes
// (without the headers of pages) are given, and sets the record's CRC anew; path
// is where in them the path begins. It is the primary's, and absolute: a server
// that redoes the record enters it, and on the primary's own host that would be
// production's directory. With an empty path the server makes a directory within
// its own (an in-place tablespace, create_tablespace_directories,
// commands/tablespace.c). No page depends on it.
//
// Changed are the byte at path and those of the header's last field, xl_crc.
func HidePath(rec []byte, path int) error {
	if path < recordHeaderSize || path >= len(rec) {
		return fmt.Errorf("no path in %d bytes", len(rec))
	}
	crc := rec[crcOffset:recordHeaderSize]
	if binary.LittleEndian.Uint32(crc) != recordCRC(rec) {
		return errors.New("its CRC does not fit")
	}
	rec[path] = 0
	binary.LittleEndian.PutUint32(crc, recordCRC(rec))
	return nil
}

// recordCRC is the CRC of a record: over what follows its header, then the header before xl_crc.
func recordCRC(raw []byte) uint32 {
	return crc32.Update(crc32.Checksum(raw[recordHeaderSize:], castagnoli), castagnoli, raw[:crcOffset])
}
