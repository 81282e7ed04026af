package reports

import (
	"fmt"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/pageview"
)

// How much of a page is shown: the report stays small with a hundred of them.
const (
	maxItems   = 24 // items that differ
	maxAlike   = 3  // of a run of items that only one side has
	maxDump    = 96 // bytes of an item's data, where they may be shown
	officialIs = "official"
	replayedIs = "replayed"
)

// pairView is the two versions of a page side by side.
type pairView struct {
	Kind    string
	Masked  bool
	Sides   []sideView
	Bytes   string // which bytes differ
	Ranges  []box
	Fields  []fieldGroup
	Columns []string
	Items   []itemView
	Rest    string // what of the items is not shown
}

// sideView is one version as a drawing of its areas.
type sideView struct {
	Name, Problem, Alt string
	Areas              []box
}

type fieldGroup struct {
	Name string
	Rows []fieldRow
}

type fieldRow struct {
	Name, Official, Replayed string
	Mark                     string // bad, soft or empty
}

// itemView is one line pointer of both versions, or how many alike are left out.
type itemView struct {
	Number   string
	Official []cell
	Replayed []cell
	Dumps    []dump
	More     string
}

type cell struct{ Text, Mark string }

// dump is the bytes of a side's data, where they may be shown, in runs of
// bytes that are equal or differ.
type dump struct {
	Side string
	Runs []cell
	Text string // the same bytes as ASCII, what is none as dots
	More string
}

// pairOf takes the pages of a discrepancy apart, nil if it carries none.
func pairOf(d *finding.Discrepancy) *pairView {
	if d.Pages == nil || d.Relation == nil || d.Block == nil {
		return nil
	}
	rel := pg.RelFork{Fork: d.Relation.Fork}
	in := pageview.Versions{
		A: d.Pages.Official, B: d.Pages.Replayed, Block: pg.Block{RelFork: rel, Number: pg.BlockNumber(*d.Block)},
		Masked: d.Pages.Masked, Bytes: d.ByteRanges, Items: d.Items,
	}
	p := pageview.Compare(in)
	v := &pairView{Masked: d.Pages.Masked, Sides: []sideView{sideViewOf(officialIs, in.A, p.A), sideViewOf(replayedIs, in.B, p.B)}}
	v.Bytes, v.Ranges = byteRanges(d.ByteRanges)
	v.Kind = pairKind(&p)
	v.addFields("page header", p.Header)
	v.addFields("special area", p.Special)
	v.addFields("contents", p.Contents)
	v.checksum(d)
	v.addItems(&p, in)
	return v
}

func pairKind(p *pageview.Pair) string {
	for _, v := range []*pageview.View{p.B, p.A} {
		if v != nil && v.Kind != page.KindNew && v.Kind != page.KindUnknown {
			return v.Kind.String() + " page"
		}
	}
	return "page"
}

func sideViewOf(name string, p page.Page, v *pageview.View) sideView {
	s := sideView{Name: name}
	switch {
	case v == nil:
		s.Problem = "no such block: the fork ends before it"
	default:
		s.Problem = plain(v.Problem)
	}
	s.Areas = areas(p)
	for _, a := range s.Areas {
		s.Alt += a.Title + ". "
	}
	if s.Alt == "" {
		s.Alt = s.Problem
	}
	return s
}

// areas draws where on the page what lies.
func areas(p page.Page) []box {
	if len(p) != pg.BlockSize || p.IsZero() {
		return nil
	}
	if p.Check() != nil {
		return []box{area(0, page.HeaderSize, "head", "header"), area(page.HeaderSize, pg.BlockSize, "lost", "contents that make no sense")}
	}
	all := []box{
		area(0, page.HeaderSize, "head", "header"), area(page.HeaderSize, p.Lower(), "lines", "line pointers"),
		area(p.Lower(), p.Upper(), "free", "free space"), area(p.Upper(), p.Special(), "items", "items"),
		area(p.Special(), pg.BlockSize, "head", "special area"),
	}
	out := all[:0]
	for _, a := range all {
		if a.W != percent(0) {
			out = append(out, a)
		}
	}
	return out
}

func area(from, to int, class, label string) box {
	return box{
		X: percent(float64(from) / pg.BlockSize * 100), W: percent(float64(max(0, to-from)) / pg.BlockSize * 100), Class: "a-" + class,
		Label: label, Title: fmt.Sprintf("%s: bytes %s", label, firstToLast(from, to-1)),
	}
}

var marks = map[pageview.Mark]string{pageview.Tolerated: "soft", pageview.Differs: "bad"}

func (v *pairView) addFields(name string, pairs []pageview.FieldPair) {
	if len(pairs) == 0 {
		return
	}
	g := fieldGroup{Name: name}
	for _, f := range pairs {
		g.Rows = append(g.Rows, fieldRow{plain(f.Name), plain(f.A), plain(f.B), marks[f.Mark]})
	}
	v.Fields = append(v.Fields, g)
}

// checksum says whether the official page's checksum fits. Redo leaves the
// replayed page's stale: it is computed when a page is written out.
func (v *pairView) checksum(d *finding.Discrepancy) {
	for i := range v.Fields {
		for j := range v.Fields[i].Rows {
			f := &v.Fields[i].Rows[j]
			if f.Name != "pd_checksum" {
				continue
			}
			f.Mark, f.Replayed = "", "set when written"
			if len(d.Pages.Replayed) == 0 {
				f.Replayed = ""
			}
			sum := d.Pages.OfficialChecksum
			switch {
			case sum == 0 || len(d.Pages.Official) != pg.BlockSize:
			case page.Page(d.Pages.Official).Checksum() == sum:
				f.Official += ", right"
			default:
				f.Official += fmt.Sprintf(", wrong: the contents add up to 0x%04x", sum)
				f.Mark = "bad"
			}
		}
	}
}

// addItems lists the items that differ.
func (v *pairView) addItems(p *pageview.Pair, in pageview.Versions) {
	v.Columns = columns(p.Items)
	var differ []*pageview.ItemPair
	tolerated := 0
	for i := range p.Items {
		switch p.Items[i].Mark {
		case pageview.Differs:
			differ = append(differ, &p.Items[i])
		case pageview.Tolerated:
			tolerated++
		}
	}
	if len(in.A) == 0 || len(in.B) == 0 { // nothing to compare with: show what there is
		for i := range p.Items {
			differ = append(differ, &p.Items[i])
		}
	}
	shown := 0
	for i := 0; i < len(differ); {
		n := alike(differ[i:])
		show := n
		if n > maxAlike+1 {
			show = maxAlike
		}
		if show = min(show, maxItems-shown); show <= 0 {
			break
		}
		for _, it := range differ[i : i+show] {
			v.Items = append(v.Items, v.itemOf(it, in))
		}
		if shown += show; show < n {
			v.Items = append(v.Items, itemView{More: fmt.Sprintf("%d–%d: %s more like these", differ[i+show].Number, differ[i+n-1].Number, number(int64(n-show)))})
		}
		i += n
		if i < len(differ) && shown >= maxItems {
			v.Items = append(v.Items, itemView{More: count(int64(len(differ)-i), "more item") + " that differ"})
			break
		}
	}
	v.Rest = restOf(len(p.Items)-len(differ), tolerated)
}

// restOf says what of the items is not listed.
func restOf(others, tolerated int) string {
	if others <= 0 {
		return ""
	}
	s := count(int64(others-tolerated), "item") + " " + agree(int64(others-tolerated), "is", "are") + " equal"
	if tolerated > 0 {
		s += "; " + number(int64(tolerated)) + " " + agree(int64(tolerated), "differs", "differ") + " only in what PostgreSQL allows or in where on the page " + agree(int64(tolerated), "it lies", "they lie")
	}
	return s + "."
}

// alike is how many items from the first on are on one side only, and on the same.
func alike(items []*pageview.ItemPair) int {
	a, b := used(items[0].A), used(items[0].B)
	if a == b {
		return 1
	}
	n := 1
	for n < len(items) && used(items[n].A) == a && used(items[n].B) == b && items[n].Number == items[n-1].Number+1 {
		n++
	}
	return n
}

// used reports whether there is something behind a line pointer.
func used(it *pageview.Item) bool {
	return it != nil && !strings.HasPrefix(it.Pointer.Value, "unused")
}

// columns are the names of all fields of items, in their order.
func columns(items []pageview.ItemPair) []string {
	var out []string
	seen := map[string]bool{}
	for i := range items {
		for _, f := range items[i].Fields {
			if !seen[f.Name] && f.Name != "data" {
				seen[f.Name] = true
				out = append(out, f.Name)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return append(out, "data")
}

func (v *pairView) itemOf(it *pageview.ItemPair, in pageview.Versions) itemView {
	out := itemView{Number: fmt.Sprint(it.Number)}
	out.Official, out.Replayed = make([]cell, len(v.Columns)), make([]cell, len(v.Columns))
	for i, name := range v.Columns {
		for _, f := range it.Fields {
			if f.Name == name {
				out.Official[i] = cellOf(f.A, f.Mark)
				out.Replayed[i] = cellOf(f.B, f.Mark)
			}
		}
	}
	if !in.Masked {
		out.Dumps = dumps(it, in)
	}
	return out
}

// cellOf marks a value that is there; where a side has none there is nothing to mark.
func cellOf(value string, m pageview.Mark) cell {
	if value == "" {
		return cell{}
	}
	return cell{plain(value), marks[m]}
}

// dumps shows the data of an item on both sides, byte by byte.
func dumps(it *pageview.ItemPair, in pageview.Versions) []dump {
	data := func(p page.Page, x *pageview.Item) []byte {
		if x == nil || x.Data.To > len(p) {
			return nil
		}
		return p[x.Data.From:x.Data.To]
	}
	a, b := data(in.A, it.A), data(in.B, it.B)
	var out []dump
	for _, s := range []struct {
		side        string
		own, others []byte
	}{{officialIs, a, b}, {replayedIs, b, a}} {
		if len(s.own) > 0 {
			out = append(out, dumpOf(s.side, s.own, s.others))
		}
	}
	return out
}

func dumpOf(side string, own, others []byte) dump {
	d := dump{Side: side}
	mark := func(i int) string {
		if i < len(others) && own[i] == others[i] {
			return ""
		}
		return "bad"
	}
	n := min(len(own), maxDump)
	for i := 0; i < n; {
		j := i + 1
		for j < n && mark(j) == mark(i) {
			j++
		}
		text := fmt.Sprintf("% x ", own[i:j])
		d.Runs = append(d.Runs, cell{text, mark(i)})
		i = j
	}
	d.Text = ascii(own[:n])
	if len(own) > n {
		d.More = "… " + count(int64(len(own)), "byte") + " in all"
	}
	return d
}

// ascii is bytes as text, for the eye: what is not printable is a dot.
func ascii(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		if out[i] = '.'; c >= ' ' && c < 0x7F {
			out[i] = c
		}
	}
	return string(out)
}
