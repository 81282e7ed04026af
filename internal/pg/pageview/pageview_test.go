package pageview_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
	"redoubt/internal/pg/pageview"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func versions(f pagetest.Pair) pageview.Versions {
	return pageview.Versions{A: f.Official, B: f.Replayed, Block: pg.Block{RelFork: pg.RelFork{Fork: f.Fork}, Number: f.Block}}
}

func text(b *strings.Builder, fs []pageview.Field) {
	for _, f := range fs {
		fmt.Fprintf(b, " %s=%s", f.Name, f.Value)
	}
	b.WriteByte('\n')
}

// TestRealPages holds what is said of real pages against a file that people read.
func TestRealPages(t *testing.T) {
	var b strings.Builder
	for _, f := range pagetest.Load(t, "") {
		v := pageview.Of(f.Official, f.Fork, false)
		fmt.Fprintf(&b, "%s: %s %s\n  header", f.Name, v.Kind, v.Problem)
		text(&b, v.Header)
		b.WriteString("  special")
		text(&b, v.Special)
		b.WriteString("  contents")
		text(&b, v.Contents)
		for _, it := range v.Items[:min(len(v.Items), 4)] {
			fmt.Fprintf(&b, "  %d: %s;", it.Number, it.Pointer.Value)
			text(&b, append(it.Fields, it.Data))
		}
	}
	if *update {
		if err := os.WriteFile("testdata/pages.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/pages.txt")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("rewrite with -update:\n%s", d)
	}
}

// TestEqualUnderTheRules: of pages that PostgreSQL's own recovery made and
// the primary's nothing differs in a way that matters.
func TestEqualUnderTheRules(t *testing.T) {
	for _, f := range pagetest.Load(t, "") {
		if f.Scenario == "sequence" || f.Scenario == "vm" { // log_cnt and lost bits are compare's business
			continue
		}
		v := versions(f)
		if d := pageview.Differing(v.A, v.B, v.Block); d != nil {
			t.Errorf("%s: items %v differ", f.Name, d)
		}
		masked := v
		masked.Masked, masked.A, masked.B = true, pageview.Conceal(v.A, f.Fork), pageview.Conceal(v.B, f.Fork)
		for _, v := range []pageview.Versions{v, masked} {
			p := pageview.Compare(v)
			for _, fs := range [][]pageview.FieldPair{p.Header, p.Contents, p.Special} {
				for _, x := range fs {
					if x.Mark == pageview.Differs && !(f.Scenario == "spgist-meta" || x.Name == "pd_lsn") {
						t.Errorf("%s, masked %t: %s is marked: %s, %s", f.Name, v.Masked, x.Name, x.A, x.B)
					}
				}
			}
			for _, it := range p.Items {
				if it.Mark == pageview.Differs {
					t.Errorf("%s, masked %t: item %d is marked: %v", f.Name, v.Masked, it.Number, it.Fields)
				}
			}
		}
	}
}

// TestMarks damages a real heap page and looks at what is marked.
func TestMarks(t *testing.T) {
	pair := pagetest.Load(t, "heap-hints")[0]
	cases := []struct {
		name   string
		change func(p page.Page)
		item   int
		field  string
	}{
		{"data", func(p page.Page) { p[p.ItemID(3).Offset()+p.ItemID(3).Len()-1] ^= 1 }, 3, "data"},
		{"xmax", func(p page.Page) { t, _ := p.HeapTuple(2); t.SetXmax(t.Xmax() + 77) }, 2, "t_xmax"},
		{"ctid", func(p page.Page) { t, _ := p.HeapTuple(1); t.SetCtid(9, 9) }, 1, "t_ctid"},
		{"dead", func(p page.Page) { p.SetItemID(4, page.MakeItemID(0, page.LPDead, 0)) }, 4, "line pointer"},
	}
	for _, c := range cases {
		v := versions(pair)
		v.A, v.B = bytes.Clone(pair.Official), bytes.Clone(pair.Official)
		c.change(v.A)
		want := [][2]int{{c.item, c.item + 1}}
		items := pageview.Differing(v.A, v.B, v.Block)
		if d := cmp.Diff(want, items); d != "" {
			t.Errorf("%s: items %s", c.name, d)
		}
		masked := v
		masked.Masked, masked.Items, masked.Bytes = true, items, page.Differences(v.A, v.B)
		masked.A, masked.B = pageview.Conceal(v.A, pg.MainFork), pageview.Conceal(v.B, pg.MainFork)
		for _, v := range []pageview.Versions{v, masked} {
			for _, it := range pageview.Compare(v).Items {
				if (it.Mark == pageview.Differs) != (it.Number == c.item) {
					t.Errorf("%s, masked %t: item %d has mark %d", c.name, v.Masked, it.Number, it.Mark)
				}
				for _, x := range it.Fields {
					if it.Number == c.item && x.Name == c.field && x.Mark != pageview.Differs {
						t.Errorf("%s, masked %t: %s has mark %d", c.name, v.Masked, x.Name, x.Mark)
					}
				}
			}
		}
	}
}

// TestMoved: a tuple that only lies elsewhere on its page is the same row.
func TestMoved(t *testing.T) {
	v := versions(pagetest.Load(t, "heap-hints")[0])
	v.B = bytes.Clone(v.A)
	one, two := v.B.ItemID(1), v.B.ItemID(2)
	if one.Len() != two.Len() {
		t.Fatal("the fixture's first tuples are not of one length")
	}
	a, b := bytes.Clone(v.B.Item(1)), bytes.Clone(v.B.Item(2))
	copy(v.B.Item(1), b)
	copy(v.B.Item(2), a)
	v.B.SetItemID(1, two)
	v.B.SetItemID(2, one)
	if d := pageview.Differing(v.A, v.B, v.Block); d != nil {
		t.Errorf("items %v differ", d)
	}
	if it := pageview.Compare(v).Items[0]; it.Mark != pageview.Tolerated || it.Fields[0].Mark != pageview.Tolerated {
		t.Errorf("marks %v", it)
	}
}

// TestOneSide: where there is only one version, all its used items are hit.
func TestOneSide(t *testing.T) {
	v := versions(pagetest.Load(t, "heap-hints")[0])
	n := v.B.NumItems()
	for name, a := range map[string]page.Page{"missing": nil, "zeros": make(page.Page, pg.BlockSize)} {
		v.A = a
		if d := cmp.Diff([][2]int{{1, n + 1}}, pageview.Differing(v.A, v.B, v.Block)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		p := pageview.Compare(v)
		if (p.A == nil) != (a == nil) || p.B == nil || len(p.Items) != n {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestConceal fills everything that users store with a marker.
func TestConceal(t *testing.T) {
	marker := []byte("SECRET!!")
	for _, f := range pagetest.Load(t, "") {
		v := pageview.Of(f.Official, f.Fork, false)
		for _, it := range v.Items {
			for i := it.Data.From; i < it.Data.To; i++ {
				f.Official[i] = marker[i%8]
			}
		}
		if p := f.Official; p.Upper() > p.Lower() && f.Fork == pg.MainFork {
			for i := p.Lower(); i < p.Upper(); i++ {
				p[i] = marker[i%8]
			}
		}
		c := pageview.Conceal(f.Official, f.Fork)
		if bytes.Contains(c, marker[:3]) {
			t.Errorf("%s: contents are left", f.Name)
		}
		if !bytes.Equal(c[:page.HeaderSize], f.Official[:page.HeaderSize]) {
			t.Errorf("%s: the header is not as it was", f.Name)
		}
		if again := pageview.Conceal(c, f.Fork); !bytes.Equal(c, again) {
			t.Errorf("%s: concealed twice it is another page", f.Name)
		}
		m := pageview.Of(c, f.Fork, true)
		want, got := pageview.Of(f.Official, f.Fork, true), m
		if d := cmp.Diff(want, got); d != "" && f.Scenario != "gin-leaf" {
			t.Errorf("%s: the masked page reads otherwise: %s", f.Name, d)
		}
	}
}

// TestConcealBroken: behind the header of a page that makes no sense nothing stays.
func TestConcealBroken(t *testing.T) {
	for name, change := range map[string]func(p page.Page){
		"header":      func(p page.Page) { p.SetSpecial(3) },
		"overlap":     func(p page.Page) { p.SetItemID(1, p.ItemID(2)) },
		"outside":     func(p page.Page) { p.SetItemID(1, page.MakeItemID(8188, page.LPNormal, 40)) },
		"unaligned":   func(p page.Page) { p.SetItemID(1, page.MakeItemID(p.ItemID(1).Offset()+1, page.LPNormal, 24)) },
		"unknown":     func(p page.Page) { p.SetSpecial(8000); p.SetUpper(7000) },
		"short tuple": func(p page.Page) { p.SetItemID(1, page.MakeItemID(p.ItemID(1).Offset(), page.LPNormal, 7)) },
		"new":         func(p page.Page) { p.SetUpper(0) },
	} {
		p := pagetest.Load(t, "heap-hints")[0].Official
		change(p)
		c := pageview.Conceal(p, pg.MainFork)
		if !bytes.Equal(c[:page.HeaderSize], p[:page.HeaderSize]) || !bytes.Equal(c[page.HeaderSize:], make([]byte, pg.BlockSize-page.HeaderSize)) {
			t.Errorf("%s: something is left behind the header, or the header is not", name)
		}
	}
	if c := pageview.Conceal(page.Page("short"), pg.MainFork); !bytes.Equal(c, make([]byte, 5)) {
		t.Errorf("something that is no page is left as %q", c)
	}
}

// patched is a real page with some of its bytes changed: patch is a list of
// places, two bytes each, and values.
func patched(p page.Page, patch []byte) page.Page {
	p = bytes.Clone(p)
	for ; len(patch) >= 3; patch = patch[3:] {
		p[(int(patch[0])|int(patch[1])<<8)%len(p)] = patch[2]
	}
	return p
}

// FuzzPageview damages real pages; the fuzzer need not invent any.
func FuzzPageview(f *testing.F) {
	pairs := pagetest.Load(f, "")
	for i, p := range pairs {
		f.Add(uint8(i), uint8(i), uint8(p.Fork), []byte{24, 0, 1}, []byte{12, 0, 9})
	}
	f.Fuzz(func(t *testing.T, of, other, fork uint8, patchA, patchB []byte) {
		block := pg.Block{RelFork: pg.RelFork{Fork: pg.ForkNumber(fork % 4)}, Number: 7}
		a := patched(pairs[int(of)%len(pairs)].Official, patchA)
		b := patched(pairs[int(other)%len(pairs)].Replayed, patchB)
		checkConceal(t, a, block.Fork)
		checkDiffering(t, a, b, block)
		checkSame(t, a, block)
		for _, masked := range []bool{false, true} {
			for _, x := range pageview.Compare(pageview.Versions{A: a, B: b, Block: block, Masked: masked, Bytes: [][2]int{{-1, 1 << 40}}, Items: [][2]int{{-5, 3}}}).Items {
				if x.A == nil && x.B == nil {
					t.Errorf("item %d is on neither side", x.Number)
				}
			}
		}
	})
}

func checkConceal(t *testing.T, p page.Page, fork pg.ForkNumber) {
	c := pageview.Conceal(p, fork)
	if !bytes.Equal(c, pageview.Conceal(c, fork)) {
		t.Error("concealed twice it is another page")
	}
	for _, x := range pageview.Of(p, fork, false).Items {
		for i := x.Data.From; i < x.Data.To && fork != pg.FSMFork; i++ {
			if c[i] != 0 {
				t.Fatalf("byte %d of item %d's data is left", i, x.Number)
			}
		}
	}
}

func checkDiffering(t *testing.T, a, b page.Page, block pg.Block) {
	last := 0
	for _, r := range pageview.Differing(a, b, block) {
		if r[0] <= last || r[1] <= r[0] {
			t.Fatalf("range %v behind %d", r, last)
		}
		last = r[1]
	}
}

func checkSame(t *testing.T, a page.Page, block pg.Block) {
	same := pageview.Compare(pageview.Versions{A: a, B: bytes.Clone(a), Block: block})
	for _, fs := range [][]pageview.FieldPair{same.Header, same.Contents, same.Special} {
		for _, x := range fs {
			if x.Mark != pageview.Same {
				t.Errorf("%s of the same page is marked", x.Name)
			}
		}
	}
	for _, x := range same.Items {
		if x.Mark != pageview.Same {
			t.Errorf("item %d of the same page is marked", x.Number)
		}
	}
}

// TestNoPage: what is no page at all is only a problem.
func TestNoPage(t *testing.T) {
	if v := pageview.Of(page.Page("short"), pg.MainFork, false); v.Problem == "" || v.Header != nil {
		t.Errorf("%+v", v)
	}
	p := pageview.Compare(pageview.Versions{A: page.Page("short"), B: nil})
	if p.A == nil || p.B != nil || p.Items != nil {
		t.Errorf("%+v", p)
	}
}
