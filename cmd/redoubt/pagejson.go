package main

import (
	"io"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/pageview"
	"redoubt/verify"
)

// pageJSON is what `redoubt page --format json` prints.
type pageJSON struct {
	Relation finding.Relation   `json:"relation"`
	Block    int64              `json:"block"`
	File     string             `json:"file"` // of the fork's first files; relative to the data directory
	Offset   int64              `json:"offset"`
	Span     pg.Range           `json:"span"` // to 0/0: to the end of the WAL
	Base     *verify.PageState  `json:"base"`
	Records  []verify.BlockStep `json:"records"`
	Official *officialJSON      `json:"official,omitempty"`
	Reason   string             `json:"reason,omitempty"` // why the WAL is not all there
	At       *viewJSON          `json:"at,omitempty"`
	Diff     *diffJSON          `json:"diff,omitempty"`
}

type officialJSON struct {
	Page        *verify.PageState `json:"page"`
	Kind        finding.Kind      `json:"kind,omitempty"` // of what differs
	Explanation string            `json:"explanation,omitempty"`
}

func (p *pagePrinter) json(w io.Writer) error {
	b := p.q.block
	out := pageJSON{
		Relation: finding.RelationOf(b.RelFork), Block: int64(b.Number), File: p.file(), Offset: p.offset(),
		Span: p.h.Span, Base: p.state(p.h.Base), Records: p.h.Steps,
	}
	if out.Records == nil {
		out.Records = []verify.BlockStep{}
	}
	if p.query.Official != nil {
		out.Official = &officialJSON{Page: p.state(p.h.Official), Explanation: p.official()}
		if c := p.h.Compared; c != nil {
			out.Official.Kind = c.Kind
		}
	}
	if p.short != nil {
		out.Reason = p.short.Error()
	}
	if p.q.at[0] != "" {
		out.At = viewOf(p.view(p.versions[0]))
	}
	if len(p.versions) == 3 {
		out.Diff = diffOf(p.pair(p.versions[1], p.versions[2]))
	}
	return writeJSON(w, out)
}

// viewJSON is a page taken apart.
type viewJSON struct {
	Kind    string      `json:"kind"`
	Problem string      `json:"problem,omitempty"` // why nothing but the header is shown
	Fields  []fieldJSON `json:"fields"`
	Items   []itemJSON  `json:"items"`
}

type fieldJSON struct {
	Name  string `json:"name"` // as PostgreSQL's source has it
	Value string `json:"value"`
}

type itemJSON struct {
	Number  int         `json:"number"`
	Pointer string      `json:"pointer"`
	Fields  []fieldJSON `json:"fields"`
	Data    string      `json:"data,omitempty"`
}

func viewOf(v pageview.View) *viewJSON {
	out := &viewJSON{Kind: v.Kind.String(), Problem: v.Problem, Fields: []fieldJSON{}, Items: []itemJSON{}}
	for _, part := range [][]pageview.Field{v.Header, v.Contents, v.Special} {
		out.Fields = append(out.Fields, fieldsOf(part)...)
	}
	for _, it := range v.Items {
		j := itemJSON{Number: it.Number, Pointer: it.Pointer.Value, Fields: fieldsOf(it.Fields)}
		if it.Data.To > it.Data.From {
			j.Data = it.Data.Value
		}
		out.Items = append(out.Items, j)
	}
	return out
}

func fieldsOf(list []pageview.Field) []fieldJSON {
	out := []fieldJSON{}
	for _, f := range list {
		out = append(out, fieldJSON{f.Name, f.Value})
	}
	return out
}

// diffJSON lists what differs between two pages.
type diffJSON struct {
	Fields []pairJSON     `json:"fields"`
	Items  []itemPairJSON `json:"items"`
}

type pairJSON struct {
	Name string `json:"name"`
	A    string `json:"a"`
	B    string `json:"b"`
	Mark string `json:"mark"` // differs, tolerated
}

type itemPairJSON struct {
	Number int        `json:"number"`
	Mark   string     `json:"mark"`
	Fields []pairJSON `json:"fields"`
}

func diffOf(p pageview.Pair) *diffJSON {
	out := &diffJSON{Fields: []pairJSON{}, Items: []itemPairJSON{}}
	for _, part := range [][]pageview.FieldPair{p.Header, p.Contents, p.Special} {
		out.Fields = append(out.Fields, pairsOf(part)...)
	}
	for _, it := range p.Items {
		if it.Mark != pageview.Same {
			out.Items = append(out.Items, itemPairJSON{it.Number, markName(it.Mark), pairsOf(it.Fields)})
		}
	}
	return out
}

func pairsOf(list []pageview.FieldPair) []pairJSON {
	out := []pairJSON{}
	for _, f := range list {
		if f.Mark != pageview.Same {
			out = append(out, pairJSON{f.Name, f.A, f.B, markName(f.Mark)})
		}
	}
	return out
}

func markName(m pageview.Mark) string {
	if m == pageview.Tolerated {
		return "tolerated"
	}
	return "differs"
}
