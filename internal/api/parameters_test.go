package api

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// wrong are values that do not fit a parameter's schema; nil: any text fits.
func wrong(s *openapi3.Schema) []string {
	switch {
	case s.Type.Is("integer"):
		out := []string{"x", "1.5", "-1", "99999999999999999999"}
		if s.Max != nil {
			out = append(out, "1001")
		}
		return out
	case s.Type.Is("boolean"):
		return []string{"perhaps"}
	case s.Format == "date-time":
		return []string{"yesterday", "2026-01-01", "2026-13-01T00:00:00Z", "2999-01-01T00:00:00Z"}
	case s.Pattern != "":
		return []string{"x y", "-", "../..", "0/0 OR 1=1"}
	case len(s.Enum) > 0:
		return []string{"none", "OPEN"}
	}
	return nil
}

// TestParameters asks every path of the document with each of its parameters
// wrong, twice, and with one that it does not have: 400, and words that name
// the parameter.
func TestParameters(t *testing.T) {
	doc, _ := described(t)
	s, f := recovering(t)
	const unheard = "unheard_of"
	asked, free := 0, []string{}
	for path, item := range doc.Paths.Map() {
		if !strings.HasPrefix(path, "/v1/") || path == "/v1/openapi.yaml" {
			continue
		}
		for method, op := range item.Operations() {
			at := path
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				if p.Value.In == "path" {
					at = strings.ReplaceAll(at, "{"+p.Value.Name+"}", "main")
				}
			}
			refused := func(query url.Values, name string) {
				t.Helper()
				asked++
				w := ask(s, method, at+"?"+query.Encode(), "")
				wantError(t, method+" "+at+"?"+query.Encode(), w, 400)
				if !strings.Contains(w.Body.String(), name) && name != unheard {
					t.Errorf("%s %s?%s does not name %s: %s", method, at, query.Encode(), name, w.Body)
				}
			}
			refused(url.Values{unheard: {"1"}}, unheard)
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				if p.Value.In != "query" {
					continue
				}
				name := p.Value.Name
				refused(url.Values{name: {"1", "1"}}, name)
				values := wrong(p.Value.Schema.Value)
				if values == nil {
					free = append(free, name)
				}
				for _, v := range values {
					refused(url.Values{name: {v}}, name)
				}
			}
		}
	}
	if f.asked != (RecoverRequest{}) || f.all != nil || f.did != "" {
		t.Errorf("asked %+v %v %s", f.asked, f.all, f.did)
	}
	slices.Sort(free)
	t.Logf("%d refusals; any text fits %v", asked, slices.Compact(free))
	if asked < 40 {
		t.Errorf("only %d requests were made: the document has lost its parameters", asked)
	}
}
