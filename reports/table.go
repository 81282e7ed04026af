package reports

import (
	"strings"
	"unicode/utf8"
)

// table is a table of text for a terminal, without lines.
type table struct {
	heads []string
	right []bool
	rows  [][]string
	state []string // of each row
}

// newTable takes the column heads; a leading > aligns to the right.
func newTable(heads ...string) *table {
	t := &table{}
	for _, h := range heads {
		name, right := strings.CutPrefix(h, ">")
		t.heads = append(t.heads, name)
		t.right = append(t.right, right)
	}
	return t
}

// add adds a row whose state (clean, bad, inconclusive) gives its sign and color.
func (t *table) add(state string, cells ...string) {
	t.rows = append(t.rows, cells)
	t.state = append(t.state, state)
}

// signs say a row's state without color.
var signs = map[string]string{"clean": "✓", "bad": "✗", "inconclusive": "?", "unfinished": "…"}

func (t *table) print(p *printer) {
	widths := make([]int, len(t.heads))
	for i, h := range t.heads {
		widths[i] = utf8.RuneCountInString(h)
		for _, r := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	p.line("%s", p.paint("    "+t.format(t.heads, widths), "soft"))
	for i, r := range t.rows {
		p.line("  %s %s", p.paint(signs[t.state[i]], t.state[i]), t.format(r, widths))
	}
}

func (t *table) format(cells []string, widths []int) string {
	var b strings.Builder
	for i, c := range cells {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
		switch {
		case t.right[i]:
			b.WriteString(pad + c)
		case i == len(cells)-1:
			b.WriteString(c)
		default:
			b.WriteString(c + pad)
		}
		if i < len(cells)-1 {
			b.WriteString("  ")
		}
	}
	return strings.TrimRight(b.String(), " ")
}
