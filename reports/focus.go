package reports

import (
	"fmt"
	"strings"

	"redoubt/internal/finding"
)

// maxFocus is how many findings are named at the top of a report.
const maxFocus = 4

// focus is a finding in three lines: what is hit, since when, and where the
// page says what to do.
type focus struct{ Where, What, Since, Href, Next string }

// focusOf picks what a reader must know first: the worst discrepancy of each
// relation, then what the archive lacks.
func focusOf(v *view) []focus {
	var out []focus
	seen := map[string]int{}
	blocks := []int{}
	for i := range v.Cards {
		c := &v.Cards[i]
		if c.Severity == string(finding.Benign) || c.Ack != "" {
			continue
		}
		key := c.Timeline + "\x00" + c.Locator + c.File
		if c.Locator != "" {
			key = c.Timeline + "\x00" + c.Locator
		}
		if at, ok := seen[key]; ok {
			blocks[at]++
			continue
		}
		seen[key] = len(out)
		blocks = append(blocks, 0)
		out = append(out, focus{Where: joinNonEmpty(" · ", c.Timeline, c.Title), What: c.KindWords + ": " + c.Hit, Since: sinceWords(c.Since), Href: "#" + c.Anchor + "-now", Next: "what to do"})
	}
	for i, n := range blocks {
		if n > 0 {
			out[i].What += fmt.Sprintf(", and %s of this relation", count(int64(n), "more block"))
		}
	}
	return limitFocus(append(out, archiveFocus(v)...))
}

func archiveFocus(v *view) []focus {
	var out []focus
	for _, g := range v.Gaps {
		if g.Counts {
			out = append(out, focus{Where: g.Timeline, What: "WAL missing: " + g.Segments, Since: "from " + g.From + " on, " + g.Size, Href: "#now-archive", Next: "what to do"})
		}
	}
	for _, d := range v.Damaged {
		if d.Ack != "" {
			continue
		}
		out = append(out, focus{Where: d.Timeline, What: "WAL damaged: " + d.Name, Since: d.Reason, Href: "#now-archive", Next: "what to do"})
	}
	return out
}

func limitFocus(all []focus) []focus {
	if n := len(all) - maxFocus; n > 0 {
		all = append(all[:maxFocus:maxFocus], focus{What: "and " + count(int64(n), "more"), Href: "#h-found"})
	}
	return all
}

// sinceWords says since when, if that is known.
func sinceWords(since string) string {
	if strings.HasPrefix(since, "not known") {
		return ""
	}
	return "since " + since
}
