package wal_test

import (
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

func TestParseHistory(t *testing.T) {
	h, err := wal.ParseHistory(5, []byte("1\t0/3000148\tno recovery target specified\n\n# comment\n2\t0/5000000\tbefore 2000-01-01\r\n\n4\t1/0"))
	if err != nil {
		t.Fatal(err)
	}
	var tlis []pg.TLI
	for _, e := range h {
		tlis = append(tlis, e.TLI)
	}
	if !slices.Equal(tlis, []pg.TLI{1, 2, 4, 5}) || h[1].Range != (pg.Range{From: 0x3000148, To: 0x5000000}) {
		t.Errorf("history is %v", h)
	}
	for l, want := range map[pg.LSN]pg.TLI{0: 1, 0x3000147: 1, 0x3000148: 2, 0x4FFFFFF: 2, 0x5000000: 4, 1 << 32: 5, 1 << 60: 5} {
		if got := h.TLIAt(l); got != want {
			t.Errorf("TLI at %s is %d, want %d", l, got, want)
		}
	}
	for n, want := range map[pg.SegmentNo][]pg.TLI{0: {1}, 2: {1}, 3: {2, 1}, 4: {2}, 5: {4}, 255: {4}, 256: {5}, 1 << 30: {5}} {
		if got := h.TLIsFor(n, 16<<20); !slices.Equal(got, want) {
			t.Errorf("segment %d is looked for in TLIs %v, want %v", n, got, want)
		}
	}
	if got := wal.NewHistory(1).TLIsFor(7, 1<<20); !slices.Equal(got, []pg.TLI{1}) {
		t.Errorf("segment 7 of TLI 1 is looked for in TLIs %v", got)
	}
	if h, err := wal.ParseHistory(3, nil); err != nil || len(h) != 1 || h.TLIAt(1) != 3 {
		t.Errorf("an empty file gives %v, %v", h, err)
	}
}

func TestParseHistoryRefuses(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"1\n", "want a TLI and an LSN"},
		{"x\t0/1\n", "want a TLI"},
		{"0\t0/1\n", "want a TLI"},
		{"-1\t0/1\n", "want a TLI"},
		{"4294967297\t0/1\n", "want a TLI"},
		{"1\t0/x\n", "parse LSN"},
		{"1\t0/1\n1\t0/2\n", "line 2: TLI 1 follows TLI 1"},
		{"2\t0/2\n1\t0/3\n", "follows"},
		{"1\t0/3\n2\t0/2\n", "before the one above"},
		{"1\t0/3\n5\t0/4\n", "00000005.history, line 2: ancestor TLI 5 is not below"},
	} {
		if h, err := wal.ParseHistory(5, []byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, %v, want %q", c.file, h, err, c.want)
		}
	}
}

func TestParseFileName(t *testing.T) {
	const size = 16 << 20
	for name, want := range map[string]wal.FileName{
		"000000010000000000000002":                 {Kind: wal.SegmentFile, TLI: 1, Segment: 2},
		"0000000A000000010000000F":                 {Kind: wal.SegmentFile, TLI: 10, Segment: 271},
		"000000010000000000000002.partial":         {Kind: wal.PartialFile, TLI: 1, Segment: 2},
		"000000010000000000000002.00000028.backup": {Kind: wal.BackupHistoryFile, TLI: 1, Segment: 2, Offset: 0x28},
		"00000002.history":                         {Kind: wal.HistoryFile, TLI: 2},
	} {
		if got, err := wal.ParseFileName(name, size); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	f, err := wal.ParseFileName("000000010000000000000002.00000028.backup", size)
	if err != nil || f.Start(size) != 0x2000028 {
		t.Errorf("the backup starts at %s, %v", f.Start(size), err)
	}
	if got := wal.HistoryFileName(0x1A); got != "0000001A.history" {
		t.Errorf("history file of TLI 26 is %s", got)
	}
	for _, name := range []string{
		"", "00000001.history", "0000000a.history", "0000002.history", "000000002.history", "+0000002.history",
		"000000010000000000000100", "00000001000000000000000g", "000000010000000000000002.", "000000010000000000000002.gz",
		"000000010000000000000002.partial.gz", "000000010000000000000002.Partial", "000000010000000000000002.00000028",
		"000000010000000000000002.0000028.backup", "000000010000000000000002.01000000.backup", "000000010000000000000002.0000002g.backup",
		"000000010000000000000002.00000028.backup.backup", "000000010000000000000002..backup", "x00000010000000000000002",
	} {
		if got, err := wal.ParseFileName(name, size); err == nil {
			t.Errorf("%q is accepted as %+v", name, got)
		}
	}
}
