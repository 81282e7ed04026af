package compare_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"redoubt/compare"
	"redoubt/internal/pg/mask"
)

// The table in docs is true to the code: the same rules, each once.
func TestDocsListEveryRule(t *testing.T) {
	doc, err := os.ReadFile("../docs/tolerated-differences.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []mask.RuleID
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|").FindAllSubmatch(doc, -1) {
		listed = append(listed, mask.RuleID(m[1]))
	}
	rules := compare.Rules()
	for _, r := range rules {
		if !slices.Contains(listed, r) {
			t.Errorf("rule %s is not in the table", r)
		}
	}
	for i, r := range listed {
		if !slices.Contains(rules, r) {
			t.Errorf("the table lists %s, which no code has", r)
		}
		if slices.Contains(listed[:i], r) {
			t.Errorf("the table lists %s twice", r)
		}
	}
	if len(rules) != len(listed) {
		t.Errorf("%d rules, %d rows", len(rules), len(listed))
	}
}
