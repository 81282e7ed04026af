package pageview

import (
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// Versions are two versions of a block: A is what is judged (the official
// page, or an older version), B what it is held against (the replayed one).
type Versions struct {
	A, B  page.Page // empty: there is no such block
	Block pg.Block

	// Masked: both went through Conceal. Then what differs behind the headers
	// is known from outside only: from Bytes, the ranges of bytes that differ,
	// and Items, the ranges of offset numbers that Differing found.
	Masked bool
	Bytes  [][2]int
	Items  [][2]int
}

// Mark says whether two versions of something differ.
type Mark uint8

// The marks.
const (
	Same      Mark = iota
	Tolerated      // differs in what PostgreSQL itself makes no promise about (package mask)
	Differs
)

// Pair is two versions of a page side by side.
type Pair struct {
	A, B     *View // nil: there is no such block
	Header   []FieldPair
	Contents []FieldPair
	Items    []ItemPair
	Special  []FieldPair
}

// FieldPair is a field of both versions; a value is empty where a version
// has no such field.
type FieldPair struct {
	Name, A, B string
	Mark       Mark
}

// ItemPair is one offset number on both versions: the line pointer, the
// fields of the header, and the data as the last field.
type ItemPair struct {
	Number int
	A, B   *Item // nil: there is no such line pointer
	Fields []FieldPair
	Mark   Mark // Differs: the tuple or index item is another; Tolerated: it moved on the page, or differs where that is allowed
}

// Compare lays two versions side by side.
func Compare(v Versions) Pair {
	v.Items = append(Differing(v.A, v.B, v.Block), v.Items...)
	c := comparison{Versions: v, a: sideOf(v, v.A, v.B), b: sideOf(v, v.B, v.A)}
	p := Pair{A: c.a.shown(), B: c.b.shown()}
	p.Header = c.fields(c.a.view.Header, c.b.view.Header, c.a.normal.Header, c.b.normal.Header)
	p.Special = c.fields(c.a.view.Special, c.b.view.Special, c.a.normal.Special, c.b.normal.Special)
	p.Contents = c.fields(c.a.view.Contents, c.b.view.Contents, c.a.normal.Contents, c.b.normal.Contents)
	if v.Block.Fork == pg.VMFork {
		p.Contents = append(p.Contents, c.visibility()...)
	}
	c.contentBytes(p.Contents)
	for n := 1; n <= max(len(c.a.view.Items), len(c.b.view.Items)); n++ {
		p.Items = append(p.Items, c.item(n))
	}
	return p
}

// side is one version: as it is, and as its normal form.
type side struct {
	page         page.Page
	view, normal View
}

func (s *side) shown() *View {
	if len(s.page) == 0 {
		return nil
	}
	return &s.view
}

func sideOf(v Versions, p, other page.Page) side {
	if len(p) == 0 {
		return side{}
	}
	s := side{page: p, view: Of(p, v.Block.Fork, v.Masked)}
	s.normal = s.view
	if n := normalForm(p, other, v.Block); n != nil {
		s.normal = Of(n, v.Block.Fork, v.Masked)
	}
	return s
}

// normalForm is mask.Normalize under the kind that both pages have, nil where
// they have none in common.
func normalForm(p, other page.Page, b pg.Block) page.Page {
	kind := page.KindOf(p, b.Fork)
	if len(p) != pg.BlockSize || page.KindOf(other, b.Fork) != kind {
		return nil
	}
	n := make(page.Page, pg.BlockSize)
	mask.Normalize(n, p, kind, b.Number)
	return n
}

type comparison struct {
	Versions
	a, b side
}

// fields pairs fields by name, A's order first; an and bn are the same fields of
// the normal forms, which decide whether a difference is tolerated.
func (c *comparison) fields(a, b, an, bn []Field) []FieldPair {
	out := make([]FieldPair, 0, max(len(a), len(b)))
	for _, f := range a {
		out = append(out, FieldPair{Name: f.Name, A: f.Value})
	}
	for _, f := range b {
		i := slices.IndexFunc(out, func(p FieldPair) bool { return p.Name == f.Name })
		if i < 0 {
			i = len(out)
			out = append(out, FieldPair{Name: f.Name})
		}
		out[i].B = f.Value
	}
	for i := range out {
		f := &out[i]
		switch {
		case f.A == f.B || len(c.A) == 0 || len(c.B) == 0:
		case valueOf(an, f.Name) == valueOf(bn, f.Name) && f.A != "" && f.B != "":
			f.Mark = Tolerated
		default:
			f.Mark = Differs
		}
	}
	return out
}

func valueOf(fs []Field, name string) string {
	for _, f := range fs {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// contentBytes marks contents that are shown by their length only.
func (c *comparison) contentBytes(pairs []FieldPair) {
	for i := range pairs {
		f := &pairs[i]
		if f.Name != "contents" || f.Mark != Same {
			continue
		}
		for _, x := range c.a.view.Contents {
			if x.Name == f.Name && c.bytesDiffer(x.From, x.To) {
				f.Mark = Differs
			}
		}
	}
}

// bytesDiffer reports whether the versions differ in [from, to).
func (c *comparison) bytesDiffer(from, to int) bool {
	if len(c.A) != pg.BlockSize || len(c.B) != pg.BlockSize {
		return false
	}
	if !c.Masked {
		return string(c.A[from:to]) != string(c.B[from:to])
	}
	return overlap(c.Bytes, from, to)
}

// overlap reports whether [from, to) shares something with a range.
func overlap(ranges [][2]int, from, to int) bool {
	for _, r := range ranges {
		if r[0] < to && from < r[1] {
			return true
		}
	}
	return false
}

// item pairs offset number n.
func (c *comparison) item(n int) ItemPair {
	a, b := itemAt(c.a.view.Items, n), itemAt(c.b.view.Items, n)
	p := ItemPair{Number: n, A: a, B: b}
	an, bn := itemAt(c.a.normal.Items, n), itemAt(c.b.normal.Items, n)
	p.Fields = c.fields(a.all(), b.all(), an.all(), bn.all())
	if len(c.A) == 0 || len(c.B) == 0 {
		return p
	}
	differs := c.markData(&p) || overlap(c.Items, n, n+1)
	for i := range p.Fields {
		f := &p.Fields[i]
		if f.Mark == Differs && !differs {
			f.Mark = Tolerated // the item only lies elsewhere on the page
		}
		p.Mark = max(p.Mark, f.Mark)
	}
	if differs {
		p.Mark = Differs
	}
	return p
}

// markData marks the data of an item, whose value is only its length, and
// reports whether it differs. Items that lie at different places of masked
// pages are told apart by Items alone.
func (c *comparison) markData(p *ItemPair) bool {
	if p.A == nil || p.B == nil || p.A.Data.From == p.A.Data.To || p.B.Data.Name == "" {
		return false
	}
	a, b := p.A.Data, p.B.Data
	differs := overlap(c.Items, p.Number, p.Number+1)
	switch {
	case !c.Masked:
		differs = string(c.A[a.From:a.To]) != string(c.B[b.From:b.To])
	case a.From == b.From:
		differs = overlap(c.Bytes, a.From, max(a.To, b.To))
	}
	if differs {
		p.Fields[len(p.Fields)-1].Mark = Differs
	}
	return differs
}

func itemAt(items []Item, n int) *Item {
	if n > len(items) {
		return nil
	}
	return &items[n-1]
}

// all lists the line pointer, the header and the data, if there is any.
func (it *Item) all() []Field {
	if it == nil {
		return nil
	}
	out := append([]Field{it.Pointer}, it.Fields...)
	if it.Data.Name != "" {
		out = append(out, it.Data)
	}
	return out
}
