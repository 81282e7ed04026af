package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"redoubt/docs/schema"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

var update = flag.Bool("update", false, "rewrite the schemas")

var roots = map[string]struct {
	typ   reflect.Type
	title string
}{
	"run":    {reflect.TypeFor[finding.Run](), "What redoubt run and redoubt report print with --format json"},
	"verify": {reflect.TypeFor[finding.Verification](), "What redoubt verify prints with --format json"},
	"scan":   {reflect.TypeFor[finding.Scan](), "What redoubt scan prints with --format json"},
}

// TestSchemasAreThoseOfTheTypes holds the published schemas to the types.
func TestSchemasAreThoseOfTheTypes(t *testing.T) {
	if len(roots) != len(schema.Names) {
		t.Fatalf("%d roots, %d names", len(roots), len(schema.Names))
	}
	words := comments(t, "../../internal/finding")
	for name, root := range roots {
		g := generator{words: words, defs: map[string]any{}}
		top := g.object(root.typ)
		top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
		top["title"] = root.title
		top["$defs"] = g.defs
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(top); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name+".json", b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		published, ok := schema.Named(name)
		if !ok || !bytes.Equal(published, b.Bytes()) {
			t.Errorf("%s.json is not the schema of %s: run go test ./docs/schema -update", name, root.typ)
		}
	}
}

// generator writes schemas of types; named structs are definitions.
type generator struct {
	words map[string]string // comments by Type and Type.Field
	defs  map[string]any
}

// enums are the named strings of which all values are known.
var enums = map[reflect.Type][]any{
	reflect.TypeFor[finding.Verdict](): {finding.Clean, finding.Discrepancies, finding.Findings, finding.Inconclusive},
	reflect.TypeFor[finding.Kind](): {
		finding.MissingRelation, finding.ExtraRelation, finding.SizeMismatch, finding.ZeroedPage, finding.BitRot, finding.TornPage,
		finding.LostWrite, finding.PhantomWrite, finding.WrongRedo, finding.SLRUMismatch, finding.HintBits, finding.Unexplained,
	},
	reflect.TypeFor[finding.Severity](): {finding.Critical, finding.Warning, finding.Benign},
	reflect.TypeFor[finding.Blame]():    {finding.BlameOfficial, finding.BlameBase, finding.BlameWAL, finding.BlameEngine, finding.BlameUnknown},
	reflect.TypeFor[pg.ForkNumber]():    {"main", "fsm", "vm", "init"},
}

// leafs are the types that JSON has in a form of their own.
var leafs = map[reflect.Type]map[string]any{
	reflect.TypeFor[pg.LSN]():    {"type": "string", "pattern": "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$", "description": "position in the WAL, in bytes"},
	reflect.TypeFor[time.Time](): {"type": "string", "format": "date-time"},
	reflect.TypeFor[[]byte]():    {"type": "string", "contentEncoding": "base64"},
}

func (g *generator) schema(t reflect.Type) map[string]any {
	if s, ok := leafs[t]; ok {
		return clone(s)
	}
	if values, ok := enums[t]; ok {
		return map[string]any{"enum": values}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.schema(t.Elem())
	case reflect.Struct:
		if _, ok := g.defs[t.Name()]; !ok {
			g.defs[t.Name()] = nil // it may contain itself
			g.defs[t.Name()] = g.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": g.schema(t.Elem())}
	case reflect.Array:
		return map[string]any{"type": "array", "items": g.schema(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": g.schema(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0, "maximum": uint64(1)<<t.Bits() - 1}
	}
	panic(fmt.Sprintf("no schema for %s", t))
}

func clone(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// object is the schema of a struct: what is not omitted when empty is required.
func (g *generator) object(t reflect.Type) map[string]any {
	s := map[string]any{"type": "object"}
	properties, required := map[string]any{}, []string{}
	g.properties(t, properties, &required)
	s["properties"], s["required"] = properties, required
	if w := g.words[t.Name()]; w != "" {
		s["description"] = w
	}
	return s
}

func (g *generator) properties(t reflect.Type, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			g.properties(f.Type, properties, required)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		p := g.schema(f.Type)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if f.Type.Kind() == reflect.Pointer && !optional {
			p = map[string]any{"anyOf": []any{p, map[string]any{"type": "null"}}}
		}
		if t == reflect.TypeFor[finding.Run]() && f.Name == "Verdict" {
			p = map[string]any{"enum": []any{finding.Clean, finding.Findings, finding.Inconclusive, ""}, "description": "empty while the run has not finished"}
		}
		if w := g.words[t.Name()+"."+f.Name]; w != "" {
			p["description"] = w
		}
		properties[name] = p
		if !optional {
			*required = append(*required, name)
		}
	}
}

// comments reads what the source of a package says of its types and fields.
func comments(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), dir+"/"+e.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.TYPE && len(d.Specs) == 1 {
				readType(d.Specs[0].(*ast.TypeSpec), d.Doc.Text(), out)
			}
			return true
		})
	}
	return out
}

func readType(spec *ast.TypeSpec, doc string, out map[string]string) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	out[spec.Name.Name] = oneLine(doc)
	for _, f := range s.Fields.List {
		for _, n := range f.Names {
			out[spec.Name.Name+"."+n.Name] = oneLine(f.Comment.Text())
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
