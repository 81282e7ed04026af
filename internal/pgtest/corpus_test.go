package pgtest

import (
	"slices"
	"testing"
)

func TestRegressTests(t *testing.T) {
	for _, c := range []struct {
		makefile string
		want     []string
	}{
		{"MODULES = x\nREGRESS = init int2 \\\n\tint4 $(CF_TESTS) \\\n\tbool\n\nEXTRA = y\n", []string{"init", "int2", "int4", "bool"}},
		{"REGRESS_OPTS = --temp\nTAP_TESTS = 1\n", nil},
	} {
		if got := regressTests(c.makefile); !slices.Equal(got, c.want) {
			t.Errorf("tests of %q: %q, want %q", c.makefile, got, c.want)
		}
	}
}
