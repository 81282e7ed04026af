package native

import (
	"bytes"
	"errors"
	"maps"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// TestVersions follows blocks of the demo through the span: the last version
// of each is the page that the engine leaves, the records are those of the
// history, and redo of a part is redo of the whole.
func TestVersions(t *testing.T) {
	w := demoSpan(t)
	res := play(t, Config{Workers: 2}, w.wal, Span{Range: w.span}, w.base)
	pages, wanted := map[pg.Block][]byte{}, map[pg.Block]bool{}
	for b := range states(t, res) {
		if _, slru := slruOf(b.RelFork); !slru && len(wanted) < 400 {
			pages[b], wanted[b] = w.base.pages[b], true
		}
	}
	before := maps.Clone(pages)
	hist, err := History(t.Context(), w.wal, w.span, wanted)
	if err != nil {
		t.Fatal(err)
	}
	last := map[pg.Block]Version{}
	touches := map[pg.Block]int{}
	err = Versions(t.Context(), w.wal, w.span, Base{Checksums: true}, nil, pages, func(v *Version) error {
		keep := *v
		keep.Page = bytes.Clone(v.Page)
		last[v.Block] = keep
		if !v.Gone {
			touches[v.Block]++
		}
		if v.SetsLSN && v.Page != nil && !v.MaySetLSN && page.Page(v.Page).LSN() > v.End {
			t.Errorf("%s after %s is of LSN %s", v.Block, v.End, page.Page(v.Page).LSN())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var buf [pg.BlockSize]byte
	proved := 0
	for b := range wanted {
		p, err := res.Page(b.RelFork, b.Number, buf[:])
		if err != nil {
			t.Fatal(err)
		}
		if n := len(hist[b]); touches[b] < n {
			t.Errorf("%s: %d touches, history has %d", b, touches[b], n)
		}
		if v := last[b]; v.Page != nil {
			proved++
			if !bytes.Equal(v.Page, p.Bytes) {
				t.Errorf("%s: the last version is not the replayed page", b)
			}
		}
		if !bytes.Equal(before[b], pages[b]) {
			t.Errorf("%s: the base's page was changed", b)
		}
	}
	if proved < len(wanted)*9/10 {
		t.Errorf("the last version of %d of %d blocks is known", proved, len(wanted))
	}
	stop := errors.New("enough")
	if err := Versions(t.Context(), w.wal, w.span, Base{}, nil, pages, func(*Version) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

// versionsOf runs a script over one block.
func versionsOf(t *testing.T, s *script, b pg.Block, base page.Page) []Version {
	t.Helper()
	var out []Version
	v := newVersions(Base{}, nil, map[pg.Block][]byte{b: base}, func(v *Version) error {
		keep := *v
		keep.Page = bytes.Clone(v.Page)
		out = append(out, keep)
		return nil
	})
	if err := v.batch(&batch{recs: s.recs}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestVersionsOfLostBlocks: after a truncation, a drop or a record without
// redo nothing is known until the next whole page.
func TestVersionsOfLostBlocks(t *testing.T) {
	b := pg.Block{RelFork: tableA, Number: 2}
	s := &script{t: t}
	s.insert(tableA, 2, 2, "abcd") // 0: known
	s.truncate(tableA, 1)          // 1: gone
	s.insert(tableA, 2, 2, "abcd") // 2: not known, there is no page
	s.image(tableA, 2, 7)          // 3: known
	s.insert(tableA, 2, 9, "abcd") // 4: fails, there is no line pointer 8
	s.insert(tableA, 2, 2, "abcd") // 5: not known
	s.image(tableA, 2, 8)          // 6: known
	s.add(pg.RmgrID(200), 0, nil, ref(tableA, 2))
	s.insert(tableA, 2, 2, "abcd")
	s.add(pg.RmgrTransaction, 0x80, dropped(tableA)) // 9: gone
	s.image(tableA, 2, 9)
	got := versionsOf(t, s, b, filled(1))
	want := "k-.k..k..-k" // known, gone, not known
	have := ""
	for _, v := range got {
		switch {
		case v.Gone:
			have += "-"
		case v.Page != nil:
			have += "k"
		default:
			have += "."
		}
	}
	if have != want {
		t.Errorf("versions %s, want %s", have, want)
	}
}

// TestVersionsOfCopies: what a copied database's blocks are is not followed.
func TestVersionsOfCopies(t *testing.T) {
	f := tableA
	f.DB = 9
	s := &script{t: t}
	s.add(pg.RmgrDatabase, 0x00, copyDatabase(9, 5))
	s.insert(f, 0, 2, "abcd")
	got := versionsOf(t, s, pg.Block{RelFork: f}, nil)
	if len(got) != 1 || got[0].Page != nil {
		t.Errorf("versions %+v", got)
	}
}

// TestVersionsOfMaps: bits that are cleared without a reference are touches
// that leave the LSN alone, and so is the cut of a map's tail.
func TestVersionsOfMaps(t *testing.T) {
	vm := tableA
	vm.Fork = pg.VMFork
	p := filled(0)
	for i := page.HeaderSize; i < pg.BlockSize; i++ {
		p[i] = 0xFF
	}
	s := &script{t: t}
	r := s.insert(tableA, 3, 2, "abcd")
	r.Main[2] = wal.InsertAllVisibleCleared
	s.truncate(tableA, 2)
	got := versionsOf(t, s, pg.Block{RelFork: vm}, p)
	if len(got) != 2 || got[0].SetsLSN || got[0].Page[page.HeaderSize] != 0x3F || got[1].Page[page.HeaderSize] != 0x0F {
		t.Errorf("versions %+v", got)
	}
}

// TestVersionsOfExtensions: what an extension's redo makes of a block is known.
func TestVersionsOfExtensions(t *testing.T) {
	s := &script{t: t}
	s.add(unknownRmgr, 0x00, nil, ref(tableA, 1))
	for _, c := range []struct {
		ext  redo.Extensions
		want bool
	}{{nil, false}, {redo.Extensions{unknownRmgr: {Redo: func(_ *wal.Record, _ *wal.BlockRef, p page.Page) (bool, error) {
		p[pg.BlockSize-1] = 0x77
		return true, nil
	}}}, true}} {
		var got Version
		v := newVersions(Base{}, c.ext, map[pg.Block][]byte{{RelFork: tableA, Number: 1}: filled(1)}, func(v *Version) error {
			got = *v
			return nil
		})
		if err := v.batch(&batch{recs: s.recs}); err != nil {
			t.Fatal(err)
		}
		if known := got.Page != nil && got.Page[pg.BlockSize-1] == 0x77; known != c.want || !got.MaySetLSN {
			t.Errorf("known %t, want %t: %+v", known, c.want, got.Touch)
		}
	}
}
