package walfile

import (
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// The example of Neon's source, and its object's size.
const (
	neonExample     = "000000010000000000000002_2_0000000002534868_0000000002534410_sk1.partial"
	neonExampleSize = 0x534868
)

func TestNeonPartial(t *testing.T) {
	p, ok := ParseNeonPartial(neonExample)
	want := NeonPartial{"000000010000000000000002", 2, 0x2534868, 0x2534410, 1}
	if !ok || p != want || p.Usable() != 0x2534410 {
		t.Errorf("%+v, %v", p, ok)
	}
	for _, bad := range []string{
		"", ".partial", "000000010000000000000002.partial", "000000020000000000000002_2_0000000002534868_0000000002534410_sk1.partial",
		strings.Replace(neonExample, "2534868", "253486a", 1), neonExample + ".zst", "x" + neonExample,
		"000000010000000000000002_02_0000000002534868_0000000002534410_sk1.partial", "000000010000000000000002_2_2534868_0000000002534410_sk1.partial",
		"000000010000000000000002_2_0000000002534868_0000000002534410_sk01.partial", "000000010000000000000002_2_0000000002534868_0000000002534410_1.partial",
		"000000010000000000000002_-2_0000000002534868_0000000002534410_sk1.partial", "000000010000000000000002_2_+000000002534868_0000000002534410_sk1.partial",
		"000000010000000000000002_99999999999999999999_0000000002534868_0000000002534410_sk1.partial",
	} {
		if p, ok := ParseNeonPartial(bad); ok {
			t.Errorf("%q is read as %+v", bad, p)
		}
	}
}

func TestParseNeon(t *testing.T) {
	const seg = pg.DefaultSegmentSize
	for _, c := range []struct {
		key  string
		size int64
		kind wal.FileKind
	}{
		{"000000010000000000000002", seg, wal.SegmentFile},
		{neonExample, neonExampleSize, wal.PartialFile},
		{neonExample, neonExampleSize - 1, Unexpected},
		{neonExample, seg, Unexpected},
		{strings.Replace(neonExample, "02_2", "03_2", 1), neonExampleSize, Unexpected}, // another segment's flush LSN
		{"000000020000000000000002", seg, Unexpected},
		{"000000010000000000000002.zst", seg, Unexpected},
		{"000000010000000000000002.partial", seg, Unexpected},
		{"000000010000000000000100", seg, Unexpected},
		{"00000002.history", 10, Unexpected},
	} {
		e := ParseNeon(c.key, c.size, seg)
		if e.Kind != c.kind || e.Key != c.key || c.kind != Unexpected && (e.Segment != 2 || e.TLI != 1) {
			t.Errorf("%s of %d bytes: %+v", c.key, c.size, e)
		}
	}
}

func TestNeonSegmentSize(t *testing.T) {
	for size := int64(pg.MinSegmentSize); size <= pg.MaxSegmentSize; size *= 2 {
		for _, flush := range []pg.LSN{pg.LSN(size) + 8, pg.LSN(2*size) - 8, 1<<32 + pg.LSN(3*size) + 8192, 5<<32 + pg.LSN(size)} {
			name := pg.SegmentName(1, pg.SegmentOf(flush, size), size)
			p := NeonPartial{Segment: name, Flush: flush}
			stored := int64(uint64(flush) % uint64(size))
			if got := p.SegmentSize(stored); got != size && name[16:] != "00000000" {
				t.Errorf("%s with %d bytes: segments of %d, want %d", p, stored, got, size)
			}
			if got := p.SegmentSize(stored + 8); got != 0 {
				t.Errorf("%s with 8 bytes too much: segments of %d", p, got)
			}
		}
	}
}

func FuzzNeon(f *testing.F) {
	f.Add(neonExample, int64(neonExampleSize), int64(pg.DefaultSegmentSize))
	f.Add("000000010000000000000002", int64(1<<24), int64(1<<24))
	f.Add("000000010000000000000001_0_0000000000000000_FFFFFFFFFFFFFFFF_sk0.partial", int64(0), int64(1<<20))
	f.Fuzz(func(t *testing.T, key string, size, segment int64) {
		if !pg.ValidSegmentSize(segment) {
			return
		}
		p, ok := ParseNeonPartial(key)
		if ok && p.String() != key {
			t.Fatalf("%q became %q", key, p)
		}
		e := ParseNeon(key, size, segment)
		switch {
		case e.Key != key:
			t.Fatal("the key changed")
		case e.Kind == wal.PartialFile && (!ok || e.Segment != pg.SegmentOf(p.Flush, segment)):
			t.Fatalf("%q is segment %d", key, e.Segment)
		case e.Kind == wal.PartialFile && size > 0 && p.SegmentSize(size) != 0 && p.SegmentSize(size) != segment:
			t.Fatalf("%q of %d bytes: segments of %d, want %d", key, size, p.SegmentSize(size), segment)
		}
	})
}
