package page_test

import (
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
)

func TestKindOfRealPages(t *testing.T) {
	kinds := map[string]page.Kind{
		"heap": page.KindHeap, "btree": page.KindBtree, "sequence": page.KindSequence, "vm": page.KindVM,
		"hash": page.KindHash, "gin": page.KindGin, "gist": page.KindGist, "spgist": page.KindSPGist, "brin": page.KindBRIN,
	}
	for _, f := range pagetest.Load(t, "") {
		name, _, _ := strings.Cut(f.Scenario, "-")
		for _, p := range []page.Page{f.Official, f.Replayed} {
			if k := page.KindOf(p, f.Fork); k != kinds[name] {
				t.Errorf("%s is taken for %s", f.Name, k)
			}
		}
	}
	if k := page.KindOf(make(page.Page, pg.BlockSize), pg.MainFork); k != page.KindNew {
		t.Errorf("zeros are taken for %s", k)
	}
	if k := page.KindOf(nil, pg.MainFork); k != page.KindUnknown {
		t.Errorf("nothing is taken for %s", k)
	}
	if k := page.KindOf(pagetest.Load(t, "vm")[0].Official, pg.FSMFork); k != page.KindFSM {
		t.Errorf("a page of the FSM fork is taken for %s", k)
	}
}

// A gin page whose right link looks like a sequence's magic is no sequence.
func TestKindOfGinWithSequenceMagic(t *testing.T) {
	p := pagetest.Load(t, "gin-leaf")[0].Official
	copy(p[pg.BlockSize-8:], []byte{0x17, 0x17, 0, 0, 0, 0, 0, 0})
	if k := page.KindOf(p, pg.MainFork); k != page.KindGin {
		t.Errorf("taken for %s", k)
	}
}

func TestSequenceState(t *testing.T) {
	for _, f := range pagetest.Load(t, "sequence") {
		o, ok := f.Official.Sequence()
		r, ok2 := f.Replayed.Sequence()
		if !ok || !ok2 || !o.IsCalled || (r.LogCnt != 0) != (f.Scenario == "sequence-copied") || o.LogCnt < 1 || o.LogCnt > page.SequenceLogValues {
			t.Errorf("%s: official %+v, replayed %+v", f.Name, o, r)
		}
		if at, ok := f.Official.SequenceValueOffset(); !ok || f.Official[at] != byte(o.LastValue) {
			t.Errorf("%s: last_value is not at %d", f.Name, at)
		}
	}
	if _, ok := pagetest.Load(t, "gin-meta")[0].Official.Sequence(); ok {
		t.Error("a gin page decodes as a sequence")
	}
}

func TestBtreeMeta(t *testing.T) {
	m, ok := pagetest.Load(t, "btree-meta")[0].Official.BtreeMeta()
	if !ok || m.Version != 4 || m.Root == 0 || m.FastRoot == 0 {
		t.Errorf("metapage %+v, ok %t", m, ok)
	}
	if _, ok := pagetest.Load(t, "btree-leaf")[0].Official.BtreeMeta(); ok {
		t.Error("a leaf decodes as a metapage")
	}
}

func TestDescribe(t *testing.T) {
	heap := pagetest.Load(t, "heap-hints")[0].Official
	at := heap.ItemID(2).Offset()
	leaf := pagetest.Load(t, "btree-leaf")[0].Official
	meta := pagetest.Load(t, "btree-meta")[0].Official
	seq := pagetest.Load(t, "sequence")[0].Official
	val, _ := seq.SequenceValueOffset()
	vm := pagetest.Load(t, "vm")[0].Official
	cases := []struct {
		p    page.Page
		kind page.Kind
		at   int
		want string
	}{
		{heap, page.KindHeap, 0, "pd_lsn"},
		{heap, page.KindHeap, 9, "pd_checksum"},
		{heap, page.KindHeap, 12, "pd_lower"},
		{heap, page.KindHeap, 23, "pd_prune_xid"},
		{heap, page.KindHeap, 32, "line pointer 3"},
		{heap, page.KindHeap, heap.Lower(), "hole"},
		{heap, page.KindHeap, at, "tuple 2 xmin"},
		{heap, page.KindHeap, at + 4, "tuple 2 xmax"},
		{heap, page.KindHeap, at + 8, "tuple 2 cid"},
		{heap, page.KindHeap, at + 12, "tuple 2 ctid"},
		{heap, page.KindHeap, at + 20, "tuple 2 infomask"},
		{heap, page.KindHeap, at + int(heap[at+22]), "tuple 2 data"},
		{leaf, page.KindBtree, 8176, "special btpo_prev"},
		{leaf, page.KindBtree, 8183, "special btpo_next"},
		{leaf, page.KindBtree, 8190, "special btpo_cycleid"},
		{leaf, page.KindBtree, leaf.ItemID(4).Offset() + 9, "item 4"},
		{meta, page.KindBtree, 32, "metapage btm_root"},
		{seq, page.KindSequence, val, "last_value"},
		{seq, page.KindSequence, val + 8, "log_cnt"},
		{seq, page.KindSequence, val + 16, "is_called"},
		{seq, page.KindSequence, 8184, "special magic"},
		{vm, page.KindVM, 24, "bits of heap blocks 0-3 of this map page"},
		{heap, page.KindHeap, -1, "outside of the page"},
		{heap, page.KindHeap, pg.BlockSize, "outside of the page"},
	}
	for _, c := range cases {
		if got := page.Describe(c.p, c.kind, c.at); got != c.want {
			t.Errorf("byte %d of a %s page: %q, want %q", c.at, c.kind, got, c.want)
		}
	}
}

func FuzzPage(f *testing.F) {
	for _, p := range pagetest.Load(f, "") {
		f.Add([]byte(p.Official), uint8(p.Fork), uint16(100))
	}
	f.Add([]byte{1}, uint8(9), uint16(9000))
	f.Fuzz(func(t *testing.T, b []byte, fork uint8, at uint16) {
		p := page.Page(b)
		kind := page.KindOf(p, pg.ForkNumber(fork))
		if page.Describe(p, kind, int(at)) == "" {
			t.Errorf("byte %d of a %s page has no name", at, kind)
		}
		_ = p.Check()
		_ = p.ChecksumOK(pg.BlockNumber(at))
		if len(p) != pg.BlockSize {
			return
		}
		_, _ = p.Sequence()
		_, _ = p.BtreeMeta()
		_ = p.VMBits(int(at))
		for n := -1; n <= p.NumItems()+1; n++ {
			if h, ok := p.HeapTuple(n); ok {
				_, _ = h.XminFrozen(), h.XmaxLockedOnly()
			}
		}
	})
}
