package pgtest

import (
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// NeonSegment is real WAL of Neon's PostgreSQL 15: a segment, unpacked, and the
// directory it is from, which $REDOUBT_NEON_DATA names and which has
// initdb.tar.zst, too. The test is skipped, loudly, where it is not.
func NeonSegment(t T) (dir string, segment []byte) {
	t.Helper()
	dir = os.Getenv("REDOUBT_NEON_DATA")
	if dir == "" {
		t.Skipf("SKIPPED, DATA: REDOUBT_NEON_DATA names no directory with a WAL segment of Neon, which is not in the repository")
	}
	packed, err := os.ReadFile(filepath.Join(dir, NeonSegmentName+".zst"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer d.Close()
	if segment, err = d.DecodeAll(packed, nil); err != nil {
		t.Fatalf("%v", err)
	}
	return dir, segment
}

// NeonSegmentName is the segment's.
const NeonSegmentName = "000000010000000000000001"
