package datadir

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"redoubt/internal/pg"
)

// Layout of pg_logical/replorigin_checkpoint (replication/logical/origin.c):
//
//	4 magic | entries of 16: 2 origin, 6 padding, 8 remote LSN | 4 CRC-32C
const (
	originsMagic = 0x1257DADE // REPLICATION_STATE_MAGIC
	originEntry  = 16         // sizeof(ReplicationStateOnDisk)
)

// ParseOrigins decodes how far each replication origin got. The CRC is checked.
//
// Source: replication/logical/origin.c, StartupReplicationOrigin.
func ParseOrigins(content []byte) (map[uint16]pg.LSN, error) {
	n := len(content) - 8
	if n < 0 || n%originEntry != 0 {
		return nil, fmt.Errorf("read %s: it has %d bytes: it is cut", OriginsPath, len(content))
	}
	if magic := binary.LittleEndian.Uint32(content); magic != originsMagic {
		return nil, fmt.Errorf("read %s: its magic is %#x, not %#x: it is damaged", OriginsPath, magic, originsMagic)
	}
	want, got := binary.LittleEndian.Uint32(content[4+n:]), crc32.Checksum(content[:4+n], castagnoli)
	if want != got {
		return nil, fmt.Errorf("read %s: its CRC is %08X and its content's is %08X: it is damaged", OriginsPath, want, got)
	}
	out := make(map[uint16]pg.LSN, n/originEntry)
	for e := content[4 : 4+n]; len(e) > 0; e = e[originEntry:] {
		out[binary.LittleEndian.Uint16(e)] = pg.LSN(binary.LittleEndian.Uint64(e[8:]))
	}
	return out, nil
}

// EncodeOrigins is the inverse of ParseOrigins, sorted by origin.
func EncodeOrigins(origins map[uint16]pg.LSN) []byte {
	out := binary.LittleEndian.AppendUint32(nil, originsMagic)
	for _, id := range slices.Sorted(maps.Keys(origins)) {
		out = binary.LittleEndian.AppendUint64(out, uint64(id))
		out = binary.LittleEndian.AppendUint64(out, uint64(origins[id]))
	}
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}
