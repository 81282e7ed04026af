package walfile

import (
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

func TestParse(t *testing.T) {
	for key, want := range map[string]struct {
		kind wal.FileKind
		name string
		comp Compression
	}{
		"000000010000000000000002":                     {wal.SegmentFile, "000000010000000000000002", None},
		"000000010000000000000002.zst":                 {wal.SegmentFile, "000000010000000000000002", Zstd},
		"000000010000000000000002.partial.gz":          {wal.PartialFile, "000000010000000000000002.partial", Gzip},
		"000000010000000000000002.00000028.backup.bz2": {wal.BackupHistoryFile, "000000010000000000000002.00000028.backup", Bzip2},
		"00000002.history.lz4":                         {wal.HistoryFile, "00000002.history", LZ4},
		"000000010000000000000002.gz.gz":               {Unexpected, "000000010000000000000002.gz.gz", None},
		"000000010000000000000002.zst.partial":         {Unexpected, "000000010000000000000002.zst.partial", None},
		"00000001000000000000000g":                     {Unexpected, "00000001000000000000000g", None},
		"000000010000000000000100":                     {Unexpected, "000000010000000000000100", None},
		"archive_status/":                              {Unexpected, "archive_status/", None},
		".xz":                                          {Unexpected, ".xz", None},
		"":                                             {Unexpected, "", None},
	} {
		e := Parse(key, pg.DefaultSegmentSize)
		if e.Kind != want.kind || e.Name() != want.name || e.Compression != want.comp || e.Key != key {
			t.Errorf("Parse(%q) = %+v, named %q", key, e, e.Name())
		}
	}
	if Gzip.String() != "gz" || None.String() != "none" || Compression(99).Suffix() == "" {
		t.Error("names of compressions")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"000000010000000000000002.zst", "00000002.history.gz", "0.partial", ".xz", "000000010000000000000002.00000028.backup"} {
		f.Add(s, int64(pg.DefaultSegmentSize))
	}
	f.Fuzz(func(t *testing.T, key string, size int64) {
		e := Parse(key, size)
		if e.Key != key {
			t.Fatal("the key changed")
		}
		if e.Kind == Unexpected {
			return
		}
		if e.Name()+e.Compression.Suffix() != key || strings.Contains(key, "/") {
			t.Errorf("%q became %q and %s", key, e.Name(), e.Compression)
		}
		if e.Kind == wal.SegmentFile && pg.SegmentName(e.TLI, e.Segment, size) != SegmentPart(key) {
			t.Errorf("%q is segment %d of TLI %d", key, e.Segment, e.TLI)
		}
	})
}
