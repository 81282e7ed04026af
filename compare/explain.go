package compare

import (
	"fmt"
	"strings"

	"redoubt/internal/pg/page"
)

// maxNamed is how many places an explanation names.
const maxNamed = 3

// where names the places of some byte ranges: "line pointer 3 (bytes 32-36),
// tuple 3 xmax (bytes 8052-8056) and 2 more". Places are read off the
// replayed page, or the official one where redo made nothing.
func where(p page.Page, kind page.Kind, ranges [][2]int) string {
	var parts []string
	last := ""
	for _, r := range ranges {
		if len(parts) == maxNamed {
			parts = append(parts, fmt.Sprintf("and more up to byte %d", ranges[len(ranges)-1][1]))
			break
		}
		name := page.Describe(p, kind, r[0])
		if end := page.Describe(p, kind, r[1]-1); end != name {
			name += " to " + end
		}
		if name == last {
			continue
		}
		last = name
		parts = append(parts, fmt.Sprintf("%s (bytes %d-%d)", name, r[0], r[1]))
	}
	return strings.Join(parts, ", ")
}

// plural is "1 record" or "3 records".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// differs says where the pages differ and in how many bytes.
func (c *pair) differs() ([][2]int, string) {
	ranges, n := c.difference()
	p := c.r
	if p.IsNew() {
		p = c.o
	}
	verb := "differ"
	if n == 1 {
		verb = "differs"
	}
	return ranges, fmt.Sprintf("%s %s: %s.", plural(n, "byte"), verb, where(p, c.kind, ranges))
}
