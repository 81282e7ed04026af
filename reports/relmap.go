package reports

import (
	"cmp"
	"fmt"
	"strings"

	"redoubt/internal/finding"
)

// mapView draws the blocks of a relation fork, one cell for one block or,
// where there are many, for a few.
type mapView struct {
	Alt, Caption  string
	Width, Height int
	Cells         []mapCells
}

// mapCells are all cells of one state, as the outline of SVG.
type mapCells struct{ Class, Path string }

// The drawing: cells in rows, in units of SVG.
const (
	mapColumns = 64
	mapRows    = 12
	mapCellW   = 15
	mapCellH   = 14
)

// mapOf is the map of the relation that a discrepancy is in, nil if there is none.
func mapOf(maps []finding.RelationMap, d *finding.Discrepancy) *mapView {
	if d.Relation == nil {
		return nil
	}
	for i := range maps {
		r, o := &maps[i].Relation, d.Relation
		if r.Tablespace == o.Tablespace && r.Database == o.Database && r.RelFileNode == o.RelFileNode && r.Fork == o.Fork {
			return drawMap(&maps[i], d.Block)
		}
	}
	return nil
}

func drawMap(m *finding.RelationMap, here *int64) *mapView {
	blocks := max(m.OfficialBlocks, m.ReplayedBlocks)
	if blocks <= 0 || blocks > 1<<32 {
		return nil
	}
	per := (blocks + mapColumns*mapRows - 1) / (mapColumns * mapRows) // blocks in a cell
	cells := int((blocks + per - 1) / per)
	state := make([]string, cells)
	paint := func(ranges [][2]int64, class string) {
		for _, r := range ranges {
			from, to := max(0, r[0])/per, (min(r[1], blocks)+per-1)/per
			for i := from; i < to && i < int64(cells); i++ {
				state[i] = class
			}
		}
	}
	if short := min(m.OfficialBlocks, m.ReplayedBlocks); short < blocks {
		paint([][2]int64{{max(0, short), blocks}}, "absent")
	}
	paint(m.Touched, "touched")
	paint(m.Tainted, "tainted")
	paint(m.Different, "bad")
	v := &mapView{Width: mapColumns * mapCellW, Height: (cells + mapColumns - 1) / mapColumns * mapCellH}
	v.Cells = outlines(state)
	if here != nil && *here >= 0 && *here < blocks {
		v.Cells = append(v.Cells, mapCells{"m-here", outline(int(*here/per), 1)})
	}
	v.Caption = mapCaption(m, blocks, per)
	v.Alt = v.Caption + " Different: " + blockRanges(m.Different) + "."
	return v
}

// mapStates are the states of cells, in the order in which they are drawn; ""
// is a block that the WAL does not touch and that is equal.
var mapStates = []string{"", "touched", "tainted", "absent", "bad"}

// outlines joins the cells of each state; neighbours in a row become one rectangle.
func outlines(state []string) []mapCells {
	paths := map[string]*strings.Builder{}
	for _, s := range mapStates {
		paths[s] = &strings.Builder{}
	}
	for i := 0; i < len(state); {
		n := 1
		for i+n < len(state) && (i+n)%mapColumns != 0 && state[i+n] == state[i] {
			n++
		}
		paths[state[i]].WriteString(outline(i, n))
		i += n
	}
	var out []mapCells
	for _, s := range mapStates {
		if p := paths[s].String(); p != "" {
			out = append(out, mapCells{"m-" + cmp.Or(s, "rest"), p})
		}
	}
	return out
}

// outline is n cells of a row from cell i on.
func outline(i, n int) string {
	x, y, w := i%mapColumns*mapCellW, i/mapColumns*mapCellH, n*mapCellW-1
	return fmt.Sprintf("M%d %dh%dv%dh-%dz", x, y, w, mapCellH-1, w)
}

func firstToLastBlock(first, last int64) string {
	if first == last {
		return number(first)
	}
	return number(first) + "–" + number(last)
}

func blockRanges(ranges [][2]int64) string {
	const show = 8
	s := join(ranges[:min(show, len(ranges))], func(r [2]int64) string { return firstToLastBlock(r[0], r[1]-1) })
	if n := len(ranges) - show; n > 0 {
		s += " and " + count(int64(n), "more range")
	}
	return s
}

func mapCaption(m *finding.RelationMap, blocks, per int64) string {
	s := "All " + number(blocks) + " blocks of the relation, from left to right, then down"
	if blocks == 1 {
		s = "The one block of the relation"
	}
	if per > 1 {
		s += fmt.Sprintf("; a cell is %s blocks", number(per))
	}
	side := func(n int64) string {
		if n < 0 {
			return "none"
		}
		return number(n)
	}
	if m.OfficialBlocks != m.ReplayedBlocks {
		s += "; the official side has " + side(m.OfficialBlocks) + ", the replayed side " + side(m.ReplayedBlocks)
	}
	return s + "."
}
