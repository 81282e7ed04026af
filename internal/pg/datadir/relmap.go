package datadir

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"redoubt/internal/pg"
)

// Layout of pg_filenode.map (RelMapFile, utils/cache/relmapper.c):
//
//	4 magic | 4 number of mappings | slots of 8 (catalog OID, relfilenode) | 4 CRC
//
// with 62 slots and 4 bytes of padding up to 15, and 64 slots from 16 on.
const (
	relMapMagic   = 0x592717
	relMapSize15  = 512
	relMapSlots15 = 62
	relMapSize16  = 524
	relMapSlots16 = 64
)

// RelMapping says where a catalog that has no relfilenode in pg_class is stored.
type RelMapping struct {
	Catalog pg.OID // OID in pg_class
	Rel     pg.OID // relfilenode
}

// ParseRelMap decodes a relation map (pg_filenode.map) of 512 bytes (14, 15)
// or 524 bytes (16 and later). The CRC is checked.
func ParseRelMap(data []byte) ([]RelMapping, error) {
	slots := 0
	switch len(data) {
	case relMapSize15:
		slots = relMapSlots15
	case relMapSize16:
		slots = relMapSlots16
	default:
		return nil, fmt.Errorf("read relation map: it has %d bytes; want %d (up to PostgreSQL 15) or %d", len(data), relMapSize15, relMapSize16)
	}
	if magic := binary.LittleEndian.Uint32(data); magic != relMapMagic {
		return nil, fmt.Errorf("read relation map: its magic is %#x, not %#x: it is damaged", magic, relMapMagic)
	}
	end := 8 + 8*slots
	want, got := binary.LittleEndian.Uint32(data[end:]), crc32.Checksum(data[:end], castagnoli)
	if want != got {
		return nil, fmt.Errorf("read relation map: its CRC is %08X and its content's is %08X: it is damaged", want, got)
	}
	n := binary.LittleEndian.Uint32(data[4:])
	if uint64(n) > uint64(slots) {
		return nil, fmt.Errorf("read relation map: it says it has %d mappings, at most %d fit", n, slots)
	}
	maps := make([]RelMapping, n)
	for i := range maps {
		slot := data[8+8*i:]
		maps[i] = RelMapping{pg.OID(binary.LittleEndian.Uint32(slot)), pg.OID(binary.LittleEndian.Uint32(slot[4:]))}
	}
	return maps, nil
}
