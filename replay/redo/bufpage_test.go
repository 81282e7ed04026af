package redo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// itemsPage is a page with one item of each length.
func itemsPage(t testing.TB, lengths ...int) page.Page {
	t.Helper()
	p := make(page.Page, pg.BlockSize)
	pageInit(p, 0)
	for i, n := range lengths {
		off, err := pageAddItem(p, bytes.Repeat([]byte{byte(i + 1)}, n), 0, false, true)
		if err != nil || off != i+1 {
			t.Fatalf("add item %d: number %d, error %v", i+1, off, err)
		}
	}
	return p
}

// layout describes flags, pd_lower, pd_upper and the line pointers.
func layout(p page.Page) string {
	s := fmt.Sprintf("flags %d lower %d upper %d:", p.Flags(), p.Lower(), p.Upper())
	for n := 1; n <= p.NumItems(); n++ {
		id := p.ItemID(n)
		s += fmt.Sprintf(" %c%d+%d", "unrd"[id.Flags()], id.Offset(), id.Len())
	}
	return s
}

func TestPageAddItem(t *testing.T) {
	p := itemsPage(t, 10, 30, 8)
	p.SetItemID(2, 0)
	steps := []struct {
		off       int
		overwrite bool
		want      string
	}{
		{0, false, "number 4: flags 0 lower 40 upper 8128: n8176+10 u0+0 n8136+8 n8128+5"},
		{2, true, "number 2: flags 0 lower 40 upper 8120: n8176+10 n8120+5 n8136+8 n8128+5"},
		{2, false, "number 2: flags 0 lower 44 upper 8112: n8176+10 n8112+5 n8120+5 n8136+8 n8128+5"},
		{6, true, "number 6: flags 0 lower 48 upper 8104: n8176+10 n8112+5 n8120+5 n8136+8 n8128+5 n8104+5"},
	}
	for _, s := range steps {
		n, err := pageAddItem(p, []byte("12345"), s.off, s.overwrite, false)
		if got := fmt.Sprintf("number %d: %s", n, layout(p)); err != nil || got != s.want {
			t.Errorf("add at %d:\n got %s, error %v\nwant %s", s.off, got, err, s.want)
		}
	}
	for want, add := range map[error]func() (int, error){
		errItemUsed:   func() (int, error) { return pageAddItem(p, nil, 1, true, false) },
		errItemBeyond: func() (int, error) { return pageAddItem(p, nil, 8, true, false) },
		errItemNoRoom: func() (int, error) { return pageAddItem(p, make([]byte, 8104-48-3), 0, false, false) },
		errItemTooMany: func() (int, error) {
			q := itemsPage(t, make([]int, 291)...)
			return pageAddItem(q, nil, 0, false, true)
		},
	} {
		if _, err := add(); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
}

// TestFreeLines has the search for a free line pointer, which only the hint
// starts and whose failure clears it.
func TestFreeLines(t *testing.T) {
	p := itemsPage(t, 8, 8, 8)
	p.SetItemID(2, 0)
	setFreeLines(p, true)
	for i, want := range []int{2, 4, 5} {
		n, err := pageAddItem(p, []byte{1}, 0, false, true)
		if hint := p.Flags()&page.HasFreeLines != 0; err != nil || n != want || hint != (i == 0) {
			t.Errorf("number %d, hint %t, error %v; want %d", n, hint, err, want)
		}
	}
}

func TestRepairFragmentation(t *testing.T) {
	make5 := func() page.Page {
		p := itemsPage(t, 10, 30, 8, 50, 16)
		p.SetItemID(1, page.MakeItemID(3, page.LPRedirect, 0))
		p.SetItemID(2, page.MakeItemID(0, page.LPDead, 0))
		p.SetItemID(4, 0)
		p.SetItemID(5, page.MakeItemID(7, page.LPUnused, 0)) // what an unused one says is wiped
		return p
	}
	for major, want := range map[int]string{
		14: "flags 1 lower 44 upper 8184: r3+0 d0+0 n8184+8 u0+0 u0+0",
		15: "flags 0 lower 36 upper 8184: r3+0 d0+0 n8184+8",
	} {
		p := make5()
		if err := pageRepairFragmentation(p, major); err != nil || layout(p) != want {
			t.Errorf("%d:\n got %s, error %v\nwant %s", major, layout(p), err, want)
		}
		if p[8184] != 3 || p[8191] != 3 {
			t.Errorf("%d: the item that stayed was not moved: % x", major, p[8184:])
		}
	}
}

// TestRepairKeepsItems is the order of compactify_tuples as a property: items
// keep their bytes and follow each other from the end of the page in the
// order of their line pointers, whatever order they lay in.
func TestRepairKeepsItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := make(page.Page, pg.BlockSize)
		pageInit(p, 0)
		items := map[int][]byte{}
		for range rapid.IntRange(1, 80).Draw(t, "items") {
			item := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(1, 150).Draw(t, "length"))
			if n, err := pageAddItem(p, item, 0, false, true); err == nil {
				items[n] = item
			}
			n := rapid.IntRange(1, p.NumItems()).Draw(t, "gone")
			if rapid.Bool().Draw(t, "remove") {
				p.SetItemID(n, 0)
				setFreeLines(p, true)
				delete(items, n)
			}
		}
		if err := pageRepairFragmentation(p, 17); err != nil {
			t.Fatal(err)
		}
		at := pg.BlockSize
		for n := 1; n <= p.NumItems(); n++ {
			item, ok := items[n]
			if !ok {
				continue
			}
			delete(items, n)
			at -= maxAlign(len(item))
			if p.ItemID(n).Offset() != at || !bytes.Equal(p.Item(n), item) {
				t.Fatalf("item %d is not where it should be: %s", n, layout(p))
			}
		}
		if len(items) != 0 || p.Upper() != at {
			t.Fatalf("%d items were lost: %s", len(items), layout(p))
		}
	})
}

// TestRepairOverlapping: of a damaged page, whose items overlap, each item ends up
// with the bytes it had, whatever page was repaired before.
func TestRepairOverlapping(t *testing.T) {
	other := itemsPage(t, 4000, 2000, 2000)
	copy(other.Item(1), bytes.Repeat([]byte{0xee}, 4000))
	other.SetItemID(1, 0)
	if err := pageRepairFragmentation(other, 17); err != nil {
		t.Fatal(err)
	}
	p := itemsPage(t, 16, 16, 16, 16)
	p.SetItemID(2, 0)
	p.SetItemID(4, p.ItemID(1))
	old := slices.Clone(p)
	if err := pageRepairFragmentation(p, 17); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 3, 4} {
		if !bytes.Equal(p.Item(n), old.Item(n)) {
			t.Errorf("item %d is %x, was %x", n, p.Item(n), old.Item(n))
		}
	}
}

func TestTruncateLinePointers(t *testing.T) {
	cases := []struct {
		unused []int
		want   string
	}{
		{nil, "flags 0 lower 36 upper 8168: n8184+8 n8176+8 n8168+8"},
		{[]int{1}, "flags 1 lower 36 upper 8168: u0+0 n8176+8 n8168+8"},
		{[]int{3}, "flags 0 lower 32 upper 8168: n8184+8 n8176+8"},
		{[]int{1, 2, 3}, "flags 1 lower 28 upper 8168: u0+0"},
	}
	for _, tc := range cases {
		p := itemsPage(t, 8, 8, 8)
		for _, n := range tc.unused {
			p.SetItemID(n, 0)
		}
		if err := pageTruncateLinePointerArray(p); err != nil || layout(p) != tc.want {
			t.Errorf("unused %v:\n got %s, error %v\nwant %s", tc.unused, layout(p), err, tc.want)
		}
	}
}

// FuzzPagePrimitives runs the primitives over pages that may hold anything.
func FuzzPagePrimitives(f *testing.F) {
	f.Add([]byte(itemsPage(f, 10, 20, 30)[:60]), uint8(2), uint16(9), true)
	f.Add([]byte{}, uint8(0), uint16(0), false)
	f.Fuzz(func(t *testing.T, head []byte, off uint8, size uint16, flag bool) {
		fresh := func() page.Page {
			p := make(page.Page, pg.BlockSize)
			copy(p, head)
			return p
		}
		p := fresh()
		if n, err := pageAddItem(p, make([]byte, size), int(off), flag, !flag); err == nil && n < 1 {
			t.Fatal("item without a number")
		}
		_ = pageTruncateLinePointerArray(fresh())
		p = fresh()
		if pageRepairFragmentation(p, 17) == nil {
			if err := checkItems(p); err != nil {
				t.Fatalf("repair left a page it would not take: %v", err)
			}
		}
	})
}

// BenchmarkRepairFragmentation is what prune records ask for most: a page that
// was compacted before, one item in its middle gone and a few new ones.
func BenchmarkRepairFragmentation(b *testing.B) {
	p := itemsPage(b, slices.Repeat([]int{120}, 58)...)
	if err := pageRepairFragmentation(p, 17); err != nil {
		b.Fatal(err)
	}
	p.SetItemID(30, 0)
	p.SetItemID(55, 0)
	work := make(page.Page, pg.BlockSize)
	b.SetBytes(pg.BlockSize)
	for b.Loop() {
		copy(work, p)
		if err := pageRepairFragmentation(work, 17); err != nil {
			b.Fatal(err)
		}
	}
}
