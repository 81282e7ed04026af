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
	"redoubt/internal/pg/wal"
)

func offsets(n ...int) wal.Offsets {
	var b []byte
	for _, v := range n {
		b = append(b, byte(v), byte(v>>8))
	}
	return b
}

// TestIndexPrimitives has where items and line pointers end up.
func TestIndexPrimitives(t *testing.T) {
	drop := func(n ...int) func(page.Page) error {
		return func(p page.Page) error { return pageIndexMultiDelete(p, offsets(n...)) }
	}
	overwrite := func(n, size int) func(page.Page) error {
		return func(p page.Page) error { return pageIndexTupleOverwrite(p, n, bytes.Repeat([]byte{9}, size)) }
	}
	const start = "flags 0 lower 44 upper 8096: n8176+10 n8144+30 n8136+8 n8112+20 n8096+16"
	for _, c := range []struct {
		name string
		do   func(page.Page) error
		want string
	}{
		{"delete none", drop(), start},
		{"delete the first", drop(1), "flags 0 lower 40 upper 8112: n8160+30 n8152+8 n8128+20 n8112+16"},
		{"delete the last", drop(5), "flags 0 lower 40 upper 8112: n8176+10 n8144+30 n8136+8 n8112+20"},
		{"delete two", drop(2, 4), "flags 0 lower 36 upper 8152: n8176+10 n8168+8 n8152+16"},
		{"delete three", drop(1, 3, 5), "flags 0 lower 32 upper 8136: n8160+30 n8136+20"},
		{"delete all", drop(1, 2, 3, 4, 5), "flags 0 lower 24 upper 8192:"},
		{"overwrite with as much", overwrite(2, 32), "flags 0 lower 44 upper 8096: n8176+10 n8144+32 n8136+8 n8112+20 n8096+16"},
		{"overwrite with less", overwrite(2, 7), "flags 0 lower 44 upper 8120: n8176+10 n8168+7 n8160+8 n8136+20 n8120+16"},
		{"overwrite with more", overwrite(2, 41), "flags 0 lower 44 upper 8080: n8176+10 n8128+41 n8120+8 n8096+20 n8080+16"},
	} {
		p := itemsPage(t, 10, 30, 8, 20, 16)
		if err := c.do(p); err != nil || layout(p) != c.want {
			t.Errorf("%s:\n got %s, error %v\nwant %s", c.name, layout(p), err, c.want)
		}
	}
}

// TestIndexDeleteOrder: one or two deletions keep the items' order on the
// page, more put it into that of the line pointers.
func TestIndexDeleteOrder(t *testing.T) {
	for _, c := range []struct {
		gone []int
		want string
	}{
		{[]int{1, 2}, "flags 0 lower 32 upper 8176: n8176+8 n8184+8"},
		{[]int{1, 2, 3}, "flags 0 lower 28 upper 8184: n8184+8"},
		{[]int{2}, "flags 0 lower 36 upper 8168: n8168+8 n8176+8 n8184+8"},
	} {
		p := itemsPage(t, 8, 8, 8, 8)
		for n := 1; n <= 4; n++ { // the first item lies first
			p.SetItemID(n, page.MakeItemID(8160+8*(n-1), page.LPNormal, 8))
		}
		if err := pageIndexMultiDelete(p, offsets(c.gone...)); err != nil || layout(p) != c.want {
			t.Errorf("delete %v:\n got %s, error %v\nwant %s", c.gone, layout(p), err, c.want)
		}
	}
	p := itemsPage(t, 8, 8, 8, 8, 8)
	for n := 1; n <= 5; n++ {
		p.SetItemID(n, page.MakeItemID(8152+8*(n-1), page.LPNormal, 8))
	}
	if err := pageIndexMultiDelete(p, offsets(1, 2, 3)); err != nil || layout(p) != "flags 0 lower 32 upper 8176: n8184+8 n8176+8" {
		t.Errorf("delete three of five: %s, error %v", layout(p), err)
	}
}

func TestIndexPrimitivesRefuse(t *testing.T) {
	for name, do := range map[string]func(page.Page) error{
		"number 0":          func(p page.Page) error { return pageIndexTupleDelete(p, 0) },
		"number beyond":     func(p page.Page) error { return pageIndexTupleDelete(p, 4) },
		"overwrite 0":       func(p page.Page) error { return pageIndexTupleOverwrite(p, 0, []byte{1}) },
		"three, one beyond": func(p page.Page) error { return pageIndexMultiDelete(p, offsets(1, 2, 4)) },
		"three, descending": func(p page.Page) error { return pageIndexMultiDelete(p, offsets(3, 2, 1)) },
		"two, the same":     func(p page.Page) error { return pageIndexMultiDelete(p, offsets(3, 3)) },
		"item misplaced": func(p page.Page) error {
			p.SetItemID(2, page.MakeItemID(8180, page.LPNormal, 16))
			return pageIndexTupleDelete(p, 2)
		},
		"item misplaced, of three": func(p page.Page) error {
			p.SetItemID(2, page.MakeItemID(8180, page.LPNormal, 16))
			return pageIndexMultiDelete(p, offsets(1, 2, 3))
		},
		"page pointers": func(p page.Page) error { p.SetUpper(20); return pageIndexTupleDelete(p, 1) },
	} {
		if err := do(itemsPage(t, 8, 8, 8)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	p := itemsPage(t, 8, 8)
	if err := pageIndexTupleOverwrite(p, 1, make([]byte, 8192-32-7)); !errors.Is(err, errItemNoRoom) {
		t.Errorf("overwrite with too much: %v", err)
	}
	if err := pageIndexTupleOverwrite(p, 1, make([]byte, 8192-32-8)); err != nil || p.Upper() != p.Lower() {
		t.Errorf("overwrite with all there is: %v, %s", err, layout(p))
	}
}

// TestIndexPageModel runs the primitives against a plain list of items: their
// bytes and order stay, and the page never holds a gap.
func TestIndexPageModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := make(page.Page, pg.BlockSize)
		pageInit(p, opaqueSize)
		var model [][]byte
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			item := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(1, 300).Draw(t, "length"))
			switch n := len(model); rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				off := rapid.IntRange(1, n+1).Draw(t, "at")
				if _, err := pageAddItem(p, item, off, false, false); err == nil {
					model = slices.Insert(model, off-1, item)
				}
			case 2:
				var gone []int
				for i := 1; i <= n; i++ {
					if rapid.IntRange(0, 4).Draw(t, "gone") == 0 {
						gone = append(gone, i)
					}
				}
				if err := pageIndexMultiDelete(p, offsets(gone...)); err != nil {
					t.Fatal(err)
				}
				for _, i := range slices.Backward(gone) {
					model = slices.Delete(model, i-1, i)
				}
			case 3:
				if n == 0 {
					continue
				}
				off := rapid.IntRange(1, n).Draw(t, "over")
				if err := pageIndexTupleOverwrite(p, off, item); err == nil {
					model[off-1] = item
				}
			}
			if err := sameItems(p, model); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func sameItems(p page.Page, model [][]byte) error {
	if p.NumItems() != len(model) {
		return fmt.Errorf("%d items, want %d", p.NumItems(), len(model))
	}
	total := 0
	for i, want := range model {
		if !bytes.Equal(p.Item(i+1), want) {
			return fmt.Errorf("item %d has other bytes: %s", i+1, layout(p))
		}
		total += maxAlign(len(want))
	}
	if p.Special()-p.Upper() != total {
		return fmt.Errorf("%d bytes for items of %d: %s", p.Special()-p.Upper(), total, layout(p))
	}
	return checkItems(p)
}

// FuzzIndexPrimitives runs the primitives over pages that may hold anything.
func FuzzIndexPrimitives(f *testing.F) {
	f.Add([]byte(itemsPage(f, 10, 20, 30)[:60]), []byte(offsets(1, 2, 3)), uint8(2), uint16(9))
	f.Add([]byte(itemsPage(f, 10, 20, 30)[:60]), []byte(offsets(2)), uint8(1), uint16(900))
	f.Fuzz(func(t *testing.T, head, gone []byte, off uint8, size uint16) {
		room := bytes.Repeat([]byte{0xA5}, 3*pg.BlockSize)
		p := page.Page(room[pg.BlockSize : 2*pg.BlockSize : 2*pg.BlockSize])
		fresh := func() page.Page { clear(p); copy(p, head); return p }
		_ = pageIndexMultiDelete(fresh(), wal.Offsets(gone))
		_ = pageIndexTupleDelete(fresh(), int(off))
		_ = pageIndexTupleOverwrite(fresh(), int(off), make([]byte, size))
		for i, b := range room {
			if b != 0xA5 && (i < pg.BlockSize || i >= 2*pg.BlockSize) {
				t.Fatalf("byte %d outside of the page was written", i-pg.BlockSize)
			}
		}
	})
}
