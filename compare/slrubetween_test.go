package compare

import (
	"bytes"
	"testing"

	"redoubt/internal/pg"
)

// TestSLRUBetween: what an entry of a running server may be, given what it was
// at the span's end and what it is now.
func TestSLRUBetween(t *testing.T) {
	const progress, committed, aborted, sub = 0, 1, 2, 3
	for _, tt := range []struct {
		name                    string
		official, before, after byte
		ok                      bool
	}{
		{"as before", progress, progress, committed, true},
		{"as after", committed, progress, committed, true},
		{"sub-committed on its way", sub, progress, committed, true},
		{"sub-committed, then aborted", sub, progress, aborted, false},
		{"an abort that a checkpoint did not wait for", progress, aborted, aborted, true},
		{"a commit that was lost", progress, committed, committed, false},
		{"committed, but it aborted", committed, progress, aborted, false},
		{"aborted, but it committed", aborted, progress, committed, false},
		{"committed out of nothing", committed, progress, progress, false},
	} {
		for shift := 0; shift < 8; shift += 2 {
			page := func(b byte) []byte { p := make([]byte, pg.BlockSize); p[77] = b << shift; return p }
			o := page(tt.official)
			if got := bytes.Equal(o, SLRUBetween(pg.XactSLRU, o, page(tt.before), page(tt.after))); got != tt.ok {
				t.Errorf("%s: passes %t, want %t", tt.name, got, tt.ok)
			}
		}
	}
	page := func(entries ...byte) []byte { p := make([]byte, pg.BlockSize); copy(p, entries); return p }
	for _, slru := range []pg.SLRU{pg.MultiXactOffsetSLRU, pg.CommitTsSLRU, pg.MultiXactMemberSLRU} {
		before, after := page(), page(bytes.Repeat([]byte{9}, 40)...)
		n := slruEntry(slru)
		half := page(bytes.Repeat([]byte{9}, n)...)
		if !bytes.Equal(half, SLRUBetween(slru, half, before, after)) {
			t.Errorf("%s: one entry of after, the others of before, does not pass", slru)
		}
		wrong := page(bytes.Repeat([]byte{8}, n)...)
		if bytes.Equal(wrong, SLRUBetween(slru, wrong, before, after)) {
			t.Errorf("%s: an entry of neither passes", slru)
		}
	}
}
