package pg

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

func TestParseLSN(t *testing.T) {
	for in, want := range map[string]LSN{
		"0/0": 0, "0/1": 1, "16/B374D848": 0x16B374D848, "ffffffff/FFFFFFFF": ^LSN(0), "00000001/00000002": 0x100000002,
	} {
		got, err := ParseLSN(in)
		if err != nil || got != want {
			t.Errorf("ParseLSN(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "/", "0", "0/", "/0", "0/1 junk", " 0/1", "0/1 ", "FFFFFFFFF/0", "0/000000001", "+1/0", "-1/0", "0x1/0", "0/0/0", "g/0", "0_1/0",
	} {
		if got, err := ParseLSN(in); err == nil {
			t.Errorf("ParseLSN(%q) = %s, want an error", in, got)
		}
	}
}

func TestLSNText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := LSN(rapid.Uint64().Draw(t, "lsn"))
		got, err := ParseLSN(l.String())
		if err != nil || got != l {
			t.Fatalf("ParseLSN(%q) = %s, %v", l.String(), got, err)
		}
		b, err := json.Marshal(Range{From: l, To: l})
		if err != nil {
			t.Fatal(err)
		}
		var r Range
		if err := json.Unmarshal(b, &r); err != nil || r.From != l || r.To != l {
			t.Fatalf("%s gave %v, %v", b, r, err)
		}
	})
	var l LSN
	if err := json.Unmarshal([]byte(`"0/1 "`), &l); err == nil {
		t.Error("a malformed LSN was read from JSON")
	}
}

func TestRange(t *testing.T) {
	r := Range{From: 10, To: 20}
	if !r.Contains(10) || r.Contains(20) || r.Contains(9) || r.Bytes() != 10 {
		t.Errorf("%v: a range is half open", r)
	}
	if n := (Range{From: 20, To: 10}).Bytes(); n != 0 {
		t.Errorf("a reversed range has %d bytes, want 0", n)
	}
}

func TestSegmentName(t *testing.T) {
	for _, c := range []struct {
		tli  TLI
		no   SegmentNo
		size int64
		want string
	}{
		{1, 1, 16 << 20, "000000010000000000000001"},
		{2, 0x1FF, 16 << 20, "0000000200000001000000FF"},
		{1, 4096, 1 << 20, "000000010000000100000000"},
		{1, 7, 1 << 30, "000000010000000100000003"},
	} {
		if got := SegmentName(c.tli, c.no, c.size); got != c.want {
			t.Errorf("SegmentName(%d, %d, %d) = %s, want %s", c.tli, c.no, c.size, got, c.want)
		}
	}
	for _, bad := range []string{
		"", "00000001000000000000000", "0000000100000000000000010", "00000001000000000000000g", "00000001000000000000000a",
		"000000010000000000000100", // with 16 MiB segments the last part is below 0x100
	} {
		if _, _, err := ParseSegmentName(bad, 16<<20); err == nil {
			t.Errorf("ParseSegmentName(%q) did not fail", bad)
		}
	}
	if _, _, err := ParseSegmentName("000000010000000000000001", 3<<20); err == nil {
		t.Error("a segment size that is no power of two was accepted")
	}
}

func TestSegmentNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := int64(1) << rapid.IntRange(20, 30).Draw(t, "log2")
		tli := TLI(rapid.Uint32().Draw(t, "tli"))
		l := LSN(rapid.Uint64().Draw(t, "lsn"))
		no := SegmentOf(l, size)
		if start := no.Start(size); start > l || l-start >= LSN(size) {
			t.Fatalf("segment %d of %d bytes starts at %s, not around %s", no, size, start, l)
		}
		gotTLI, gotNo, err := ParseSegmentName(SegmentName(tli, no, size), size)
		if err != nil || gotTLI != tli || gotNo != no {
			t.Fatalf("%s gave %d, %d, %v", SegmentName(tli, no, size), gotTLI, gotNo, err)
		}
	})
}

func TestNames(t *testing.T) {
	for f := MainFork; f <= MaxFork; f++ {
		if got, err := ParseFork(f.String()); err != nil || got != f {
			t.Errorf("ParseFork(%q) = %v, %v", f.String(), got, err)
		}
	}
	for i := range 256 {
		r := RmgrID(i)
		got, err := ParseRmgr(r.String())
		if known := r.BuiltIn() || r.Custom(); known != (err == nil) || known && got != r {
			t.Errorf("ParseRmgr(%q) = %v, %v", r.String(), got, err)
		}
	}
	rel := RelFileLocator{1663, 5, 16384}
	if got, err := ParseRelFileLocator(rel.String()); err != nil || got != rel {
		t.Errorf("ParseRelFileLocator(%q) = %v, %v", rel.String(), got, err)
	}
	for _, bad := range []string{"", "1663/5", "1663/5/x", "1663/5/-1", "1663/5/4294967296", "1/2/3/4"} {
		if _, err := ParseRelFileLocator(bad); err == nil {
			t.Errorf("ParseRelFileLocator(%q) did not fail", bad)
		}
	}
	if got := (Block{RelFork{rel, VMFork}, 7}).String(); got != "1663/5/16384_vm block 7" {
		t.Errorf("a block prints as %q", got)
	}
}

func TestCompare(t *testing.T) {
	a := Block{RelFork{RelFileLocator{1, 2, 3}, MainFork}, 4}
	for _, b := range []Block{
		{RelFork{RelFileLocator{2, 0, 0}, MainFork}, 0}, {RelFork{RelFileLocator{1, 3, 0}, MainFork}, 0},
		{RelFork{RelFileLocator{1, 2, 4}, MainFork}, 0}, {RelFork{RelFileLocator{1, 2, 3}, VMFork}, 0},
		{RelFork{RelFileLocator{1, 2, 3}, MainFork}, 5},
	} {
		if a.Compare(b) >= 0 || b.Compare(a) <= 0 {
			t.Errorf("%v does not come before %v", a, b)
		}
	}
	if a.Compare(a) != 0 {
		t.Errorf("%v differs from itself", a)
	}
}
