package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"redoubt/docs/schema"
	"redoubt/internal/finding"
)

// schemaFor is the published schema of a JSON noun, empty if it has none.
func schemaFor(v any) string {
	switch v.(type) {
	case finding.Run:
		return "run"
	case finding.Verification:
		return "verify"
	case finding.Scan:
		return "scan"
	}
	return ""
}

// checkSchema holds a document to the published schema, its formats included.
func checkSchema(t testing.TB, name, document string) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	must(t, err)
	if err := compiled(t, name).Validate(doc); err != nil {
		t.Errorf("the output is not what docs/schema/%s.json says: %v", name, err)
	}
}

var compiledSchemas sync.Map

func compiled(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	if s, ok := compiledSchemas.Load(name); ok {
		return s.(*jsonschema.Schema)
	}
	text, ok := schema.Named(name)
	if !ok {
		t.Fatalf("no schema %s", name)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	must(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	must(t, c.AddResource(name+".json", doc))
	s, err := c.Compile(name + ".json")
	must(t, err)
	compiledSchemas.Store(name, s)
	return s
}

// TestReportSchema: report --schema prints the published schemas, and the
// validator that the other tests use can say no.
func TestReportSchema(t *testing.T) {
	t.Parallel()
	for _, name := range schema.Names {
		args := []string{"report", "--schema=" + name}
		if name == "run" {
			args = []string{"report", "--schema"}
		}
		text, _ := schema.Named(name)
		o := redoubt(t, args...)
		o.want(t, exitClean)
		if o.stdout != string(text) {
			t.Errorf("%v prints another schema", args)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"verdict": "splendid"}`))
		must(t, err)
		if err := compiled(t, name).Validate(doc); err == nil {
			t.Errorf("the schema %s allows anything", name)
		}
	}
	redoubt(t, "report", "--schema=night").want(t, exitUsage, "run, verify, scan")
}
