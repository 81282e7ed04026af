package verify

import (
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// TestSameAsServer: two engines may give a page another LSN only where records
// that may set it allow that, and nothing else may differ.
func TestSameAsServer(t *testing.T) {
	own := page.Page(numbered(99, 1)) // of LSN 100
	for _, c := range []struct {
		name  string
		hints []pg.LSN
		lsn   pg.LSN
		byte  int // changed, 0 for none
		want  bool
	}{
		{"the same", nil, 100, 0, true},
		{"an LSN without a reason", nil, 96, 0, false},
		{"the LSN of before", []pg.LSN{96, 100}, 96, 0, true},
		{"the LSN of another hint", []pg.LSN{88, 96, 100}, 96, 0, true},
		{"an LSN between", []pg.LSN{88, 100}, 96, 0, false},
		{"another byte", []pg.LSN{96, 100}, 96, 10, false},
	} {
		theirs := page.Page(append([]byte(nil), own...))
		theirs.SetLSN(c.lsn)
		if c.byte > 0 {
			theirs[c.byte] ^= 1
		}
		if got := sameAsServer(pg.MainFork, native.Page{Bytes: own, Hints: c.hints}, theirs); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	if sameAsServer(pg.MainFork, native.Page{Bytes: own, Hints: []pg.LSN{0}}, nil) {
		t.Error("a page that is not there is the same")
	}
}
