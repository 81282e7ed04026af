package datadir

import (
	"bytes"
	"testing"

	"redoubt/internal/pg"
)

func TestTwoPhasePath(t *testing.T) {
	for _, c := range []struct {
		major int
		xid   pg.XID
		next  uint64
		want  string
	}{
		{14, 0x2F1, 1<<32 | 0x300, "pg_twophase/000002F1"},
		{16, 0xFFFFFFF0, 1<<32 | 5, "pg_twophase/FFFFFFF0"},
		{17, 0x2F1, 1<<32 | 0x300, "pg_twophase/00000001000002F1"},
		{18, 0xFFFFFFF0, 1<<32 | 5, "pg_twophase/00000000FFFFFFF0"},
	} {
		if got := TwoPhasePath(c.major, c.xid, c.next); got != c.want || Classify(got).Class != TwoPhaseFile {
			t.Errorf("%d, %X: %s, want %s", c.major, c.xid, got, c.want)
		}
	}
}

func FuzzParseTwoPhaseFile(f *testing.F) {
	f.Add([]byte("state"), true)
	f.Add([]byte{1, 2}, false)
	f.Fuzz(func(t *testing.T, b []byte, right bool) {
		if right {
			b = TwoPhaseFileContent(b)
		}
		state, err := ParseTwoPhaseFile(b)
		if right && err != nil || err == nil && !bytes.Equal(TwoPhaseFileContent(state), b) {
			t.Fatalf("%x: %x, %v", b, state, err)
		}
	})
}

func FuzzParseOrigins(f *testing.F) {
	f.Add(EncodeOrigins(nil))
	f.Add(EncodeOrigins(map[uint16]pg.LSN{1: 0x1234, 65535: 1 << 40}))
	f.Add([]byte("12345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseOrigins(b)
		if err != nil {
			return
		}
		again, err := ParseOrigins(EncodeOrigins(got))
		if err != nil || len(again) != len(got) {
			t.Fatalf("%v became %v: %v", got, again, err)
		}
		for id, at := range got {
			if again[id] != at {
				t.Fatalf("origin %d at %s became %s", id, at, again[id])
			}
		}
	})
}
