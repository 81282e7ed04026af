package datadir

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"redoubt/internal/pg"
)

func TestEncodeManifest(t *testing.T) {
	for _, version := range []int{1, 2} {
		want := &Manifest{
			Version: version,
			Files: map[string]ManifestFile{
				"base/1/2": {Size: 8192, Algorithm: ChecksumCRC32C, Checksum: "\x01\x02\x03\x04"},
				"\xff/a":   {},
				`a"b`:      {Size: 3, Algorithm: ChecksumSHA256, Checksum: string(make([]byte, 32))},
			},
			WAL: []WALRange{{2, pg.Range{From: 0x3000000, To: 0x3000100}}, {1, pg.Range{From: 0x2000028, To: 0x3000000}}},
		}
		if version == 2 {
			want.SystemIdentifier = 1<<64 - 1
		}
		b, err := want.Encode(time.Unix(1767323045, 0))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseManifest(b)
		if err != nil {
			t.Fatalf("%v in\n%s", err, b)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("version %d: %s", version, d)
		}
	}
	none, err := (&Manifest{Version: 1}).Encode(time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseManifest(none); err != nil {
		t.Errorf("a manifest of nothing: %v", err)
	}
	if ManifestVersion(16) != 1 || ManifestVersion(17) != 2 {
		t.Error("versions")
	}
}
