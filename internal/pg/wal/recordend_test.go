package wal

import (
	"testing"

	"redoubt/internal/pg"
)

func TestRecordEnd(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		start  pg.LSN
		length uint32
		want   pg.LSN
	}{
		{0x1000028, 114, 0x10000A0},
		{0x1000028, 8, 0x1000030},
		{0x1001FE0, 0x20, 0x1002000},          // to the page's end exactly
		{0x1001FE0, 0x28, 0x1002000 + 24 + 8}, // over one page
		{0x10FFFE0, 0x28, 0x1100000 + 40 + 8}, // into a segment
		{0x1001FE0, 0x20 + 8168 + 4, 0x1004000 + 24 + 8},
	} {
		if got := RecordEnd(c.start, c.length, mib); got != c.want {
			t.Errorf("from %s, %d bytes: %s, want %s", c.start, c.length, got, c.want)
		}
	}
}

func TestNextRecord(t *testing.T) {
	const mib = 1 << 20
	for end, want := range map[pg.LSN]pg.LSN{
		0x1000028: 0x1000028,
		0x1002000: 0x1002000 + 24, // a page begins
		0x1100000: 0x1100000 + 40, // a segment does
	} {
		if got := NextRecord(end, mib); got != want {
			t.Errorf("behind %s: %s, want %s", end, got, want)
		}
	}
}
