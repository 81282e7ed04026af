package names

import (
	"strings"
	"testing"

	"redoubt/internal/pg"
)

func TestNamesStayWhereTheyBelong(t *testing.T) {
	for _, good := range []ID{{"prod", "main"}, {"9f8e7d6c5b4a39281706f5e4d3c2b1a0", "0"}, {"a.b-c_d", strings.Repeat("x", 64)}} {
		if err := good.Valid(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "a\x00", "a\nb", ".hidden", strings.Repeat("x", 65), "ä", "a b", `a\b`} {
		if (ID{bad, "main"}).Valid() == nil || (ID{"prod", bad}).Valid() == nil {
			t.Errorf("%q is taken", bad)
		}
		if _, err := Parse(bad, pg.DefaultSegmentSize); err == nil {
			t.Errorf("%q is taken for a file", bad)
		}
	}
	for _, bad := range []string{"../000000010000000000000001", "000000010000000000000001/", "000000010000000000000001.gz", "000000010000000000000100"} {
		if _, err := Parse(bad, pg.DefaultSegmentSize); err == nil {
			t.Errorf("%q is taken for a file", bad)
		}
	}
}

func TestSegment(t *testing.T) {
	s := Segment{TLI: 2, No: 3}
	if s.Name(1<<20) != "000000020000000000000003" || s.Range(1<<20) != (pg.Range{From: 3 << 20, To: 4 << 20}) {
		t.Errorf("%s %s", s.Name(1<<20), s.Range(1<<20))
	}
}
