package reports

import (
	"regexp"
	"strings"
	"testing"
)

var (
	tableElement = regexp.MustCompile(`(?s)<table.*?</table>`)
	headCell     = regexp.MustCompile(`<th(\s[^>]*)?>`)
	idAttribute  = regexp.MustCompile(`\sid="([^"]*)"`)
	anchorLink   = regexp.MustCompile(`href="#([^"]*)"`)
	imageElement = regexp.MustCompile(`<svg[^>]*>`)
	headElement  = regexp.MustCompile(`<h([1-6])[\s>]`)
	scrolled     = regexp.MustCompile(`<div class="scroll"[^>]*>`)
	labelledBy   = regexp.MustCompile(`aria-labelledby="([^"]*)"`)
)

// TestSemantics: what those need who do not see the page, or use no mouse.
func TestSemantics(t *testing.T) {
	for _, s := range samples {
		page := htmlOf(t, s.in)
		fail := func(format string, args ...any) { t.Errorf(s.name+": "+format, args...) }
		ids := map[string]bool{}
		for _, m := range idAttribute.FindAllStringSubmatch(page, -1) {
			if ids[m[1]] {
				fail("two elements have the id %q", m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range append(anchorLink.FindAllStringSubmatch(page, -1), labelledBy.FindAllStringSubmatch(page, -1)...) {
			if !ids[m[1]] {
				fail("nothing has the id %q that is pointed to", m[1])
			}
		}
		for _, table := range tableElement.FindAllString(page, -1) {
			if !strings.Contains(table, "<caption>") {
				fail("a table has no caption: %.200s", table)
			}
			for _, th := range headCell.FindAllString(table, -1) {
				if !strings.Contains(th, "scope=") {
					fail("%s has no scope: %.200s", th, table)
				}
			}
		}
		for _, svg := range imageElement.FindAllString(page, -1) {
			if strings.Contains(svg, `role="img"`) != strings.Contains(svg, "aria-label=") {
				fail("%s is an image without a text, or has a text and is none", svg)
			}
		}
		if n := strings.Count(page, "<h1"); n != 1 {
			fail("%d headings of the first level", n)
		}
		last := 1
		for _, m := range headElement.FindAllStringSubmatch(page, -1) {
			level := int(m[1][0] - '0')
			if level > last+1 {
				fail("a heading of level %d follows one of level %d", level, last)
			}
			last = level
		}
		for _, div := range scrolled.FindAllString(page, -1) {
			if strings.Contains(div, "tabindex") && !strings.Contains(div, `role="region"`) {
				fail("%s can be reached by keyboard and has no role", div)
			}
		}
	}
}
