package compare_test

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// With -make-pages TestPostgresAgainstItsOwnReplay rewrites the fixtures of
// real pages in internal/pg/page/pagetest/testdata, which all tests about pages share:
//
//	go test ./compare -run TestPostgresAgainstItsOwnReplay -make-pages
//
// A fixture is a pair: the page as the stopped server left it, with its
// checksum, and as PostgreSQL's own recovery made it, 16 KiB together.
var makePages = flag.Bool("make-pages", false, "rewrite the page fixtures from the servers' data directories")

const fixtureDir = "../internal/pg/page/pagetest/testdata"

// scenario is a page worth having: the first pair that fits is taken.
type scenario struct {
	name string
	kind page.Kind
	fits func(o, r page.Page) bool
	only int // a major version, 0 for all
}

func tuples(p page.Page, f func(page.HeapTuple) bool) (n int) {
	for i := 1; i <= p.NumItems(); i++ {
		if t, ok := p.HeapTuple(i); ok && f(t) {
			n++
		}
	}
	return n
}

func pointers(p page.Page, state int) (n int) {
	for i := 1; i <= p.NumItems(); i++ {
		if p.ItemID(i).Flags() == state {
			n++
		}
	}
	return n
}

// speculative counts the speculative tuples of a heap page.
func speculative(p page.Page, fork pg.ForkNumber) int {
	if page.KindOf(p, fork) != page.KindHeap {
		return 0
	}
	return tuples(p, page.HeapTuple.Speculative)
}

func btreeFlags(p page.Page) uint16 {
	s, ok := p.BtreeSpecial()
	if !ok {
		return 0
	}
	return s.Flags()
}

// logged is the log_cnt of a sequence.
func logged(p page.Page) int64 {
	s, _ := p.Sequence()
	return s.LogCnt
}

// word is the 16-bit number at, negative from the page's end.
func word(p page.Page, at int) int { return int(p[len(p)+at]) | int(p[len(p)+at+1])<<8 }

var scenarios = []scenario{
	{"heap-hints", page.KindHeap, func(o, r page.Page) bool {
		return o.NumItems() > 40 && !bytes.Equal(o[24:], r[24:]) && o.LSN() == r.LSN()
	}, 0},
	{"heap-pruned", page.KindHeap, func(o, _ page.Page) bool {
		return pointers(o, page.LPRedirect) > 1 && pointers(o, page.LPUnused) > 1
	}, 0},
	{"heap-multixact", page.KindHeap, func(o, _ page.Page) bool {
		return tuples(o, func(t page.HeapTuple) bool { return t.Infomask()&page.HeapXmaxIsMulti != 0 }) > 10
	}, 0},
	{"heap-frozen", page.KindHeap, func(o, _ page.Page) bool { return tuples(o, page.HeapTuple.XminFrozen) > 30 }, 17},
	{"heap-speculative", page.KindHeap, func(o, _ page.Page) bool { return tuples(o, page.HeapTuple.Speculative) > 0 }, 0},
	{"heap-toast", page.KindHeap, func(o, _ page.Page) bool { return o.NumItems() == 4 && o.ItemID(1).Len() > 1900 }, 17},
	{"btree-meta", page.KindBtree, func(o, _ page.Page) bool { m, _ := o.BtreeMeta(); return m.Root != 0 }, 0},
	{"btree-root", page.KindBtree, func(o, _ page.Page) bool { return btreeFlags(o) == page.BtreeRoot && o.NumItems() > 4 }, 0},
	{"btree-killed", page.KindBtree, func(o, r page.Page) bool {
		return btreeFlags(o)&page.BtreeLeaf != 0 && pointers(o, page.LPDead) > pointers(r, page.LPDead) && o.NumItems() > 20
	}, 0},
	{"btree-leaf", page.KindBtree, func(o, _ page.Page) bool { return btreeFlags(o) == page.BtreeLeaf && o.NumItems() > 100 }, 0},
	{"sequence", page.KindSequence, func(o, r page.Page) bool { return logged(r) == 0 && logged(o) > 0 }, 0},
	{"sequence-copied", page.KindSequence, func(_, r page.Page) bool { return logged(r) > 0 }, 0},
	{"vm", page.KindVM, func(o, _ page.Page) bool { return o[24] != 0 }, 17},
	{"hash-bucket", page.KindHash, func(o, _ page.Page) bool { return word(o, -4)&15 == 2 && o.NumItems() > 10 }, 17},
	{"hash-meta", page.KindHash, func(o, _ page.Page) bool { return word(o, -4)&15 == 8 }, 17},
	{"gin-meta", page.KindGin, func(o, _ page.Page) bool { return word(o, -2)&8 != 0 }, 17},
	{"gin-leaf", page.KindGin, func(o, _ page.Page) bool { return word(o, -2) == 2 && o.NumItems() > 10 }, 17},
	{"gist-leaf", page.KindGist, func(o, r page.Page) bool { return word(o, -4)&1 != 0 && !bytes.Equal(o[24:], r[24:]) }, 17},
	{"spgist-meta", page.KindSPGist, func(o, _ page.Page) bool { return word(o, -8)&1 != 0 }, 17},
	{"spgist-leaf", page.KindSPGist, func(o, _ page.Page) bool { return word(o, -8)&4 != 0 && o.NumItems() > 5 }, 17},
	{"brin-regular", page.KindBRIN, func(o, _ page.Page) bool { return word(o, -2) == 0xF093 }, 17},
	{"brin-revmap", page.KindBRIN, func(o, _ page.Page) bool { return word(o, -2) == 0xF092 }, 17},
}

// pageSaver writes fixtures if -make-pages asks for it.
type pageSaver struct{ have map[string]bool }

func (s *pageSaver) offer(t *testing.T, major int, b pg.Block, o, r []byte) {
	if !*makePages || o == nil || r == nil {
		return
	}
	if s.have == nil {
		s.have = map[string]bool{}
	}
	kind := page.KindOf(o, b.Fork)
	for _, sc := range scenarios {
		if s.have[sc.name] || sc.kind != kind || sc.only != 0 && sc.only != major || page.KindOf(r, b.Fork) != kind || !sc.fits(o, r) {
			continue
		}
		s.have[sc.name] = true
		var buf bytes.Buffer
		z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(append(append([]byte{}, o...), r...)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s-pg%d-block%d.gz", sc.name, major, b.Number)
		if err := os.WriteFile(filepath.Join(fixtureDir, name), buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
