package datadir

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
)

// ChecksumAlgorithm is how a backup manifest checks a file (common/checksum_helper.h).
type ChecksumAlgorithm uint8

// The algorithms.
const (
	ChecksumNone ChecksumAlgorithm = iota
	ChecksumCRC32C
	ChecksumSHA224
	ChecksumSHA256
	ChecksumSHA384
	ChecksumSHA512
)

var algorithms = [...]struct {
	name string
	size int
	make func() hash.Hash
}{
	{"NONE", 0, nil},
	{"CRC32C", 4, func() hash.Hash { return &crc32c{} }},
	{"SHA224", sha256.Size224, sha256.New224},
	{"SHA256", sha256.Size, sha256.New},
	{"SHA384", sha512.Size384, sha512.New384},
	{"SHA512", sha512.Size, sha512.New},
}

// String is the algorithm's name in manifests.
func (a ChecksumAlgorithm) String() string {
	if int(a) < len(algorithms) {
		return algorithms[a].name
	}
	return "unknown"
}

// New returns a hash whose Sum is what a manifest says in hexadecimal digits; nil for ChecksumNone.
func (a ChecksumAlgorithm) New() hash.Hash {
	if int(a) >= len(algorithms) || algorithms[a].make == nil {
		return nil
	}
	return algorithms[a].make()
}

func parseAlgorithm(name string) (ChecksumAlgorithm, error) {
	for i, a := range algorithms {
		if a.name == name {
			return ChecksumAlgorithm(i), nil
		}
	}
	return 0, fmt.Errorf("checksum algorithm %.32q is unknown", name)
}

// crc32c is CRC-32C with the byte order of PostgreSQL's pg_crc32c in memory:
// that of the machine, which is little-endian here (pg_checksum_final, common/checksum_helper.c).
type crc32c struct{ sum uint32 }

func (h *crc32c) Write(p []byte) (int, error) {
	h.sum = crc32.Update(h.sum, castagnoli, p)
	return len(p), nil
}

func (h *crc32c) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, h.sum) }
func (h *crc32c) Reset()              { h.sum = 0 }
func (h *crc32c) Size() int           { return 4 }
func (h *crc32c) BlockSize() int      { return 1 }
