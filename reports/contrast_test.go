package reports

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	palette = regexp.MustCompile(`(?s):root\{(.*?)\n?\}`)
	swatch  = regexp.MustCompile(`--([a-z-]+):#([0-9a-f]{3,6})`)
)

// luminance is WCAG's relative luminance of #rgb or #rrggbb.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = strings.Repeat(hex[:1], 2) + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:], 2)
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		t.Fatalf("color %q", hex)
	}
	channel := func(c uint64) float64 {
		f := float64(c&255) / 255
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(n>>16) + 0.7152*channel(n>>8) + 0.0722*channel(n)
}

// TestContrast holds light, dark and print to WCAG's 4.5:1 for text.
func TestContrast(t *testing.T) {
	found := palette.FindAllStringSubmatch(styleSheet, -1)
	if len(found) != 3 {
		t.Fatalf("%d palettes, want light, dark and print", len(found))
	}
	for i, p := range found {
		color := map[string]string{}
		for _, s := range swatch.FindAllStringSubmatch(p[1], -1) {
			color[s[1]] = s[2]
		}
		for _, pair := range []string{
			"ink card", "ink paper", "soft card", "soft paper", "brand card", "brand paper", "clean clean-bg", "bad bad-bg", "warn warn-bg",
			"card clean", "ink warn-bg", "ink bad-bg", "soft bad-bg", "soft warn-bg", "soft clean-bg", "soft sunk", "ink sunk", "ink none-bg", "bad card", "none none-bg",
		} {
			a, b, _ := strings.Cut(pair, " ")
			x, y := luminance(t, color[a]), luminance(t, color[b])
			want := 4.5
			if a == "none" {
				want = 3 // lines and signs, no text
			}
			if ratio := (math.Max(x, y) + 0.05) / (math.Min(x, y) + 0.05); ratio < want {
				t.Errorf("palette %d: %s on %s has %.2f:1, want %.1f:1", i, a, b, ratio, want)
			}
		}
	}
}
